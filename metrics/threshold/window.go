package threshold

import (
	"fmt"
	"math"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold/internal/aggregate"
)

// EvaluateWindow compares what a window holds, one of many of a run, and says how far the observed value is past the bound, as
// a share of the bound: above 0 the threshold is missed by so much. Work that was due and none of which ended is a miss; ok is false when
// nothing was due, or less than the threshold asks for because a pause held it back: such a window is passed over.
func (t Threshold) EvaluateWindow(window *metrics.Snapshot) (v Verdict, excess float64, ok bool) {
	v, excess = t.evaluate(window)
	switch {
	case t.aggregate == aggregate.Rate && t.paused(window): // less was asked for
		return Verdict{}, 0, false
	case v.NoData && t.aggregate == aggregate.Rate: // nothing is a rate too, and that of an outage
		return Verdict{Threshold: v.Threshold, Observed: "rate = 0.0/s", Pass: t.bound.Holds(0)}, t.bound.Excess(0), true
	case v.NoData:
		if n := t.stuck(window); n > 0 {
			return Verdict{Threshold: v.Threshold, Observed: fmt.Sprintf("none of %d ended", n)}, math.Inf(1), true
		}
		return Verdict{}, 0, false
	}
	return v, excess, true
}

// stuck is how many operations were due in a window in which none ended: those that were dropped, other than on purpose,
// and those that were under way all the while.
func (t Threshold) stuck(window *metrics.Snapshot) uint64 {
	series := window.Select(t.Operation, t.Group)
	if series == nil || series.Ended() > 0 {
		return 0
	}
	due := aggregate.DroppedUnasked(series) - series.Dropped[metrics.DropStopped]
	return due + series.OpenFor(window.Elapsed)
}

// paused reports whether a pause held operations back in a window.
func (t Threshold) paused(window *metrics.Snapshot) bool {
	series := window.Select(t.Operation, t.Group)
	return series != nil && series.Dropped[metrics.DropPaused] > 0
}
