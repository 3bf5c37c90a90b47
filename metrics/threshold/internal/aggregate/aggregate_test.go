package aggregate_test

import (
	"testing"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold/internal/aggregate"
)

// Of 20 operations that were due, a pause held 5 back and 3 were dropped for other reasons.
func TestNumber(t *testing.T) {
	x := &metrics.SeriesSnapshot{OnTime: 10, Late: 2, LateOwn: 1, Dropped: map[string]uint64{metrics.DropPaused: 5, metrics.DropInFlight: 3}}
	x.Response[metrics.OK].Count, x.Response[metrics.Refused].Count = 11, 1
	f := func(name aggregate.Aggregate, only string, n, whole uint64) {
		t.Helper()
		if gotN, gotWhole := name.Number(x, only); gotN != n || gotWhole != whole {
			t.Errorf("%s(%s) = %d of %d; want %d of %d", name, only, gotN, gotWhole, n, whole)
		}
	}
	f("count", "", 11, 0)
	f("scheduled", "", 20, 0)
	f("success_rate", "", 11, 15)
	f("late", "", 2, 15)
	f("late_rate", "own", 1, 15)
	f("dropped", "", 3, 15)
	f("dropped_rate", metrics.DropPaused, 5, 20)
	f("error_rate", "", 1, 12)
}

func TestUnits(t *testing.T) {
	for name, want := range map[aggregate.Aggregate]aggregate.Unit{
		"p": aggregate.Time, "rate": aggregate.PerSecond, "count": aggregate.Count, "error_rate": aggregate.Share, "errors": aggregate.Count,
		"connected": aggregate.Count, "connected_rate": aggregate.Share, "correct_rate": aggregate.Share, "median": aggregate.None, "": aggregate.None,
	} {
		if got := name.Unit(); got != want {
			t.Errorf("%q has the unit %d; want %d", name, got, want)
		}
	}
}
