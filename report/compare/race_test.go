//go:build race

package compare_test

// few says that fewer pairs of runs are simulated: the race detector makes each some ten times as dear.
const few = true
