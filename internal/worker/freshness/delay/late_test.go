package delay

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/metrics"
)

// However late it is told what a device was acknowledged, its reports took as long to be shown as when it is told at once.
func TestAcknowledgementsAreToldLate(t *testing.T) {
	type step struct {
		ms      int
		version int64
		shown   bool // else it was acknowledged
	}
	rapid.Check(t, func(t *rapid.T) {
		var steps []step
		ms, acked := 0, int64(0)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			ms += 100 * rapid.IntRange(1, 9).Draw(t, "later")
			if rapid.Bool().Draw(t, "shown") {
				steps = append(steps, step{ms, max(0, acked+int64(rapid.IntRange(-2, 1).Draw(t, "version"))), true})
				continue
			}
			acked++
			steps = append(steps, step{ms, acked, false})
		}
		most := rapid.IntRange(0, 20).Draw(t, "told late by steps")
		told := func(late bool) *metrics.SeriesSnapshot {
			all, rec := devices(1, 3*time.Second)
			var waiting []step
			for i, s := range steps {
				if !s.shown {
					waiting = append(waiting, s)
				}
				for len(waiting) > 0 && (!late || i == len(steps)-1 || len(waiting) > most) {
					all[0].Acked(waiting[0].version, at(waiting[0].ms))
					waiting = waiting[1:]
				}
				if s.shown {
					all[0].Shown(s.version, at(s.ms))
				}
				for ms := s.ms; i+1 < len(steps) && ms <= steps[i+1].ms; ms += 100 {
					all.sweep(at(ms))
				}
			}
			for _, s := range waiting { // after the last show
				all[0].Acked(s.version, at(s.ms))
			}
			all.close(at(ms))
			return rec.Snapshot().Find(metrics.OpFreshness, "robots")
		}
		want, got := told(false), told(true)
		for _, o := range []metrics.Outcome{metrics.OK, metrics.Timeout, metrics.Unanswered} {
			if got.Count(o) != want.Count(o) || got.Response[o].Sum != want.Response[o].Sum {
				t.Errorf("%v: %d in %dµs; told at once %d in %dµs; %v", o, got.Count(o), got.Response[o].Sum, want.Count(o), want.Response[o].Sum, steps)
			}
		}
	})
}

// Of a report that is told after many others were shown it is not known how long it took, unless it was there at once: it is dropped, not guessed.
func TestAcknowledgementsAreToldTooLate(t *testing.T) {
	all, rec := devices(1, time.Hour)
	for version := range maxShows + 10 {
		all[0].Shown(int64(version+1), at(1000*version))
	}
	all[0].Acked(5, at(3500))   // shown at 4000, which is forgotten
	all[0].Acked(6, at(9000))   // at 5000, or by 9000 at the latest: at once
	all[0].Acked(11, at(9500))  // at 10000, the first that is kept
	all[0].Acked(74, at(73500)) // before it was acknowledged
	for n := range maxPending {
		all[0].Acked(int64(100+n), at(80_000))
	}
	all[0].Acked(90_000, at(80_000)) // too many wait
	all[0].Acked(20, at(18_900))     // which needs no room: 100
	x := rec.Snapshot().Find(metrics.OpFreshness, "robots")
	if x.Count(metrics.OK) != 4 || x.Response[metrics.OK].Sum != 600_000 || x.DroppedTotal() != 2 || x.InFlight() != maxPending {
		t.Errorf("%d in %dµs, %d dropped, %d wait; want 4 in 600ms, 2 dropped, %d", x.Count(metrics.OK), x.Response[metrics.OK].Sum, x.DroppedTotal(), x.InFlight(), maxPending)
	}
}
