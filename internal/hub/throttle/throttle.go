// Package throttle makes the embedded hub behave like so many units of a tier: bursts are served,
// then shaped (they wait), then shed with 429; and a daily quota runs out. The real service's burst
// and queue sizes are not published: they are settings here.
package throttle

import (
	"context"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/throttle/bucket"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/internal/wait"
)

// needsTwins reports whether a class is of the features that the basic tiers lack (iot-hub-scaling).
func needsTwins(c tier.Class) bool {
	switch c {
	case tier.ClassTwinRead, tier.ClassTwinUpdate, tier.ClassC2D, tier.ClassMethod, tier.ClassJob, tier.ClassJobDevice, tier.ClassConfiguration, tier.ClassC2DReceive,
		tier.ClassServiceTwinRead, tier.ClassServiceTwinUpdate:
		return true
	default:
		return false
	}
}

// needsQuota reports whether a class stops when the day's messages are used up. Connections cost
// nothing, yet are refused; the registry and the handling of jobs and configurations go on (iot-hub-devguide-pricing).
func needsQuota(c tier.Class) bool {
	return c != tier.ClassRegistry && c != tier.ClassJob && c != tier.ClassConfiguration
}

// operationType is the class as the service's message names it.
func operationType(c tier.Class) string {
	if c == tier.ClassRegistry {
		return "CRUD"
	}
	return string(c)
}

// Stat is what a class has seen.
type Stat struct {
	Class    tier.Class    // whose figures they are
	Rate     float64       // operations per second that the tier allows
	PerHub   bool          // buying units does not raise the rate
	Tokens   float64       // left of the burst; below 0 when operations wait
	Wait     time.Duration // how long one more operation would wait now
	Waiting  int           // operations that wait now
	Admitted uint64        // served, also those that waited
	Delayed  uint64        // served after a wait
	Rejected uint64        // shed with 429
}

// state is a class of a Limiter.
type state struct {
	bucket bucket.Bucket
	stat   Stat
}

// Limiter holds the limits of a hub. It is safe for concurrent use. A nil Limiter admits everything.
type Limiter struct {
	limits tier.Limits

	mu       sync.Mutex // protects the following fields
	classes  map[tier.Class]*state
	messages int64     // counted today
	day      time.Time // midnight UTC at which today began
	armed    bool
	trial    bool   // the day does not turn: see Sustain
	kept     *kept  // nil unless it is sustained
	refused  uint64 // operations that came after the day's messages were used up
}

// New makes a Limiter for a tier. It lets everything pass until Arm is called.
func New(l tier.Limits, s bucket.Shape) *Limiter {
	now := time.Now()
	t := &Limiter{limits: l, classes: make(map[tier.Class]*state), day: midnight(now)}
	rates := map[tier.Class]tier.Rate{
		tier.ClassRegistry: l.Registry, tier.ClassConnect: l.Connects, tier.ClassTelemetry: l.Telemetry, tier.ClassQuery: l.Queries, tier.ClassTwinRead: l.TwinReads,
		tier.ClassTwinUpdate: l.TwinWrites, tier.ClassC2D: l.C2D, tier.ClassMethod: l.Methods, tier.ClassJob: l.Jobs, tier.ClassJobDevice: l.JobDevices,
		tier.ClassConfiguration: l.ConfigurationCalls, tier.ClassC2DReceive: l.C2DReceives, tier.ClassFileUpload: l.FileUploads,
	}
	if s.SplitTwins {
		rates[tier.ClassServiceTwinRead], rates[tier.ClassServiceTwinUpdate] = l.TwinReads, l.TwinWrites
	}
	for class, rate := range rates {
		t.classes[class] = &state{
			bucket: bucket.New(rate.PerSecond, s, now),
			stat:   Stat{Class: class, Rate: rate.PerSecond, PerHub: rate.PerHub},
		}
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

// Admit waits until n operations of a class may go on. It returns iothub.ErrQuotaExceeded,
// iothub.ErrNotInTier, an error with status 429, or the cause of ctx; then nothing counts.
func (t *Limiter) Admit(ctx context.Context, class tier.Class, n float64) error {
	return t.admit(ctx, class, n, (*bucket.Bucket).Admit)
}

// Queue is Admit for work of the hub's own, which waits as long as it takes and is never shed.
func (t *Limiter) Queue(ctx context.Context, class tier.Class, n float64) error {
	return t.admit(ctx, class, n, func(b *bucket.Bucket, now time.Time, n float64) (time.Duration, error) { return b.Take(now, n), nil })
}

type take func(b *bucket.Bucket, now time.Time, n float64) (time.Duration, error)

func (t *Limiter) admit(ctx context.Context, class tier.Class, n float64, take take) error {
	if t == nil {
		return nil
	}
	queued, err := t.begin(time.Now(), class, n, take)
	if err != nil || queued == 0 {
		return err
	}
	err = wait.For(ctx, queued)
	t.end(class, n, err == nil)
	return err
}

// begin admits or queues operations. A wait above 0 must be followed by end.
func (t *Limiter) begin(now time.Time, class tier.Class, n float64, take take) (time.Duration, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.armed {
		return 0, nil
	}
	if needsTwins(class) && !t.limits.HasTwins {
		return 0, iothub.ErrNotInTier.With("tier %s has no twins, direct methods, cloud-to-device messages or jobs", t.limits.Tier)
	}
	t.turnDay(now)
	if needsQuota(class) && t.messages >= t.limits.MessagesPerDay {
		t.refused++
		return 0, iothub.ErrQuotaExceeded
	}
	s := t.classOf(class)
	wait, err := take(&s.bucket, now, n)
	switch {
	case err != nil:
		s.stat.Rejected++
		return 0, iothub.AsError(err).With("The request has been throttled. Wait 10 seconds and try again. Operation type: %s", operationType(class))
	case wait > 0:
		s.stat.Waiting++
	default:
		s.stat.Admitted++
	}
	return wait, nil
}

// classOf is the state of a class. Unless the limits of twins are split, services share those of devices.
func (t *Limiter) classOf(class tier.Class) *state {
	s, ok := t.classes[class]
	switch {
	case ok:
		return s
	case class == tier.ClassServiceTwinRead:
		return t.classes[tier.ClassTwinRead]
	default:
		return t.classes[tier.ClassTwinUpdate]
	}
}

// end notes that a wait is over: served, or given up.
func (t *Limiter) end(class tier.Class, n float64, served bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.classOf(class)
	s.stat.Waiting--
	if !served {
		s.bucket.Return(n)
		return
	}
	s.stat.Admitted++
	s.stat.Delayed++
}

// Meter counts one operation of so many bytes against the day: one message for each started block of
// the tier's meter size, and at least one. It reports whether the day's messages are used up now.
func (t *Limiter) Meter(bytes int) (usedUp bool) {
	if t == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.armed {
		return false
	}
	t.turnDay(time.Now())
	t.messages += t.limits.Messages(bytes)
	return t.messages >= t.limits.MessagesPerDay
}

// turnDay begins a new count at midnight UTC (iot-hub-devguide-quotas-throttling). The caller holds the lock.
func (t *Limiter) turnDay(now time.Time) {
	if today := midnight(now); today.After(t.day) && !t.trial {
		t.day, t.messages = today, 0
	}
}

// Stats are the classes as they stand, in the order of Classes; nil without a tier.
func (t *Limiter) Stats() []Stat {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	out := make([]Stat, 0, len(t.classes))
	for _, class := range tier.Classes() {
		s, limited := t.classes[class]
		if !limited {
			continue
		}
		stat := s.stat
		stat.Tokens, stat.Wait = s.bucket.Tokens(now), s.bucket.Wait(now)
		out = append(out, stat)
	}
	return out
}

// Quota is how many messages were counted today, and how many the tier allows; zeros without a tier.
func (t *Limiter) Quota() (used, allowed int64) {
	if t == nil {
		return 0, 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turnDay(time.Now())
	return t.messages, t.limits.MessagesPerDay
}

// Refused is how many operations came after a day's messages were used up; 0 without a tier.
func (t *Limiter) Refused() uint64 {
	if t == nil {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.refused
}
