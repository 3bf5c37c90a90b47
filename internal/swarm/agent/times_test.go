package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/swarm/clock"
)

// A moment is told as one time, whatever is known of the clocks later and however long reading them takes, and as far from the truth as it is said
// to be at most, though a clock drifts and is set.
func TestTimesAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ahead, uncertain, ppm = 7 * time.Second, 2 * time.Millisecond, 50
		start := time.Now()
		var set time.Duration
		reads := 0
		ours := func() time.Time {
			reads++
			time.Sleep(time.Duration(reads) * 3 * time.Millisecond) // each takes longer
			return clock.Shifted(time.Now, ahead+set, ppm, start)()
		}
		truth := func(at time.Time) time.Time { return at } // the run's clock is the bubble's
		var x times
		moment := start.Add(time.Second)
		if got, within := x.told(moment); !got.Equal(moment) || within != 0 || x.known() {
			t.Errorf("nothing is known: %s ± %s", got, within)
		}
		estimate := func(wrong time.Duration) {
			at := clock.Shifted(time.Now, ahead+set, ppm, start)()
			x.add(clock.Estimate{Offset: time.Until(at)*-1 + wrong, Uncertainty: uncertain, Drift: clock.DefaultDrift, Samples: 1, At: at}, ours)
		}
		check := func(at time.Time) time.Time {
			t.Helper()
			got, within := x.told(at)
			if off := got.Sub(truth(at)).Abs(); off > within || within > 20*time.Millisecond {
				t.Errorf("%s is told as %s ± %s", at.Sub(start), got.Sub(start), within)
			}
			if here, _ := x.here(got); here.Sub(at).Abs() > 2*within {
				t.Errorf("%s is told as %s, which is %s here", at.Sub(start), got.Sub(start), here.Sub(start))
			}
			return got
		}
		estimate(uncertain)
		time.Sleep(time.Second)
		moment = time.Now()
		first := check(moment)
		before := reads
		for range 10 {
			if again := check(moment); again != first {
				t.Errorf("a moment is told as %s and %s", first, again)
			}
		}
		if reads != before {
			t.Error("a clock is read for it")
		}
		time.Sleep(4 * time.Second)
		estimate(-uncertain)
		set = time.Hour
		check(time.Now()) // it was set, and nobody knows
		time.Sleep(time.Second)
		estimate(-uncertain)
		check(time.Now())
		if again := check(moment); again != first {
			t.Errorf("a moment is told as %s, and later as %s", first, again)
		}
		time.Sleep(10 * time.Second)
		_, soon := x.told(moment)
		if _, late := x.told(time.Now()); late <= soon {
			t.Errorf("± %s, and ± %s after 10 s without an answer", soon, late)
		}
		for range 2 * mostBases {
			estimate(0)
		}
		if len(x.bases) != mostBases {
			t.Errorf("%d are kept", len(x.bases))
		}
	})
}
