package bucket

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/internal/iothub"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// Each row is one call of Admit, in order, on one bucket.
func TestBucket(t *testing.T) {
	type step struct {
		at   time.Duration // since the start
		n    float64
		wait time.Duration
		err  error
	}
	for _, tt := range []struct {
		name  string
		rate  float64
		shape Shape
		steps []step
	}{
		{
			"a burst passes at once, then operations wait in turn", 10,
			Shape{Burst: time.Second, Backlog: 10 * time.Second, MaxWait: 10 * time.Second},
			[]step{
				{0, 10, 0, nil},
				{0, 1, 100 * time.Millisecond, nil},
				{0, 1, 200 * time.Millisecond, nil},
				{50 * time.Millisecond, 1, 250 * time.Millisecond, nil},
			},
		},
		{
			"tokens come back with time, up to the burst", 10,
			Shape{Burst: time.Second},
			[]step{
				{0, 10, 0, nil},
				{500 * time.Millisecond, 5, 0, nil},
				{500 * time.Millisecond, 1, 100 * time.Millisecond, nil},
				{time.Hour, 10, 0, nil},
				{time.Hour, 1, 100 * time.Millisecond, nil},
			},
		},
		{
			"a full backlog is 429002, and room comes back", 10,
			Shape{Burst: time.Second, Backlog: 2 * time.Second, MaxWait: time.Minute},
			[]step{
				{0, 10, 0, nil},
				{0, 10, time.Second, nil},
				{0, 10, 2 * time.Second, nil},
				{0, 1, 0, iothub.ErrThrottleBacklogFull},
				{100 * time.Millisecond, 1, 2 * time.Second, nil},
			},
		},
		{
			"a wait that is too long is 429003, and takes nothing", 10,
			Shape{Burst: time.Second, Backlog: time.Minute, MaxWait: time.Second},
			[]step{
				{0, 10, 0, nil},
				{0, 10, time.Second, nil},
				{0, 1, 0, iothub.ErrThrottleBacklogWait},
				{0, 10, 0, iothub.ErrThrottleBacklogWait},
				{time.Second, 10, time.Second, nil},
			},
		},
		{
			"without a backlog it is 429001", 10,
			Shape{Burst: time.Second, Backlog: -1},
			[]step{
				{0, 10, 0, nil},
				{0, 1, 0, iothub.ErrThrottled},
				{100 * time.Millisecond, 1, 0, nil},
			},
		},
		{
			"the defaults: a minute of burst, ten seconds of backlog and wait", 100,
			Shape{},
			[]step{
				{0, 6000, 0, nil},
				{0, 1000, 10 * time.Second, nil},
				{0, 1, 0, iothub.ErrThrottleBacklogFull},
			},
		},
		{
			"a call that counts for more than a burst passes when the bucket is full", 10,
			Shape{Burst: time.Second, Backlog: time.Second},
			[]step{
				{0, 100, 0, nil},
				{0, 1, 0, iothub.ErrThrottleBacklogFull},
				{9500 * time.Millisecond, 1, 0, nil}, // 100 were taken, 105 came
				{9500 * time.Millisecond, 100, 600 * time.Millisecond, nil},
			},
		},
		{
			"one operation may wait where the rate is below one in the backlog's time", 0.01,
			Shape{Burst: time.Second, MaxWait: time.Hour},
			[]step{
				{0, 1, 0, nil},
				{0, 1, 100 * time.Second, nil},
				{0, 1, 0, iothub.ErrThrottleBacklogFull},
			},
		},
		{
			"a clock that goes back counts as standing still", 10,
			Shape{Burst: time.Second},
			[]step{
				{time.Second, 10, 0, nil},
				{0, 1, 100 * time.Millisecond, nil},
				{1100 * time.Millisecond, 1, 100 * time.Millisecond, nil},
			},
		},
		{
			// iot-hub-devguide-quotas-throttling: an S1 unit registers 100 devices a minute, however batched.
			"bulk registration", 100.0 / 60,
			Shape{},
			[]step{
				{0, 50, 0, nil},
				{time.Second, 50, 0, nil},
				{2 * time.Second, 50, 0, iothub.ErrThrottleBacklogFull},
				{time.Minute, 50, 0, nil},
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := New(tt.rate, tt.shape, start)
			for i, s := range tt.steps {
				wait, err := b.Admit(start.Add(s.at), s.n)
				if !errors.Is(err, s.err) || (wait-s.wait).Abs() > time.Microsecond {
					t.Fatalf("step %d: Admit(%v, %v) = %v, %v; want %v, %v", i, s.at, s.n, wait, err, s.wait, s.err)
				}
			}
		})
	}
}

// 200 messages a second on a hub of 100 a second run unharmed for a minute, are then late by ever
// more, and are then shed, every second one (iot-hub-devguide-quotas-throttling).
func TestBucketUnderASurge(t *testing.T) {
	b := New(100, Shape{}, start)
	served, shed := 0, 0
	for second := range 180 {
		for range 200 {
			wait, err := b.Admit(start.Add(time.Duration(second)*time.Second), 1)
			switch {
			case second < 59 && (wait != 0 || err != nil):
				t.Fatalf("in second %d: %v, %v; want no wait", second, wait, err)
			case second >= 60 && second < 69 && (err != nil || wait == 0 || wait > 10*time.Second):
				t.Fatalf("in second %d: %v, %v; want a wait", second, wait, err)
			case second >= 70 && err == nil:
				served++
			case second >= 70:
				shed++
			}
		}
	}
	if served != 110*100 || shed != 110*100 {
		t.Errorf("in the end %d were served and %d shed; want every second one", served, shed)
	}
}

func TestBucketTakeAndReturn(t *testing.T) {
	b := New(10, Shape{Burst: time.Second, Backlog: time.Second}, start)
	if wait := b.Take(start, 60); wait != 0 {
		t.Errorf("Take(60) of a full bucket waits %v; want 0", wait)
	}
	if wait := b.Take(start, 1); wait != 5100*time.Millisecond {
		t.Errorf("Take waits %v; want 5.1s whatever the backlog is", wait)
	}
	b.Return(1)
	if got := b.Wait(start); got != 5100*time.Millisecond {
		t.Errorf("after a Return one more waits %v; want 5.1s", got)
	}
	b.Return(1000)
	if got := b.Tokens(start); got != 10 {
		t.Errorf("Return filled the bucket to %v; want 10, its burst", got)
	}
}

// Whatever comes when: what is admitted up to any time is at most a burst and the rate times that
// time, no operation overtakes an older one, no wait is over the bound, and what is shed costs nothing.
func TestBucketHoldsTheRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Float64Range(0.1, 1000).Draw(t, "rate")
		shape := Shape{
			Burst:   time.Duration(rapid.IntRange(1, 120).Draw(t, "burst")) * time.Second,
			Backlog: time.Duration(rapid.IntRange(1, 60).Draw(t, "backlog")) * time.Second,
			MaxWait: time.Duration(rapid.IntRange(1, 60).Draw(t, "wait")) * time.Second,
		}
		b := New(rate, shape, start)
		burst := max(1, rate*shape.Burst.Seconds())
		now, admitted, last := time.Duration(0), 0.0, time.Duration(0)
		for range rapid.IntRange(1, 200).Draw(t, "calls") {
			now += time.Duration(rapid.IntRange(0, 3_000_000_000).Draw(t, "gap"))
			n := float64(rapid.IntRange(1, 5).Draw(t, "n"))
			before := b.Tokens(start.Add(now))
			wait, err := b.Admit(start.Add(now), n)
			if err != nil {
				if after := b.Tokens(start.Add(now)); after != before {
					t.Fatalf("a shed operation took %v tokens", before-after)
				}
				continue
			}
			if wait > shape.MaxWait {
				t.Fatalf("an operation waits %v; the bound is %v", wait, shape.MaxWait)
			}
			if due := now + wait; due < last-time.Microsecond && n <= burst {
				t.Fatalf("an operation is due at %v, before the older one at %v", due, last)
			} else {
				last = max(last, due)
			}
			admitted += n
			if most := burst + rate*last.Seconds() + max(0, n-burst); admitted > most+1e-3 {
				t.Fatalf("%v admitted by %v; at most %v may be", admitted, last, most)
			}
		}
	})
}
