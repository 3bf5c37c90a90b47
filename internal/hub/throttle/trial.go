package throttle

import (
	"math"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/throttle/bucket"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
)

// kept is what a Limiter had before it was sustained.
type kept struct {
	buckets  map[tier.Class]bucket.Bucket
	at       time.Time
	messages int64
	quota    int64
}

// Sustain holds the limits as a day does on which what could come at once is long used up: from now on only so many operations of a
// class may, one of a class that is not named; nothing waits, and of the messages that are left of the day only a share may be sent.
// It is for trials that cannot wait for a day. The day does not turn any more.
func (t *Limiter) Sustain(atOnce map[tier.Class]float64, share float64) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	t.turnDay(now)
	t.trial = true
	if t.kept == nil {
		k := &kept{buckets: make(map[tier.Class]bucket.Bucket), at: now, messages: t.messages, quota: t.limits.MessagesPerDay}
		for class, s := range t.classes {
			k.buckets[class] = s.bucket
		}
		t.kept = k
	}
	for class, s := range t.classes {
		burst := time.Duration(max(1, atOnce[class]) / s.stat.Rate * float64(time.Second))
		s.bucket = bucket.New(s.stat.Rate, bucket.Shape{Burst: burst, Backlog: -1}, now)
	}
	left := float64(max(0, t.kept.quota-t.messages))
	t.limits.MessagesPerDay = t.messages + int64(math.Ceil(left*share))
}

// Resume takes a Sustain back: limits are as they were when it began.
func (t *Limiter) Resume() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kept == nil {
		return
	}
	away := time.Since(t.kept.at)
	for class, s := range t.classes {
		s.bucket = t.kept.buckets[class]
		s.bucket.Sleep(away)
	}
	t.messages, t.limits.MessagesPerDay = t.kept.messages, t.kept.quota
	t.kept = nil
}

// Skip lets a time pass in an instant, in which operations come at rates and messages are counted. What of them would not have passed
// counts as shed. It is for trials; the day does not turn any more.
func (t *Limiter) Skip(d time.Duration, rates map[tier.Class]float64, messages float64) {
	if t == nil || d <= 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	t.turnDay(now)
	t.trial = true
	for class, s := range t.classes {
		s.stat.Rejected += uint64(s.bucket.Skip(now, d, rates[class]))
	}
	t.messages += int64(math.Ceil(messages))
}
