//go:build !race

package compare_test

const few = false
