package threshold

import (
	"math"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/histogram"
	"github.com/twinfleet/twinfleet/metrics/threshold/internal/aggregate"
)

// NeedsData reports whether the threshold is missed when nothing was measured. A number of operations may be 0.
func (t Threshold) NeedsData() bool {
	return !t.aggregate.Counts() || t.aggregate.HasWhole()
}

// OfSchedule reports whether the threshold is about how the generator kept its schedule, and about nothing of the target.
func (t Threshold) OfSchedule() bool { return t.aggregate.OfSchedule() }

// OfCopies reports whether the threshold is about the copies of messages that subscribers get: what comes twice, or out of order.
func (t Threshold) OfCopies() bool { return t.aggregate.OfCopies() }

// OfLosses reports whether the threshold says how many operations may have no answer in time: missing, timeouts, errors, their rates, success_rate.
func (t Threshold) OfLosses() bool { return t.aggregate.OfLosses() }

// OfMissing reports whether it is about the messages that the target acknowledged and that never arrived, alone.
func (t Threshold) OfMissing() bool { return t.aggregate.OfDeliveries() && !t.aggregate.OfCopies() }

// ByStage reports whether a Recorder tells apart, by stage, what the threshold compares. What queries found and what devices are is not.
func (t Threshold) ByStage() bool { return !t.aggregate.OfQueries() && !t.aggregate.OfDevices() }

// JudgesRows reports whether the threshold says how many rows of query results may be wrong.
func (t *Threshold) JudgesRows() bool { return t.aggregate == aggregate.Correct }

// WantsMore reports whether the threshold asks for a number of operations or devices, or for a rate, that is at least so much:
// a stage that was cut short may be why there was less.
func (t Threshold) WantsMore() bool {
	unit := t.aggregate.Unit()
	return (unit == aggregate.Count || unit == aggregate.PerSecond) && !t.bound.Upper() && t.bound.Op != "!="
}

// MetByNone reports whether the number 0 is on the right side of the bound.
func (t Threshold) MetByNone() bool { return t.bound.Holds(0) }

// WantsFailure reports whether a threshold asks that operations fail: it holds for the figures as they are, and would not if
// every operation that was due had ended well at once.
func (t Threshold) WantsFailure(s *metrics.Snapshot) bool {
	if t.aggregate.OfQueries() || !t.Evaluate(s).Pass {
		return false
	}
	well := &metrics.Snapshot{At: s.At, Elapsed: s.Elapsed}
	for _, d := range s.Devices {
		if d.State == "connecting" || d.State == "backoff" {
			d.State = "connected"
		}
		well.Devices = append(well.Devices, d)
	}
	for i := range s.Series {
		if x := &s.Series[i]; x.Operation == t.Operation && x.Scheduled() > 0 {
			at := histogram.Of(histogram.Bucket{Count: x.Scheduled()})
			good := metrics.SeriesSnapshot{Operation: x.Operation, Group: x.Group, OnTime: x.Scheduled()}
			good.Lag, good.OwnLag, good.Response[metrics.OK], good.Service[metrics.OK] = at, at, at, at
			well.Series = append(well.Series, good)
		}
	}
	return !t.Evaluate(well).Pass
}

// Excess is how far the observed figure is past the bound, as a share of the bound: above 0 the threshold is missed by so much, below 0 it
// is met with so much to spare. It is false when there is no data.
func (t Threshold) Excess(s *metrics.Snapshot) (share float64, ok bool) {
	v, excess := t.evaluate(s)
	return excess, !v.NoData
}

// Time is the bound of a threshold that is about a time; false for all others.
func (t Threshold) Time() (time.Duration, bool) {
	if t.aggregate.Unit() != aggregate.Time {
		return 0, false
	}
	return time.Duration(t.bound.Value), true
}

// Unit is what a threshold's value and bound are in: seconds, ratio, per_second or number.
func (t Threshold) Unit() string {
	switch t.aggregate.Unit() {
	case aggregate.Time:
		return "seconds"
	case aggregate.Share:
		return "ratio"
	case aggregate.PerSecond:
		return "per_second"
	default:
		return "number"
	}
}

// Bound is what the value is compared with, in the threshold's Unit, and how: <, <=, >, >=, == or !=.
func (t Threshold) Bound() (op string, value float64) { return t.bound.Op, t.inUnit(t.bound.Value) }

// Value is what a threshold compares of a snapshot, in its Unit. It is false when there is no data, and when what is compared has no
// end: the time of what nobody waited for.
func (t Threshold) Value(s *metrics.Snapshot) (value float64, ok bool) {
	value, _, ok = t.observe(s)
	return t.inUnit(value), ok && !math.IsInf(value, 0)
}

func (t Threshold) inUnit(x float64) float64 {
	if t.aggregate.Unit() == aggregate.Time {
		return x / float64(time.Second)
	}
	return x
}

// OwnLag is the part of the bound that the generator's own lateness is, by the same figure of what the threshold is about: 0 when it is
// about no time, or about the time from sending.
func (t Threshold) OwnLag(s *metrics.Snapshot) float64 {
	bound, ok := t.Time()
	x := s.Select(t.Operation, t.Group)
	if !ok || bound <= 0 || t.fromSend || x == nil {
		return 0
	}
	lag := x.OwnLag.Mean()
	switch t.aggregate {
	case aggregate.P:
		lag = x.OwnLag.Quantile(t.quantile)
	case aggregate.Max:
		lag = x.OwnLag.Maximum()
	case aggregate.Med:
		lag = x.OwnLag.Quantile(0.5)
	}
	return float64(lag) / float64(bound)
}

// Percentile is the share of the operations, 0 to 1, that a threshold of the form p(95) is about; false for all others.
func (t Threshold) Percentile() (share float64, ok bool) {
	return t.quantile, t.aggregate == aggregate.P
}
