package threshold

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold/internal/aggregate"
)

// Evaluate compares what a snapshot holds: of a whole run, a stage or a window. A threshold
// without data does not pass; only a count can be compared with nothing.
func (t Threshold) Evaluate(s *metrics.Snapshot) Verdict {
	v, _ := t.evaluate(s)
	return v
}

// evaluate also says how far the observed value is past the bound, as a share of the bound: above 0
// the threshold is missed by so much.
func (t Threshold) evaluate(s *metrics.Snapshot) (v Verdict, excess float64) {
	v = Verdict{Threshold: t.String()}
	observed, text, ok := t.observe(s)
	if !ok {
		v.NoData, v.Observed = true, "no data"
		if t.Operation == metrics.OpRecovery {
			v.Observed = "no data: there was no outage"
		}
		return v, 0
	}
	v.Observed, v.Pass = t.label()+" = "+text, t.bound.Holds(observed)
	return v, t.bound.Excess(observed)
}

// observe is the figure that is compared, and how people read it; ok is false when there is none.
func (t Threshold) observe(s *metrics.Snapshot) (value float64, text string, ok bool) {
	switch {
	case t.aggregate.OfQueries():
		return t.observeQueries(s)
	case t.aggregate.OfDevices():
		return t.observeDevices(s)
	}
	x := s.Select(t.Operation, t.Group)
	if x == nil {
		x = &metrics.SeriesSnapshot{}
	}
	switch t.aggregate.Unit() {
	case aggregate.Time:
		return t.observeTime(x)
	case aggregate.PerSecond:
		if x.Ended() == 0 {
			return 0, "", false
		}
		rate := float64(x.Count(metrics.OK)) / max(s.Elapsed.Seconds(), 1e-9)
		return rate, t.bound.Written(rate, 1, 'f', "/s"), true
	}
	n, whole := t.aggregate.Number(x, t.only)
	if !t.aggregate.HasWhole() {
		text := strconv.FormatUint(n, 10)
		if t.aggregate == "count" && n < x.Ended() {
			text += fmt.Sprintf(" ok of %d", x.Ended()) // tables count all that ended
		}
		return float64(n), text, true
	}
	return t.observePart(n, whole)
}

// observePart compares how many of a whole are of a kind, or their share.
func (t Threshold) observePart(n, whole uint64) (value float64, text string, ok bool) {
	switch {
	case whole == 0:
		return 0, "", false
	case t.aggregate.Unit() == aggregate.Count:
		return float64(n), fmt.Sprintf("%d of %d", n, whole), true
	}
	share := float64(n) / float64(whole)
	return share, fmt.Sprintf("%s (%d of %d)", t.bound.Written(share*100, 3, 'g', "%"), n, whole), true
}

// observeQueries compares what was found in the results of queries.
func (t Threshold) observeQueries(s *metrics.Snapshot) (value float64, text string, ok bool) {
	q, _ := s.Query(t.Group)
	if t.aggregate == aggregate.Correct {
		return t.observePart(uint64(q.Rows.OK), uint64(q.Rows.Judged()))
	}
	return t.observePart(uint64(q.Met), uint64(q.Met+q.Unmet))
}

// observeDevices compares the devices that are connected with those that should be.
func (t Threshold) observeDevices(s *metrics.Snapshot) (value float64, text string, ok bool) {
	connected, wanted := Devices(s, t.Group)
	return t.observePart(uint64(connected), uint64(wanted))
}

// Devices is how many devices of a group, or of all when it is empty, are connected, and how many should be: without those that
// have not been started, or are offline by their own will.
func Devices(s *metrics.Snapshot, group string) (connected, wanted int) {
	for _, d := range s.Devices {
		if group != "" && d.Group != group || d.State == "waiting" || d.State == "offline" || d.Count < 0 {
			continue
		}
		wanted += d.Count
		if d.State == "connected" {
			connected += d.Count
		}
	}
	return connected, wanted
}

// observeTime compares a time. A recovery that did not come has no time that could be short enough.
func (t Threshold) observeTime(x *metrics.SeriesSnapshot) (value float64, text string, ok bool) {
	if n := x.Count(metrics.Unanswered); t.Operation == metrics.OpRecovery && n > 0 && t.bound.Upper() {
		after := x.Response[metrics.Unanswered].Maximum().Round(10 * time.Millisecond)
		return math.Inf(1), fmt.Sprintf("never in %d of %d outages, %v after the loss", n, x.Started(), after), true
	}
	d, ok := t.latency(x)
	if !ok {
		return 0, "", false
	}
	shown := d.Round(10 * time.Microsecond)
	if t.bound.Holds(float64(shown)) != t.bound.Holds(float64(d)) {
		shown = d
	}
	if t.bound.Holds(float64(d)) && t.unknown(x) {
		return math.Inf(1), fmt.Sprintf("%v or more: %d of %d were not waited for", shown, x.Count(metrics.Unanswered), x.Ended()), true
	}
	return float64(d), shown.String(), true
}

// unknown reports whether what a threshold compares is the time of an operation that nobody waited for to the end: it took
// that long at least, and how long nobody knows. An audit of freshness says itself for how long it waits.
func (t Threshold) unknown(x *metrics.SeriesSnapshot) bool {
	q := t.quantile
	switch {
	case !t.bound.Upper() || t.Operation == metrics.OpFreshness:
		return false
	case t.aggregate == aggregate.Max:
		q = 1
	case t.aggregate == aggregate.Med:
		q = 0.5
	case t.aggregate != aggregate.P:
		return false
	}
	n := x.Count(metrics.Unanswered)
	h := x.Latency(t.fromSend)
	return n > 0 && h.Count > 0 && h.Rank(q) > h.Count-n
}

func (t Threshold) label() string {
	switch {
	case t.aggregate == aggregate.P:
		return "p(" + strconv.FormatFloat(t.quantile*100, 'g', 6, 64) + ")"
	case t.only != "":
		return string(t.aggregate) + "(" + t.only + ")"
	}
	return string(t.aggregate)
}

// latency is the time that is compared; ok is false when nothing tells of it. What is under way for longer than the bound
// already, and will not be faster, counts with the time that it has reached.
func (t Threshold) latency(series *metrics.SeriesSnapshot) (d time.Duration, ok bool) {
	h := series.Latency(t.fromSend)
	if t.bound.Upper() {
		h = h.Merge(series.OpenLonger(time.Duration(t.bound.Value)))
	}
	if h.Count == 0 {
		return 0, false
	}
	switch t.aggregate {
	case aggregate.Avg:
		return h.Mean(), true
	case aggregate.Min:
		return h.Minimum(), true
	case aggregate.Med:
		return h.Quantile(0.5), true
	case aggregate.Max:
		return h.Maximum(), true
	default:
		return h.Quantile(t.quantile), true
	}
}
