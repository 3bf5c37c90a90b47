//go:build race

package engine_test

// wholeFleet is how many devices the tests with a whole fleet start: the race detector makes each some
// ten times as dear, so that make integration repeats them without it, at their full size.
const wholeFleet = 300
