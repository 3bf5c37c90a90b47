// Package compare tells whether one run did worse than another, by more than noise and by more than a margin.
//
// What both runs have is cut into blocks of equal length, each within one stage and at the same time of it in both. A figure,
// such as a p95, comes from the merged distribution of all blocks; how sure it is, from how much the blocks disagree. An
// effect is given with its 95 % interval, and from it follows one of three answers: it is worse, it is not worse by more than the
// margin (the interval excludes that), or the runs are too short to tell.
package compare

import (
	"math"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/histogram"
	"github.com/twinfleet/twinfleet/report"
)

// Options of Compare. A zero value stands for the default.
type Options struct {
	Margins Margins
	Floor   time.Duration // a latency that changed by less did not change; a millisecond
	// Scenarios are both scenarios as they ran, to say what differs in them; empty when they are not known.
	Scenarios [2]string
	// AllowSaturated compares stages whose load was not delivered as asked like others; the comparison still says so.
	AllowSaturated bool
}

// Margins are by how much a figure may be worse, as shares. A zero value stands for the default.
type Margins struct {
	P50    float64 // 0.1
	P95    float64 // 0.15
	P99    float64 // 0.25
	Rate   float64 // of operations that ended in a second; 0.1
	Errors float64 // of what was due, for errors, throttled, unanswered and dropped operations; 0.001
}

func (m Margins) withDefaults() Margins {
	fill := func(x *float64, value float64) {
		if *x == 0 {
			*x = value
		}
	}
	fill(&m.P50, 0.1)
	fill(&m.P95, 0.15)
	fill(&m.P99, 0.25)
	fill(&m.Rate, 0.1)
	fill(&m.Errors, 0.001)
	return m
}

// Verdict on one figure.
type Verdict string

// The verdicts.
const (
	Worse    Verdict = "worse"
	Vanished Verdict = "vanished" // it happened before, and never after: worse
	Appeared Verdict = "appeared" // it never happened before: the loads differ
	Differs  Verdict = "differs"  // it happened more often, or less, which is neither good nor bad
	NotWorse Verdict = "not worse"
	Better   Verdict = "better"
	TooShort Verdict = "too short to tell"
	// LateStart is of a latency that is worse, while the machine was too busy to start operations in time.
	LateStart Verdict = "started late"
	TooFew    Verdict = "too few" // operations, for such a figure, whatever the length; passed over
)

// Answer is what a whole comparison says.
type Answer string

// The answers.
const (
	SomethingWorse Answer = "worse"
	NothingWorse   Answer = "not_worse"
	CannotTell     Answer = "cannot_tell"
)

// Unit is what a figure is measured in.
type Unit string

// The units.
const (
	Seconds   Unit = "seconds"
	PerSecond Unit = "per_second"
	Share     Unit = "share" // of what was due
	Number    Unit = "number"
)

// Row is one figure of one operation, or of one group's, in both runs. Change, Low and High are shares of Before; of a
// Share they are differences. They are NaN when there is nothing to tell them from.
type Row struct {
	Operation     string // of a query: with its name
	Group         string // empty: all groups together
	Figure        string // p50, p95, p99, rate, errors, throttled, unanswered, dropped
	Unit          Unit
	Before, After float64
	Change        float64
	Low, High     float64 // the interval that holds the true change 19 times of 20
	Margin        float64 // by which After may be worse, as Change is; of a latency never less than the floor
	Verdict       Verdict

	floor time.Duration // when Margin stands for it
}

// Bad reports whether the figure is worse.
func (r *Row) Bad() bool { return r.Verdict == Worse || r.Verdict == Vanished }

// Comparison is two runs side by side.
type Comparison struct {
	Before, After *report.Run
	Margins       Margins
	Floor         time.Duration
	Allowed       bool          // Options.AllowSaturated
	Compared      time.Duration // how much of both runs, without what only one of them has
	Blocks        int           // into which that was cut
	Rows          []Row
	Doubts        []string // why "not worse" cannot be said, whatever the figures say
	Unfit         []string // why nothing can be said of the target
	Notes         []string // what else a reader must know
}

// Regressions are the rows that are worse.
func (c *Comparison) Regressions() []Row { return c.rows((*Row).Bad) }

// Unsure are the rows of whole operations that cannot be told. Of a group it is only asked whether it is worse.
func (c *Comparison) Unsure() []Row {
	return c.rows(func(r *Row) bool { return (r.Verdict == TooShort || r.Verdict == LateStart) && r.Group == "" })
}

func (c *Comparison) late() []Row {
	return c.rows(func(r *Row) bool { return r.Verdict == LateStart && r.Group == "" })
}

func (c *Comparison) rows(which func(*Row) bool) []Row {
	var out []Row
	for i := range c.Rows {
		if which(&c.Rows[i]) {
			out = append(out, c.Rows[i])
		}
	}
	return out
}

// judged are the rows from which the answer follows.
func (c *Comparison) judged() []Row {
	return c.rows(func(r *Row) bool { return r.Verdict != TooFew })
}

// Answer is what the whole comparison says.
func (c *Comparison) Answer() Answer {
	switch {
	case len(c.Unfit) > 0:
		return CannotTell
	case len(c.Regressions()) > 0:
		return SomethingWorse
	case len(c.Doubts) > 0 || len(c.Unsure()) > 0 || len(c.judged()) == 0:
		return CannotTell
	default:
		return NothingWorse
	}
}

// Compare compares two runs.
func Compare(before, after *report.History, o Options) *Comparison {
	o.Margins = o.Margins.withDefaults()
	if o.Floor == 0 {
		o.Floor = time.Millisecond
	}
	c := &Comparison{Before: before.Run, After: after.Run, Margins: o.Margins, Floor: o.Floor, Allowed: o.AllowSaturated}
	c.differences(before, after, o.Scenarios)
	p := c.align(before, after)
	c.Compared, c.Blocks = p.length[0], len(p.blocks)
	if c.Blocks == 0 {
		if len(c.Unfit) == 0 {
			c.doubt("there is nothing that both runs did")
		}
		return c
	}
	lines, groups := p.lines()
	for _, l := range lines {
		c.line(l, p, bonferroni(len(lines), len(groups) > 0))
	}
	for _, l := range groups {
		c.line(l, p, bonferroni(len(groups), true))
	}
	if before.Whole && after.Whole {
		c.counted()
	}
	return c
}

func (c *Comparison) doubt(text string) { c.Doubts = append(c.Doubts, text) }
func (c *Comparison) note(text string)  { c.Notes = append(c.Notes, text) }

// bonferroni is how much chance is believed of one line, so that of all of them together it makes something worse in
// less than one comparison of twenty. Operations and their groups share that equally; one alone has several figures.
func bonferroni(lines int, shared bool) float64 {
	alpha := 0.05
	if shared {
		alpha /= 2
	}
	return alpha / float64(max(lines, 2))
}

// A percentile is told from leastBeyond operations beyond it, so that a p99 takes 1,000; a p50, from ten in all. Fewer are passed over, unless what
// was seen is worse by alarmingly much: twice as much of ten, eleven times as much of one.
const (
	leastBeyond = 10
	leastCount  = 5 // operations that must vanish, or errors that must appear, to count
)

// alarming is the change from which it is said that a figure of few operations cannot be told.
func alarming(n uint64) float64 { return max(10/float64(n), 1) }

// line adds the rows of one operation or group.
func (c *Comparison) line(l line, p *plan, alpha float64) {
	s := p.series(l)
	n := [2]uint64{s.ended(0), s.ended(1)}
	setup := l.op == metrics.OpProvision // there is none when the identities are there already
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
func (c *Comparison) appearance(l line, p *plan, n [2]uint64) {
	row := l.row("rate", PerSecond, c.Margins.Rate)
	row.Before, row.After = perSecond(n[0], p.length[0]), perSecond(n[1], p.length[1])
	switch {
	case l.connecting() && max(n[0], n[1]) < leastCount:
		row.Verdict = TooFew // the last of a ramp that is left out, perhaps; who loses connections has an outage
	case n[0] == 0:
		row.Verdict = Appeared
		if row.Group == "" {
			c.doubt("the loads differ: " + l.name + " is only in the second run")
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
func (c *Comparison) latencies(l line, s *seriesPair, n [2]uint64, alpha float64) {
	a, b := s.latencies(0), s.latencies(1)
	looked := false // at the lowest percentile that cannot be judged
	for _, q := range []struct {
		name       string
		of, margin float64
	}{{"p50", 0.5, c.Margins.P50}, {"p95", 0.95, c.Margins.P95}, {"p99", 0.99, c.Margins.P99}} {
		before, after := merged(a).Quantile(q.of), merged(b).Quantile(q.of)
		row := l.row(q.name, Seconds, q.margin)
		if least := c.Floor.Seconds() / max(before, time.Microsecond).Seconds(); least > row.Margin {
			row.Margin, row.floor = least, c.Floor
		}
		row.Before, row.After = before.Seconds(), after.Seconds()
		e := quantileEffect(a, b, q.of, s.seconds)
		row.judge(e, alpha, 1)
		if gap, ok := apart(a, b, q.of, e.estimate); ok && row.Verdict == TooShort && e.estimate > math.Log1p(row.Margin) {
			row.Verdict, row.Low = Worse, max(row.Low, math.Expm1(gap))
		}
		if row.Verdict == Worse && !c.Allowed && c.startedLate(s, q.of, after-before) {
			row.Verdict = LateStart
		}
		if least := float64(min(n[0], n[1])); least < leastBeyond || (q.of > 0.5 && least*(1-q.of) < leastBeyond-1e-9) {
			row.Low, row.High, row.Verdict = math.NaN(), math.NaN(), TooFew
			if !looked && row.Change > max(alarming(min(n[0], n[1])), row.Margin) {
				row.Verdict = TooShort
			}
			looked = true
		}
		c.Rows = append(c.Rows, row)
	}
}

// lateShare is how many times later operations may have started, by the machine's doing, to explain a latency: what starts late
// is also answered late when the target has the same machine.
const lateShare = 4

// startedLate reports whether a change of a percentile may be the machine's doing: operations, these or all of the run, started later
// by a good part of it, while timers, which no target touches, were as late.
func (c *Comparison) startedLate(s *seriesPair, q float64, change time.Duration) bool {
	if c.After.Generator == nil {
		return false
	}
	for _, lag := range [][2]histogram.Histogram{s.lag, s.lags} {
		before, after := lag[0].Quantile(q), lag[1].Quantile(q)
		if c.After.Generator.Late >= after && lateShare*(after-before) > change {
			return true
		}
	}
	return false
}

// rate adds the row of what ended in a second.
func (c *Comparison) rate(l line, s *seriesPair, p *plan, alpha float64) {
	n := [2]uint64{s.ended(0), s.ended(1)}
	// One operation may fall to this side of an end or to that.
	row := l.row("rate", PerSecond, max(c.Margins.Rate, 1.5/float64(n[0])))
	row.Before, row.After = perSecond(n[0], p.length[0]), perSecond(n[1], p.length[1])
	sign := -1.0
	if l.connecting() {
		sign = 1
	}
	e := rateEffect(float64(n[0]), float64(n[1]), s.dues(0), s.dues(1), p.length)
	row.judge(e, alpha, sign)
	if row.Verdict == Better {
		row.Verdict = Differs
	}
	if min(n[0], n[1]) < 2*leastCount {
		row.Low, row.High = math.NaN(), math.NaN()
		switch {
		case math.Abs(e.estimate) < math.Log1p(alarming(min(n[0], n[1]))):
			row.Verdict = TooFew
		case !row.Bad():
			row.Verdict = TooShort
		}
	}
	c.Rows = append(c.Rows, row)
}

// shares adds the rows of what ended badly or never started, of which either run has any.
func (c *Comparison) shares(l line, s *seriesPair, alpha float64) {
	for _, kind := range []struct {
		name  string
		count func(*metrics.SeriesSnapshot) uint64
	}{{"errors", failures}, {"unanswered", unanswered}, {"throttled", throttled}, {"dropped", dropped}} {
		a, b := s.part(0, kind.count), s.part(1, kind.count)
		x, y := sum(a), sum(b)
		if x+y == 0 {
			continue
		}
		before, after := x/max(float64(s.due(0)), 1), y/max(float64(s.due(1)), 1)
		row := l.row(kind.name, Share, max(c.Margins.Errors, before*c.Margins.Rate))
		row.Before, row.After = before, after
		row.judgeShare(shareEffect(a, b, s.dues(0), s.dues(1), s.seconds), x, y, alpha)
		c.Rows = append(c.Rows, row)
	}
}

// judge gives a row its effect and its verdict. sign is 1 when more is worse. In logarithms twice and half are equally far.
func (r *Row) judge(e effect, alpha, sign float64) {
	low, high := e.interval(0.025)
	r.Change, r.Low, r.High = math.Expm1(e.estimate), math.Expm1(low), math.Expm1(high)
	surelyLow, surelyHigh := e.sure(alpha)
	est, margin := e.estimate, math.Log1p(r.Margin)
	if sign < 0 {
		est, high = -est, -low
		surelyLow, surelyHigh = -surelyHigh, -surelyLow
		margin = -math.Log1p(-min(r.Margin, 0.999))
	}
	r.Verdict = verdict(est, high, surelyLow, surelyHigh, margin)
}

// judgeShare is judge for a share of x and y operations. Of what never happened before the blocks say nothing: more
// than a few of it are worse.
func (r *Row) judgeShare(e effect, x, y, alpha float64) {
	r.Low, r.High = e.interval(0.025)
	r.Change = e.estimate
	surelyLow, surelyHigh := e.sure(alpha)
	r.Verdict = verdict(e.estimate, r.High, surelyLow, surelyHigh, r.Margin)
	r.Low, r.High = max(r.Low, 0-r.Before), min(r.High, max(r.Change, 1-r.Before)) // a share is none to all
	if x > 0 {
		return
	}
	switch {
	case r.Change <= r.Margin:
		r.Verdict = NotWorse
	case y >= leastCount:
		r.Verdict = Worse
	default:
		r.Verdict = TooShort
	}
}

// verdict follows from an effect, where more is worse: high is the upper end of its interval, the others are the ends of the
// wider one that allows for the number of comparisons.
func verdict(est, high, surelyLow, surelyHigh, margin float64) Verdict {
	switch {
	case est > margin && surelyLow > 0:
		return Worse
	case est < -margin && surelyHigh < 0:
		return Better
	case high < margin:
		return NotWorse
	default:
		return TooShort
	}
}

// counted adds the rows of what should never happen and did in one of the runs: there is nothing to estimate.
func (c *Comparison) counted() {
	before, after := mishaps(c.Before), mishaps(c.After)
	for i, x := range before {
		y := after[i]
		row := Row{
			Operation: x.operation, Figure: x.figure, Unit: Number, Before: float64(x.count), After: float64(y.count),
			Change: math.NaN(), Low: math.NaN(), High: math.NaN(), Verdict: Better,
		}
		if (x.count == 0) == (y.count == 0) {
			continue // that of both runs is the scenario's doing, and no number tells more
		}
		if x.count == 0 {
			row.Verdict = Worse
		}
		c.Rows = append(c.Rows, row)
	}
}

type mishap struct {
	operation, figure string
	count             int
}

func mishaps(r *report.Run) []mishap {
	lost, failed, unmet, gone := 0, 0, 0, 0
	for _, o := range r.Outages {
		lost += o.Total
	}
	for _, s := range r.Steps {
		if !s.OK {
			failed++
		}
	}
	if r.Totals != nil {
		for _, q := range r.Totals.Queries {
			unmet += q.Unmet
		}
	}
	if f := r.Freshness; f != nil && f.Verified != nil {
		gone = f.Verified.Lost
	}
	return []mishap{{"connections", "lost in outages", lost}, {"steps", "failed", failed}, {"queries", "results of another size", unmet}, {"reports", "lost", gone}}
}
