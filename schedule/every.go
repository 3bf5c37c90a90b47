package schedule

import (
	"time"

	"github.com/twinfleet/twinfleet/schedule/chance"
)

// Every is a periodic schedule: due at Phase, Phase+Period, Phase+2·Period, and so on.
type Every struct {
	Period time.Duration // above 0
	Phase  time.Duration // of the first time; 0 is due at the start
}

// Nth is the n-th due time, counted from 0.
func (e Every) Nth(n int64) time.Duration { return e.Phase + time.Duration(n)*e.Period }

// Due is how many times were due at or before t. Nth(Due(t)) is the first time after t.
func (e Every) Due(t time.Duration) int64 {
	if t < e.Phase {
		return 0
	}
	return int64((t-e.Phase)/e.Period) + 1
}

// After is the first due time later than t, and its number.
func (e Every) After(t time.Duration) (time.Duration, int64) {
	n := e.Due(t)
	return e.Nth(n), n
}

// Spread is the phase of one device of a fleet, so that the fleet does not beat in step: evenly
// random over the period, the same for the same seed and index.
func Spread(seed uint64, index int, period time.Duration) time.Duration {
	if period <= 0 {
		return 0
	}
	return time.Duration(chance.Unit(seed, "phase", index) * float64(period))
}
