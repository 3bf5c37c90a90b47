// Package compare tells whether one run did worse than another, by more than noise.
//
// Both runs are cut into blocks of equal length, each block within one stage. A figure of a block, such as
// its p95, comes from the merged distribution of that block. Whether the blocks of the two runs differ
// is the Mann-Whitney U test's to say, which assumes nothing of how they are distributed; whether the
// difference matters is for two bounds: a share, and for latencies a least time. Blocks are long, since what
// slows one second slows the next, and the more figures are compared the less chance is believed of
// each (Bonferroni), since one of many would seem to differ by chance alone. A change must also be larger,
// by the share that is allowed, than the one that either run shows within itself.
package compare

import (
	"math"
	"time"

	"golang.org/x/perf/benchmath"

	"github.com/twinfleet/twinfleet/internal/report"
	"github.com/twinfleet/twinfleet/metrics"
)

// Options of Compare. A zero value stands for the default.
type Options struct {
	MaxRegression float64       // a change for the worse by more than this share counts; 0.1
	Floor         time.Duration // a latency that changed by less is the same; a millisecond
	Alpha         float64       // the most that chance may have to do with any of the changes; 0.01
}

// Verdict on one figure.
type Verdict string

// The verdicts.
const (
	Same   Verdict = "no change"
	Better Verdict = "better"
	Worse  Verdict = "worse"
)

// Row is one figure of one operation in both runs.
type Row struct {
	Operation     string // of a query: with its name
	Figure        string // p50, p95, p99, rate, errors
	Before, After string // for people
	Change        float64
	P             float64 // how likely chance alone makes such a difference; NaN when there is too little to tell
	Verdict       Verdict

	matters bool    // the change is more than the floor
	noise   float64 // the change that a run shows within itself, as a share
	sign    float64 // 1 when more is worse, -1 when less is
}

// Comparison is two runs side by side.
type Comparison struct {
	Before, After *report.Run
	Blocks        int // the most blocks of one run that a figure was taken from
	Rows          []Row
	Notes         []string // what a reader must know
}

// Regressions are the rows that are worse.
func (c *Comparison) Regressions() []Row {
	var worse []Row
	for _, r := range c.Rows {
		if r.Verdict == Worse {
			worse = append(worse, r)
		}
	}
	return worse
}

const (
	blocks     = 12  // into which a run is cut, at most
	leastOps   = 5   // in a block for a percentile of it
	leastShare = 0.1 // percent of operations, by which errors must rise to count
	leastCount = 5   // and by how many
)

// Compare compares two runs.
func Compare(before, after *report.History, o Options) *Comparison {
	if o.MaxRegression == 0 {
		o.MaxRegression = 0.1
	}
	if o.Floor == 0 {
		o.Floor = time.Millisecond
	}
	if o.Alpha == 0 {
		o.Alpha = 0.01
	}
	c := &Comparison{Before: before.Run, After: after.Run}
	c.note(before.Run, after.Run)
	length := blockLength(before, after)
	a, b := cut(before, length), cut(after, length)
	c.Blocks = max(len(a), len(b))
	for _, line := range report.Lines(before.Run.Totals) {
		for _, other := range report.Lines(after.Run.Totals) {
			if line.Name == other.Name {
				c.operation(line, other, a, b, o)
			}
		}
	}
	c.decide(o)
	return c
}

// note says what makes two runs hard to compare.
func (c *Comparison) note(a, b *report.Run) {
	add := func(differ bool, text string) {
		if differ {
			c.Notes = append(c.Notes, text)
		}
	}
	add(a.Name != b.Name, "the runs are of different scenarios: "+a.Name+" and "+b.Name)
	add(a.Seed != b.Seed, "the seeds differ")
	add(a.Devices != b.Devices, "the fleets differ in size")
	add(a.Target != b.Target, "the targets differ: "+a.Target+" and "+b.Target)
	add(a.Machine != b.Machine, "the machines differ")
	for _, r := range []*report.Run{a, b} {
		add(r.Outcome == report.Saturated, "in the run of "+r.Started.Format(time.DateTime)+" the generator was the bottleneck")
	}
}

// blockLength is such that neither run has more than blocks blocks, and at least a second.
func blockLength(runs ...*report.History) time.Duration {
	longest := time.Duration(0)
	for _, h := range runs {
		longest = max(longest, h.Run.Duration())
	}
	return max(time.Second, longest/blocks).Round(time.Second)
}

// cut merges the samples of each stage into blocks of about a length. What is left at the end of a stage is no block.
func cut(h *report.History, length time.Duration) []*metrics.Snapshot {
	const slack = 100 * time.Millisecond // ticks wander
	var out []*metrics.Snapshot
	var open *metrics.Snapshot
	for _, s := range h.Samples {
		if open == nil || open.Stage != s.Window.Stage {
			open = &metrics.Snapshot{Stage: s.Window.Stage, At: s.Window.At}
		}
		elapsed := open.Elapsed + s.Window.Elapsed
		open = open.Merge(s.Window)
		open.Elapsed = elapsed
		if elapsed >= length-slack {
			out = append(out, open)
			open = nil
		}
	}
	return out
}

// series is a line's figures in a block; nil when it has none.
func series(block *metrics.Snapshot, line report.Line) *metrics.SeriesSnapshot {
	for _, l := range report.Lines(block) {
		if l.Name == line.Name {
			return l.Series
		}
	}
	return nil
}

func (c *Comparison) operation(x, y report.Line, a, b []*metrics.Snapshot, o Options) {
	for _, q := range []struct {
		name string
		of   float64
	}{{"p50", 0.5}, {"p95", 0.95}, {"p99", 0.99}} {
		figure := func(s *metrics.SeriesSnapshot, _ time.Duration) (float64, bool) {
			h := s.Latency(false)
			return h.Quantile(q.of).Seconds(), h.Count >= leastOps
		}
		before, after := x.Series.Latency(false).Quantile(q.of), y.Series.Latency(false).Quantile(q.of)
		row := Row{Operation: x.Name, Figure: q.name, Before: report.Duration(before), After: report.Duration(after)}
		matters := (after - before).Abs() >= o.Floor
		c.judge(row, before.Seconds(), after.Seconds(), sample(a, x, figure), sample(b, x, figure), matters, 1, o)
	}
	rate := func(s *metrics.SeriesSnapshot, elapsed time.Duration) (float64, bool) {
		return float64(s.Ended()) / elapsed.Seconds(), true
	}
	perSecond := func(s *metrics.SeriesSnapshot, r *report.Run) float64 {
		return float64(s.Ended()) / max(r.Duration().Seconds(), 1e-9)
	}
	before, after := perSecond(x.Series, c.Before), perSecond(y.Series, c.After)
	row := Row{Operation: x.Name, Figure: "rate", Before: report.Rate(before), After: report.Rate(after)}
	c.judge(row, before, after, sample(a, x, rate), sample(b, x, rate), true, -1, o)
	c.errors(x, y)
}

// errors compares the shares that failed. Errors are few or none in most blocks, so that no test of blocks
// says much: more than a few, and more than a small share, counts.
func (c *Comparison) errors(x, y report.Line) {
	share := func(s *metrics.SeriesSnapshot) float64 { return 100 * float64(s.Errors()) / max(float64(s.Ended()), 1) }
	before, after := share(x.Series), share(y.Series)
	more := int64(y.Series.Errors()) - int64(x.Series.Errors())
	row := Row{Operation: x.Name, Figure: "errors", Before: percent(before), After: percent(after), Change: math.NaN(), P: math.NaN(), Verdict: Same}
	switch {
	case after-before > leastShare && more >= leastCount:
		row.Verdict = Worse
	case before-after > leastShare && -more >= leastCount:
		row.Verdict = Better
	}
	if x.Series.Errors()+y.Series.Errors() > 0 {
		c.Rows = append(c.Rows, row)
	}
}

// sample takes a figure from every block that has it.
func sample(blocks []*metrics.Snapshot, line report.Line, figure func(*metrics.SeriesSnapshot, time.Duration) (float64, bool)) []float64 {
	var values []float64
	for _, block := range blocks {
		s := series(block, line)
		if s == nil {
			continue
		}
		if v, ok := figure(s, block.Elapsed); ok {
			values = append(values, v)
		}
	}
	return values
}

// judge completes a row: sign is 1 when more is worse.
func (c *Comparison) judge(row Row, before, after float64, a, b []float64, matters bool, sign float64, o Options) {
	row.Change, row.P, row.Verdict = math.NaN(), math.NaN(), Same
	if before > 0 {
		row.Change = after/before - 1
	}
	if len(a) > 0 && len(b) > 0 {
		row.P = benchmath.AssumeNothing.Compare(benchmath.NewSample(a, &benchmath.DefaultThresholds), benchmath.NewSample(b, &benchmath.DefaultThresholds)).P
	}
	row.matters, row.sign, row.noise = matters, sign, max(within(a), within(b))
	c.Rows = append(c.Rows, row)
}

// decide gives every row that was tested its verdict.
func (c *Comparison) decide(o Options) {
	tests := 0
	for _, r := range c.Rows {
		if !math.IsNaN(r.P) {
			tests++
		}
	}
	for i := range c.Rows {
		r := &c.Rows[i]
		if !r.matters || math.IsNaN(r.P) || r.P >= o.Alpha/float64(tests) || math.Abs(r.Change) <= o.MaxRegression+r.noise {
			continue
		}
		r.Verdict = Better
		if r.sign*r.Change > 0 {
			r.Verdict = Worse
		}
	}
}

// within is how much a run's quarters differ, the first and third from the second and fourth, as a share: more
// than a steady run shows, and much less than a ramp does from its beginning to its end.
func within(values []float64) float64 {
	if len(values) < 4 {
		return 0
	}
	var odd, even, odds, evens float64
	for i, v := range values {
		if i*4/len(values)%2 == 0 {
			odd, odds = odd+v, odds+1
		} else {
			even, evens = even+v, evens+1
		}
	}
	if odd == 0 || even == 0 {
		return 0
	}
	return math.Abs(odd/odds/(even/evens) - 1)
}
