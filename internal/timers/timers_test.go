package timers_test

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/internal/timers"
)

// Whatever is set, set anew and taken away, each timer fires at the time that was set last, and only then.
func TestTimersFireWhenTheyAreDue(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 200).Draw(rt, "timers")
		seed := rapid.Uint64().Draw(rt, "seed")
		synctest.Test(t, func(t *testing.T) {
			var set timers.Set
			r := rand.New(rand.NewPCG(seed, 0))
			all := make([]timers.Timer, n)
			want := make([]time.Duration, n) // since the beginning; 0 for never
			var mu sync.Mutex
			got := make([][]time.Duration, n)
			began := time.Now()
			for i := range all {
				set.Init(&all[i], func() {
					mu.Lock()
					defer mu.Unlock()
					got[i] = append(got[i], time.Since(began))
				})
			}
			for range 3 * n {
				i := r.IntN(n)
				if r.IntN(4) == 0 {
					all[i].Stop()
					want[i] = 0
					continue
				}
				want[i] = time.Duration(1 + r.IntN(100_000_000))
				all[i].Reset(began.Add(want[i]))
			}
			time.Sleep(time.Second)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			for i := range all {
				if expected := slices.DeleteFunc([]time.Duration{want[i]}, func(d time.Duration) bool { return d == 0 }); !slices.Equal(got[i], expected) {
					rt.Errorf("timer %d fired at %v; want %v", i, got[i], expected)
				}
			}
		})
	})
}

// A timer may set itself when it fires, also to a time that has passed, and the set stays a set of timers.
func TestATimerThatGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var set timers.Set
		var tick timers.Timer
		began, n := time.Now(), 0
		set.Init(&tick, func() {
			if n++; n < 10 {
				tick.Reset(began.Add(time.Duration(n/2) * time.Second)) // every second of them at once
			}
		})
		tick.Reset(began)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n != 10 {
			t.Errorf("it fired %d times; want 10", n)
		}
		var never timers.Timer
		never.Stop()
	})
}

func BenchmarkReset(b *testing.B) {
	var set timers.Set
	all := make([]timers.Timer, 100_000)
	now := time.Now()
	for i := range all {
		set.Init(&all[i], func() {})
		all[i].Reset(now.Add(time.Hour + time.Duration(i)*time.Millisecond))
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		all[i%len(all)].Reset(now.Add(time.Hour + time.Duration(i*7919%len(all))*time.Millisecond))
		i++
	}
	for i := range all {
		all[i].Stop()
	}
}
