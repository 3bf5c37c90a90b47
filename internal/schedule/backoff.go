package schedule

import (
	"math"
	"time"
)

// Backoff says how long a device waits before it connects again: Base, doubled with every attempt
// up to Max, times a random share of Jitter.
//
//	delay(n) = min(Max, Base·2ⁿ) · (1 - Jitter·u),  u random in [0,1)
//
// The shape is that of the official device SDKs (exponential back-off with jitter); jitter over a
// wide share keeps a fleet that was dropped together from returning together.
type Backoff struct {
	Base   time.Duration // of the first attempt
	Max    time.Duration // no wait is longer
	Jitter float64       // 0 is none, 1 spreads over the whole wait
}

// The back-offs that scenarios name.
func ExponentialBackoff() Backoff {
	return Backoff{Base: 100 * time.Millisecond, Max: 10 * time.Second, Jitter: 0.5}
}

// ThrottledBackoff is the wait of the official SDKs after the service said that it throttles.
func ThrottledBackoff() Backoff {
	return Backoff{Base: 10 * time.Second, Max: time.Minute, Jitter: 0.5}
}

// FixedBackoff waits ten seconds every time, as the Python device SDK does.
func FixedBackoff() Backoff { return Backoff{Base: 10 * time.Second, Max: 10 * time.Second} }

// NoBackoff connects again at once.
func NoBackoff() Backoff { return Backoff{} }

// Delay is the wait before attempt n, counted from 0, for a random u in [0,1).
func (b Backoff) Delay(n int, u float64) time.Duration {
	wait := math.Min(float64(b.Max), float64(b.Base)*math.Pow(2, float64(n)))
	return time.Duration(wait * (1 - b.Jitter*u))
}
