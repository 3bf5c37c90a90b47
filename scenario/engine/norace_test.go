//go:build !race

package engine_test

const wholeFleet = 3000
