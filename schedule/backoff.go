package schedule

import (
	"math"
	"time"
)

// Backoff says how long a device waits before it reconnects. The n-th attempt in vain, counted
// from 0, is followed by
//
//	delay(n) = min(Max, Base + (2ⁿ − 1)·r),  r evenly random in [StepLow, StepHigh)
//
// which is the formula of the official device SDKs; they differ in its numbers. The zero value is
// ExponentialBackoff: only NoBackoff reconnects at once.
type Backoff struct {
	Base              time.Duration // before the second attempt, and never less
	Max               time.Duration // never more; Base when it is less than that
	StepLow, StepHigh time.Duration // bounds of r; both 0 always waits Base, and with Base 0 as ExponentialBackoff

	atOnce bool
}

// ExponentialBackoff is the Node device SDK's: 100 ms, growing to 10 s. Its first wait has no chance in
// it (azure-iot-common: ExponentialBackOffWithJitter), so a fleet that was dropped in one instant
// comes back in one instant.
func ExponentialBackoff() Backoff {
	return Backoff{Base: 100 * time.Millisecond, Max: 10 * time.Second, StepHigh: 25 * time.Millisecond}
}

// SteepBackoff is that of the .NET and Java device SDKs: 100 ms, doubled with a fifth of chance, to
// 10 s (Microsoft.Azure.Devices.Client: ExponentialBackoff).
func SteepBackoff() Backoff {
	return Backoff{Base: 100 * time.Millisecond, Max: 10 * time.Second, StepLow: 80 * time.Millisecond, StepHigh: 120 * time.Millisecond}
}

// ThrottledBackoff is the Node device SDK's after the service said that it throttles: 10 s to a minute.
func ThrottledBackoff() Backoff {
	return Backoff{Base: 10 * time.Second, Max: time.Minute, StepHigh: 1250 * time.Millisecond}
}

// FixedBackoff waits ten seconds every time, as the Python device SDK does.
func FixedBackoff() Backoff { return Backoff{Base: 10 * time.Second, Max: 10 * time.Second} }

// NoBackoff reconnects at once: as fast as the target refuses.
func NoBackoff() Backoff { return Backoff{atOnce: true} }

// IsZero reports whether the back-off is the zero value, which nobody chose.
func (b Backoff) IsZero() bool { return b == Backoff{} }

// Delay is the n-th wait, counted from 0, for a random u in [0,1): Delay(0, u) follows the first attempt that failed.
func (b Backoff) Delay(n int, u float64) time.Duration {
	if b.atOnce {
		return 0
	}
	if b.Base <= 0 && b.StepHigh <= 0 { // nobody who says no wait at all means one without end
		usual := ExponentialBackoff()
		if b.Max > 0 {
			usual.Base, usual.Max = min(usual.Base, b.Max), b.Max
		}
		b = usual
	}
	most := max(b.Base, b.Max)
	step := float64(b.StepLow) + u*float64(b.StepHigh-b.StepLow)
	if step <= 0 || n <= 0 { // 0 times infinity is no number
		return b.Base
	}
	return time.Duration(math.Min(float64(most), float64(b.Base)+(math.Pow(2, float64(n))-1)*step))
}
