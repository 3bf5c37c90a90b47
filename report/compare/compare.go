// Package compare tells whether one run did worse than another, by more than noise and by more than a margin.
//
// What both runs have is cut into blocks of equal length, each within one stage and at the same time of it in both. A figure,
// such as a p95, comes from the merged distribution of all blocks; how sure it is, from how much the blocks disagree. An
// effect is given with its 95 % interval, and from it follows one of three answers: it is worse, it is not worse by more than the
// margin (the interval excludes that), or the runs are too short to tell.
package compare

import (
	"time"

	"github.com/twinfleet/twinfleet/metrics/histogram"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/compare/align"
	"github.com/twinfleet/twinfleet/report/compare/remarks"
	"github.com/twinfleet/twinfleet/report/compare/series"
)

// Options of Compare. A zero value stands for the default.
type Options struct {
	Margins Margins       // by how much each figure may be worse
	Floor   time.Duration // a latency that changed by less did not change; a millisecond
	// Scenarios are both scenarios as they ran, to say what differs in them; empty when they are not known.
	Scenarios [2]string
	// AllowSaturated compares stages whose load was not delivered as asked like others; the comparison still says so.
	AllowSaturated bool
}

// Margins are by how much a figure may be worse, as shares. A zero value stands for the default.
type Margins struct {
	P50    float64 // of the median; 0.1
	P95    float64 // of the 95th percentile; 0.15
	P99    float64 // of the 99th percentile; 0.25
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
	Worse    Verdict = "worse"             // by more than the margin
	Vanished Verdict = "vanished"          // it happened before, and never after: worse
	Appeared Verdict = "appeared"          // it never happened before: the loads differ
	Differs  Verdict = "differs"           // it happened more often, or less, which is neither good nor bad
	NotWorse Verdict = "not worse"         // by more than the margin
	Better   Verdict = "better"            // and that is certain
	TooShort Verdict = "too short to tell" // the runs are, for such a margin
	// LateStart is of a latency that is worse, while the machine was too busy to start operations in time.
	LateStart Verdict = "started late"
	TooFew    Verdict = "too few" // operations, for such a figure, whatever the length; passed over
)

// Answer is what a whole comparison says.
type Answer string

// The answers.
const (
	SomethingWorse Answer = "worse"       // a figure is
	NothingWorse   Answer = "not_worse"   // no figure is
	CannotTell     Answer = "cannot_tell" // no figure is worse, and of some it cannot be told
)

// Unit is what a figure is measured in.
type Unit string

// The units.
const (
	Seconds   Unit = "seconds"    // a latency
	PerSecond Unit = "per_second" // a rate
	Share     Unit = "share"      // of what was due
	Number    Unit = "number"     // a count
)

// Row is one figure of one operation, or of one group's, in both runs. Change, Low and High are shares of Before; of a
// Share they are differences. They are NaN when there is nothing to tell them from.
type Row struct {
	Operation     string  // of a query: with its name
	Group         string  // empty: all groups together
	Figure        string  // p50, p95, p99, rate, errors, throttled, unanswered, dropped
	Unit          Unit    // what Before and After are measured in
	Before, After float64 // in each of the runs
	Change        float64 // of After from Before, as far as it is known
	Low, High     float64 // the interval that holds the true change 19 times of 20
	Margin        float64 // by which After may be worse, as Change is; of a latency never less than the floor
	Verdict       Verdict // what follows from that

	Floor time.Duration // the floor of latencies, when Margin stands for it; 0 when it does not
	Less  bool          // less is worse: a rate of what devices do, other than connecting
}

// Bad reports whether the figure is worse.
func (r *Row) Bad() bool { return r.Verdict == Worse || r.Verdict == Vanished }

// Comparison is two runs side by side.
type Comparison struct {
	remarks.Remarks // what must be said beside the figures

	Before, After *report.Run   // the runs, without their samples
	Margins       Margins       // that were applied: Options.Margins with their defaults
	Floor         time.Duration // likewise
	Allowed       bool          // Options.AllowSaturated
	Compared      time.Duration // how much of both runs, without what only one of them has
	Blocks        int           // into which that was cut
	Rows          []Row         // by operation, then those of single groups

	lags [2]histogram.Histogram // how late all operations of each run started
}

// Compare compares two runs.
func Compare(before, after *report.History, o Options) *Comparison {
	o.Margins = o.Margins.withDefaults()
	if o.Floor == 0 {
		o.Floor = time.Millisecond
	}
	c := &Comparison{Before: before.Run, After: after.Run, Margins: o.Margins, Floor: o.Floor, Allowed: o.AllowSaturated}
	c.Remarks = remarks.Of(before, after, o.Scenarios)
	notAsAsked := func(stage string) string { return remarks.NotAsAsked(c.Before, c.After, stage) }
	p := align.Runs(before, after, notAsAsked, c.Allowed)
	c.Add(p.Remarks)
	c.Compared, c.Blocks, c.lags = p.Length[0], len(p.Blocks), series.Lags(p)
	if c.Blocks == 0 {
		if len(c.Unfit) == 0 {
			c.Doubt("there is nothing that both runs did")
		}
		return c
	}
	lines, groups := series.Lines(p)
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

// bonferroni is how much chance is believed of one line, so that of all of them together it makes something worse in
// less than one comparison of twenty. Operations and their groups share that equally; one alone has several figures.
func bonferroni(lines int, shared bool) float64 {
	alpha := 0.05
	if shared {
		alpha /= 2
	}
	return alpha / float64(max(lines, 2))
}
