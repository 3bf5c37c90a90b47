// Package throttle makes the embedded hub behave like so many units of a tier: bursts are served,
// then shaped (they wait), then shed with 429; and a daily quota runs out. The real service's burst
// and queue sizes are not published: they are settings here.
package throttle

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
)

// Class is a class of operations with a limit of its own.
type Class string

// The classes (iot-hub-devguide-quotas-throttling).
const (
	Registry   Class = "registry"
	Connect    Class = "connect"
	Telemetry  Class = "telemetry"
	Query      Class = "query"
	TwinRead   Class = "twin_read"
	TwinUpdate Class = "twin_update"
	C2D        Class = "c2d"
	Method     Class = "method"
	Job        Class = "job"
	JobDevice  Class = "job_device"
)

// Classes are all classes.
func Classes() []Class {
	return []Class{Registry, Connect, Telemetry, Query, TwinRead, TwinUpdate, C2D, Method, Job, JobDevice}
}

// Shape is how a limit gives way. The zero value means the defaults.
type Shape struct {
	Burst   time.Duration // so much of the rate may come at once; one minute when 0
	Backlog time.Duration // so much of the rate may wait; ten seconds when 0
	MaxWait time.Duration // no operation waits longer; ten seconds when 0
}

func (s Shape) withDefaults() Shape {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&s.Burst, time.Minute)
	def(&s.Backlog, 10*time.Second)
	def(&s.MaxWait, 10*time.Second)
	return s
}

// Bucket is a token bucket whose debt is the queue behind it. It is a pure function of the times it
// is given, which must not go back; it holds no clock.
type Bucket struct {
	rate, burst, backlog float64
	maxWait              time.Duration
	tokens               float64 // below 0: what is owed to those who wait
	at                   time.Time
}

// NewBucket makes a full bucket for a rate per second, at a time.
func NewBucket(rate float64, s Shape, now time.Time) Bucket {
	s = s.withDefaults()
	burst := max(1, rate*s.Burst.Seconds())
	return Bucket{rate: rate, burst: burst, backlog: max(1, rate*s.Backlog.Seconds()), maxWait: s.MaxWait, tokens: burst, at: now}
}

// Admit takes n tokens and says how long to wait for them. It returns iothub.ErrThrottleBacklogFull
// or iothub.ErrThrottleBacklogWait when the wait would be out of bounds; then nothing is taken.
func (b *Bucket) Admit(now time.Time, n float64) (time.Duration, error) {
	if elapsed := now.Sub(b.at); elapsed > 0 {
		b.tokens = min(b.burst, b.tokens+elapsed.Seconds()*b.rate)
		b.at = now
	}
	left := b.tokens - n
	if left >= 0 {
		b.tokens = left
		return 0, nil
	}
	wait := time.Duration(math.Ceil(-left / b.rate * float64(time.Second)))
	switch {
	case -left > b.backlog:
		return 0, iothub.ErrThrottleBacklogFull
	case wait > b.maxWait:
		return 0, iothub.ErrThrottleBacklogWait
	}
	b.tokens = left
	return wait, nil
}

// Stat is what a class has seen.
type Stat struct {
	Class    Class
	Rate     float64 // operations per second that the tier allows
	Tokens   float64 // left of the burst; below 0 when operations wait
	Admitted uint64  // served, also those that waited
	Delayed  uint64  // served after a wait
	Rejected uint64  // shed with 429
}

// Limiter holds the limits of a hub. It is safe for concurrent use. A nil Limiter admits everything.
type Limiter struct {
	limits tier.Limits

	mu       sync.Mutex // protects the following fields
	buckets  map[Class]*Bucket
	stats    map[Class]*Stat
	messages int64     // counted today
	day      time.Time // midnight UTC at which today began
	armed    bool
}

// New makes a Limiter for a tier. It lets everything pass until Arm is called.
func New(l tier.Limits, s Shape) *Limiter {
	now := time.Now()
	t := &Limiter{limits: l, buckets: make(map[Class]*Bucket), stats: make(map[Class]*Stat), day: midnight(now)}
	for class, rate := range map[Class]tier.Rate{
		Registry: l.Registry, Connect: l.Connects, Telemetry: l.Telemetry, Query: l.Queries, TwinRead: l.TwinReads,
		TwinUpdate: l.TwinWrites, C2D: l.C2D, Method: l.Methods, Job: l.Jobs, JobDevice: l.JobDevices,
	} {
		b := NewBucket(rate.PerSecond, s, now)
		t.buckets[class] = &b
		t.stats[class] = &Stat{Class: class, Rate: rate.PerSecond}
	}
	return t
}

// Arm begins to limit. What was set up before, such as identities, does not count.
func (t *Limiter) Arm() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.armed = true
}

func midnight(t time.Time) time.Time {
	y, m, d := t.UTC().Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}

// Admit waits until n operations of a class may go on. metered is their size in bytes as metering
// counts it, below 0 for what is free. It returns iothub.ErrQuotaExceeded, iothub.ErrNotInTier, or an
// error with status 429.
func (t *Limiter) Admit(ctx context.Context, class Class, n float64, metered int) error {
	if t == nil {
		return nil
	}
	wait, err := t.take(time.Now(), class, n, metered)
	if err != nil || wait == 0 {
		return err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t *Limiter) take(now time.Time, class Class, n float64, metered int) (time.Duration, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.armed {
		return 0, nil
	}
	switch class {
	case TwinRead, TwinUpdate, C2D, Method, Job, JobDevice:
		if !t.limits.HasTwins {
			return 0, iothub.ErrNotInTier.With("tier %s has no twins, direct methods, cloud-to-device messages or jobs", t.limits.Tier)
		}
	}
	if today := midnight(now); today.After(t.day) {
		t.day, t.messages = today, 0
	}
	if t.messages >= t.limits.MessagesPerDay && (metered >= 0 || class == Connect) {
		return 0, iothub.ErrQuotaExceeded
	}
	stat := t.stats[class]
	wait, err := t.buckets[class].Admit(now, n)
	if err != nil {
		stat.Rejected++
		return 0, iothub.AsError(err).With("The request has been throttled. Wait 10 seconds and try again. Operation type: %s", class)
	}
	stat.Admitted++
	if wait > 0 {
		stat.Delayed++
	}
	if metered >= 0 {
		t.messages += t.limits.Messages(metered)
	}
	return wait, nil
}

// Stats are the classes as they stand, in the order of Classes.
func (t *Limiter) Stats() []Stat {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]Stat, 0, len(t.stats))
	for _, class := range Classes() {
		s := *t.stats[class]
		s.Tokens = t.buckets[class].tokens
		out = append(out, s)
	}
	return out
}

// Quota is how many messages were counted today, and how many the tier allows.
func (t *Limiter) Quota() (used, allowed int64) {
	if t == nil {
		return 0, 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.messages, t.limits.MessagesPerDay
}
