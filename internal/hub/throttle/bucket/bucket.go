// Package bucket is a token bucket whose debt is a queue, as a pure function of time.
package bucket

import (
	"math"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
)

// Shape is how a limit gives way. The zero value means the defaults; below zero means none.
type Shape struct {
	// Burst: so much of the rate may come at once, after a quiet time as long. One minute when 0.
	// Longer: a surge is served unharmed for longer. Shorter: shaping begins sooner.
	Burst time.Duration
	// Backlog: so much of the rate may wait behind the burst; what comes on top is shed with 429002.
	// Ten seconds when 0; below 0 nothing waits and all that is over the burst is shed with 429001.
	Backlog time.Duration
	// MaxWait: what would wait longer is shed with 429003. Ten seconds when 0.
	MaxWait time.Duration
	// SplitTwins gives services limits for twins of their own, as high as those of devices. The public
	// tables do not part the two: by default they share.
	SplitTwins bool
}

// WithDefaults is the Shape with nothing left out: 0 is none.
func (s Shape) WithDefaults() Shape {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
		*d = max(*d, 0)
	}
	def(&s.Burst, time.Minute)
	def(&s.Backlog, 10*time.Second)
	def(&s.MaxWait, 10*time.Second)
	return s
}

// Bucket is a token bucket whose debt is the queue behind it:
//
//	burst ┬ ── operations pass at once, each takes a token ──
//	      │
//	    0 ┼ ── operations pass after the time that their token takes to come ──
//	      │
//	-back ┴ ── operations are shed ──
//	  log
//
// It is a pure function of the times it is given; it holds no clock. A time before an earlier one
// counts as that one.
type Bucket struct {
	rate, burst, backlog float64
	maxWait              time.Duration
	tokens               float64 // below 0: what is owed to those who wait
	at                   time.Time
}

// New makes a full bucket for a rate per second, at a time. The rate must be above 0.
func New(rate float64, s Shape, now time.Time) Bucket {
	s = s.WithDefaults()
	return Bucket{
		rate: rate, burst: max(1, rate*s.Burst.Seconds()), backlog: rate * s.Backlog.Seconds(), maxWait: s.MaxWait,
		tokens: max(1, rate*s.Burst.Seconds()), at: now,
	}
}

// Admit takes n tokens and says how long to wait for them. More than a full bucket may be taken at
// once when the bucket is full: a call that counts for many would never pass otherwise, and those
// behind it wait the longer. The errors are iothub.ErrThrottled, ErrThrottleBacklogFull and
// ErrThrottleBacklogWait; then nothing is taken.
func (b *Bucket) Admit(now time.Time, n float64) (time.Duration, error) {
	missing, wait := b.missing(now, n)
	// One operation may always wait where any may: a backlog of less than one would be none.
	switch {
	case missing == 0:
	case b.backlog == 0:
		return 0, iothub.ErrThrottled
	case missing > max(1, b.backlog)+epsilon:
		return 0, iothub.ErrThrottleBacklogFull
	case wait > b.maxWait:
		return 0, iothub.ErrThrottleBacklogWait
	}
	b.tokens -= n
	return wait, nil
}

// Take is Admit for what waits as long as it takes.
func (b *Bucket) Take(now time.Time, n float64) time.Duration {
	_, wait := b.missing(now, n)
	b.tokens -= n
	return wait
}

// Return gives back n tokens of an operation that did not take place after all.
func (b *Bucket) Return(n float64) { b.tokens = min(b.burst, b.tokens+n) }

// Sleep puts the bucket so much later, with what it has: no time passed for it.
func (b *Bucket) Sleep(d time.Duration) { b.at = b.at.Add(d) }

// Skip lets a time pass in an instant in which tokens are taken at a rate. It returns how many were missing.
func (b *Bucket) Skip(now time.Time, d time.Duration, rate float64) (missing float64) {
	b.refill(now)
	b.tokens = min(b.burst, b.tokens+(b.rate-rate)*d.Seconds())
	if b.tokens < 0 && rate > b.rate {
		missing, b.tokens = -b.tokens, 0
	}
	return missing
}

// Tokens is what is left of the burst at a time; below 0 when operations wait.
func (b *Bucket) Tokens(now time.Time) float64 {
	b.refill(now)
	return b.tokens
}

// Wait is how long one more operation would wait at a time, were it not shed.
func (b *Bucket) Wait(now time.Time) time.Duration {
	_, wait := b.missing(now, 1)
	return wait
}

// epsilon is below what any operation takes and above the error of adding up tokens.
const epsilon = 1e-6

// missing is how many tokens are not there yet for n, and how long they take to come.
func (b *Bucket) missing(now time.Time, n float64) (float64, time.Duration) {
	b.refill(now)
	missing := min(n, b.burst) - b.tokens
	if missing <= epsilon {
		return 0, 0
	}
	seconds := missing / b.rate
	if seconds >= math.MaxInt64/float64(time.Second) {
		return missing, math.MaxInt64
	}
	return missing, time.Duration(math.Ceil(seconds * float64(time.Second)))
}

func (b *Bucket) refill(now time.Time) {
	if elapsed := now.Sub(b.at); elapsed > 0 {
		b.tokens = min(b.burst, b.tokens+elapsed.Seconds()*b.rate)
		b.at = now
	}
}
