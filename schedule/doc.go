// Package schedule says when things are due and what chance decides, as pure functions of time and
// seed. It holds no clock and starts no goroutine: a caller asks, sleeps, and acts.
//
// All times are durations since a start that the caller chose.
package schedule
