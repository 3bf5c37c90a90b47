package compare

import (
	"math"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/histogram"
	"github.com/twinfleet/twinfleet/report/compare/align"
	"github.com/twinfleet/twinfleet/report/compare/effect"
	"github.com/twinfleet/twinfleet/report/compare/series"
)

// A percentile is told from leastBeyond operations beyond it, so that a p99 takes 1,000; a p50, from ten in all. Fewer are passed over, unless what
// was seen is worse by alarmingly much: twice as much of ten, eleven times as much of one.
const (
	leastBeyond = 10
	leastCount  = 5 // operations that must vanish, or errors that must appear, to count
)

// alarming is the change from which it is said that a figure of few operations cannot be told.
func alarming(n uint64) float64 { return max(10/float64(n), 1) }

// line adds the rows of one operation or group.
func (c *Comparison) line(l series.Line, p *align.Plan, alpha float64) {
	s := series.Of(p, l)
	n := [2]uint64{s.Ended(0), s.Ended(1)}
	setup := l.Op == metrics.OpProvision // there is none when the identities are there already
	switch {
	case n[0] == 0 && n[1] == 0:
	case n[0] > 0 && n[1] > 0:
		c.latencies(l, s, n, alpha)
		if !setup {
			c.rate(l, s, p, alpha)
		}
	case !setup:
		c.appearance(l, p, n)
	}
	c.shares(l, s, alpha)
}

// appearance adds the row of an operation of which one run has nothing.
func (c *Comparison) appearance(l series.Line, p *align.Plan, n [2]uint64) {
	row := newRow(l, "rate", PerSecond, c.Margins.Rate)
	row.Before, row.After = perSecond(n[0], p.Length[0]), perSecond(n[1], p.Length[1])
	switch {
	case l.Connecting() && max(n[0], n[1]) < leastCount:
		row.Verdict = TooFew // the last of a ramp that is left out, perhaps; who loses connections has an outage
	case n[0] == 0:
		row.Verdict = Appeared
		if row.Group == "" {
			c.Doubt("the loads differ: " + l.Name + " is only in the second run")
		}
	case n[0] < leastCount:
		row.Verdict, row.Change = TooShort, -1
	default:
		row.Verdict, row.Change = Vanished, -1
	}
	c.Rows = append(c.Rows, row)
}

func perSecond(n uint64, of time.Duration) float64 { return float64(n) / max(of.Seconds(), 1e-9) }

// latencies adds the rows of the percentiles.
func (c *Comparison) latencies(l series.Line, s *series.Pair, n [2]uint64, alpha float64) {
	a, b := s.Latencies(0), s.Latencies(1)
	met := false // the lowest percentile that cannot be judged
	for _, q := range []struct {
		name       string
		of, margin float64
	}{{"p50", 0.5, c.Margins.P50}, {"p95", 0.95, c.Margins.P95}, {"p99", 0.99, c.Margins.P99}} {
		before, after := histogram.MergeAll(a).Quantile(q.of), histogram.MergeAll(b).Quantile(q.of)
		row := newRow(l, q.name, Seconds, q.margin)
		if least := c.Floor.Seconds() / max(before, time.Microsecond).Seconds(); least > row.Margin {
			row.Margin, row.Floor = least, c.Floor
		}
		row.Before, row.After = before.Seconds(), after.Seconds()
		e := effect.Quantile(a, b, q.of, s.Seconds)
		row.judge(e, alpha, 1)
		if gap, ok := effect.Apart(a, b, q.of, e.Estimate); ok && row.Verdict == TooShort && e.Estimate > math.Log1p(row.Margin) {
			row.Verdict, row.Low = Worse, max(row.Low, math.Expm1(gap))
		}
		if row.Verdict == Worse && !c.Allowed && c.startedLate(s, q.of, after-before) {
			row.Verdict = LateStart
		}
		if least := float64(min(n[0], n[1])); least < leastBeyond || (q.of > 0.5 && least*(1-q.of) < leastBeyond-1e-9) {
			row.Low, row.High, row.Verdict = math.NaN(), math.NaN(), TooFew
			if !met && row.Change > max(alarming(min(n[0], n[1])), row.Margin) {
				row.Verdict = TooShort
			}
			met = true
		}
		c.Rows = append(c.Rows, row)
	}
}

// lateShare is how many times later operations may have started, by the machine's doing, to explain a latency: what starts late
// is also answered late when the target has the same machine.
const lateShare = 4

// startedLate reports whether a change of a percentile may be the machine's doing: operations, these or all of the run, started later
// by a good part of it, while timers, which no target touches, were as late.
func (c *Comparison) startedLate(s *series.Pair, q float64, change time.Duration) bool {
	if c.After.Generator == nil {
		return false
	}
	for _, lag := range [][2]histogram.Histogram{s.Lag, c.lags} {
		before, after := lag[0].Quantile(q), lag[1].Quantile(q)
		if c.After.Generator.Late >= after && lateShare*(after-before) > change {
			return true
		}
	}
	return false
}

// rate adds the row of what ended in a second.
func (c *Comparison) rate(l series.Line, s *series.Pair, p *align.Plan, alpha float64) {
	n := [2]uint64{s.Ended(0), s.Ended(1)}
	// One operation may fall to this side of an end or to that.
	row := newRow(l, "rate", PerSecond, max(c.Margins.Rate, 1.5/float64(n[0])))
	row.Before, row.After = perSecond(n[0], p.Length[0]), perSecond(n[1], p.Length[1])
	sign := -1.0
	if row.Less = !l.Connecting(); !row.Less {
		sign = 1
	}
	e := effect.Rate(float64(n[0]), float64(n[1]), s.Dues(0), s.Dues(1), p.Length)
	row.judge(e, alpha, sign)
	if row.Verdict == Better {
		row.Verdict = Differs
	}
	if min(n[0], n[1]) < 2*leastCount {
		row.Low, row.High = math.NaN(), math.NaN()
		switch {
		case math.Abs(e.Estimate) < math.Log1p(alarming(min(n[0], n[1]))):
			row.Verdict = TooFew
		case !row.Bad():
			row.Verdict = TooShort
		}
	}
	c.Rows = append(c.Rows, row)
}

// shares adds the rows of what ended badly or never started, of which either run has any.
func (c *Comparison) shares(l series.Line, s *series.Pair, alpha float64) {
	for _, kind := range []struct {
		name  string
		count func(*metrics.SeriesSnapshot) uint64
	}{{"errors", series.Failures}, {"unanswered", series.Unanswered}, {"throttled", series.Throttled}, {"dropped", series.Dropped}} {
		a, b := s.Part(0, kind.count), s.Part(1, kind.count)
		x, y := series.Sum(a), series.Sum(b)
		if x+y == 0 {
			continue
		}
		before, after := x/max(float64(s.Due(0)), 1), y/max(float64(s.Due(1)), 1)
		row := newRow(l, kind.name, Share, max(c.Margins.Errors, before*c.Margins.Rate))
		row.Before, row.After = before, after
		row.judgeShare(effect.Share(a, b, s.Dues(0), s.Dues(1), s.Seconds), x, y, alpha)
		c.Rows = append(c.Rows, row)
	}
}

// newRow is a row of a line, without what is found.
func newRow(l series.Line, figure string, unit Unit, margin float64) Row {
	r := Row{Operation: l.Name, Group: l.Group, Figure: figure, Unit: unit, Margin: margin, Change: math.NaN(), Low: math.NaN(), High: math.NaN()}
	if l.Op == metrics.OpQuery {
		r.Group = ""
	}
	return r
}
