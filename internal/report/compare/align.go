package compare

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/report"
	"github.com/twinfleet/twinfleet/metrics"
)

const (
	mostBlocks = 20                      // into which runs are cut, about
	leastBlock = time.Second             // since a record has a sample a second
	ticks      = 1200 * time.Millisecond // by which equal stages may differ in their samples
	afterEnd   = 10 * time.Millisecond
)

// plan is what both runs did, cut into blocks that stand beside each other.
type plan struct {
	blocks  [][2]*metrics.Snapshot
	seconds float64          // of a block
	length  [2]time.Duration // of all that is compared
	lags    [2]metrics.Histogram
}

// part is the samples of one stage.
type part struct {
	stage   string
	samples []report.Sample
	rest    []report.Sample // what ended after the last stage, when it is this
	length  time.Duration
}

// align finds what both runs did, and says what only one of them did.
func (c *Comparison) align(before, after *report.History) *plan {
	parts := [2][]part{split(before), split(after)}
	settle(&parts[0], parts[1], stages(before))
	settle(&parts[1], parts[0], stages(after))
	c.onlyIn(parts[0], parts[1], "first", !after.Whole)
	c.onlyIn(parts[1], parts[0], "second", !before.Whole)
	var pairs [][2]part
	var total time.Duration
	var unfit []string
	for _, a := range parts[0] {
		n := find(parts[1], a.stage)
		if n < 0 {
			continue
		}
		why := c.notAsAsked(a.stage)
		switch {
		case why != "" && c.Allowed:
			c.Notes = append(c.Notes, why)
		case why != "":
			unfit = append(unfit, why)
			continue
		}
		pair := c.cut(a, parts[1][n], before.Whole && after.Whole)
		pairs = append(pairs, pair)
		total += pair[0].length
	}
	if len(pairs) == 0 {
		c.Unfit = append(c.Unfit, unfit...)
	} else {
		for _, why := range unfit {
			c.doubt(why + "; it is left out")
		}
	}
	length := max(leastBlock, (total / mostBlocks).Round(time.Second))
	p := &plan{seconds: length.Seconds()}
	for _, pair := range pairs {
		p.add(pair, length)
	}
	c.setup(before, after, p)
	for _, block := range p.blocks {
		for run, snapshot := range block {
			if snapshot != nil {
				lag(&p.lags[run], snapshot.Series...)
			}
		}
	}
	return p
}

// split cuts a history into its stages. A stage that comes twice is two. Samples belong to the stage of their middle: which
// stage they name is that of their end.
func split(h *report.History) []part {
	var parts []part
	spans := stages(h)
	end := time.Duration(math.MaxInt64)
	if n := len(spans); n > 0 && spans[n-1].To < math.MaxInt64-afterEnd {
		end = spans[n-1].To + afterEnd
	}
	for _, s := range h.Samples {
		at := s.At - s.Window.Elapsed/2
		n := len(parts)
		if n > 0 && at > end {
			parts[n-1].rest = append(parts[n-1].rest, s)
			continue
		}
		stage := stageAt(spans, at, s.Window.Stage)
		if n == 0 || parts[n-1].stage != stage {
			parts = append(parts, part{stage: stage})
		}
		x := &parts[len(parts)-1]
		x.samples = append(x.samples, s)
		x.length += s.Window.Elapsed
	}
	return parts
}

// stageAt is the stage that ran at a time; what a sample calls it when nothing else tells.
func stageAt(spans []report.Stage, at time.Duration, named string) string {
	if len(spans) == 0 {
		return named
	}
	i := slices.IndexFunc(spans, func(x report.Stage) bool { return at < x.To })
	if i < 0 {
		i = len(spans) - 1
	}
	return spans[i].Name
}

// stages are when the stages ran. What a record that was cut has of that is in its events. Names are made to differ.
func stages(h *report.History) []report.Stage {
	all := slices.Clone(h.Run.Stages)
	if !h.Whole {
		var begun []report.Stage
		for _, e := range h.Events {
			if e.Kind != "stopping" && (e.Kind != "stage" || !e.OK) {
				continue
			}
			if n := len(begun); n > 0 && begun[n-1].To == math.MaxInt64 {
				begun[n-1].To = e.At
			}
			if e.Kind == "stopping" {
				continue // what comes after it is the wait for answers
			}
			begun = append(begun, report.Stage{Name: e.Text, From: e.At, To: math.MaxInt64})
		}
		if len(begun) > 0 {
			all = begun
		}
	}
	times := make(map[string]int)
	for i := range all {
		name := all[i].Name
		if times[name]++; times[name] > 1 {
			all[i].Name = fmt.Sprintf("%s (%d)", name, times[name])
		}
	}
	return all
}

func find(parts []part, stage string) int {
	return slices.IndexFunc(parts, func(p part) bool { return p.stage == stage })
}

// settle gives the samples of a stage that the other run had too, but so shortly that it has no sample of its own, to the
// stage before it, or after it when it is the first.
func settle(parts *[]part, other []part, spans []report.Stage) {
	for n := 0; n < len(*parts) && len(*parts) > 1; n++ {
		x := (*parts)[n]
		if x.length > 2*ticks || find(other, x.stage) >= 0 || !slices.ContainsFunc(spans, func(s report.Stage) bool { return s.Name == x.stage && s.To-s.From < ticks }) {
			continue
		}
		*parts = slices.Delete(*parts, n, n+1)
		if n > 0 {
			y := &(*parts)[n-1]
			y.samples, y.rest, y.length = append(y.samples, x.samples...), x.rest, y.length+x.length
		} else {
			y := &(*parts)[0]
			y.samples, y.length = append(x.samples, y.samples...), y.length+x.length
		}
		n--
	}
}

// onlyIn says which stages only one run has. Of a record that was cut that is to be expected.
func (c *Comparison) onlyIn(parts, other []part, which string, cut bool) {
	var names []string
	for _, p := range parts {
		if find(other, p.stage) < 0 {
			names = append(names, p.stage)
		}
	}
	if len(names) == 0 {
		return
	}
	text := fmt.Sprintf("only the %s run has %s %s, which %s left out", which, plural(len(names), "the stage", "the stages"), strings.Join(names, ", "), plural(len(names), "is", "are"))
	if cut {
		c.note(text)
	} else {
		c.doubt("the stages differ: " + text)
	}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// cut makes two stages as long as each other and says so.
func (c *Comparison) cut(a, b part, whole bool) [2]part {
	short, long := min(a.length, b.length), max(a.length, b.length)
	if long-short <= max(ticks, long/20) {
		if !whole {
			a.rest, b.rest = nil, nil // a record that was cut never waited for answers
		}
		return [2]part{a, b}
	}
	c.note(fmt.Sprintf("the stage %s took %s and %s: its first %s are compared", a.stage, report.Duration(a.length.Round(time.Second)), report.Duration(b.length.Round(time.Second)), report.Duration(short.Round(time.Second))))
	pair := [2]part{a, b}
	for i := range pair {
		x := &pair[i]
		kept := part{stage: x.stage}
		for _, s := range x.samples {
			if kept.length+s.Window.Elapsed/2 > short {
				break
			}
			kept.samples = append(kept.samples, s)
			kept.length += s.Window.Elapsed
		}
		*x = kept
	}
	return pair
}

// add cuts a stage of both runs into blocks of about a length.
func (p *plan) add(pair [2]part, length time.Duration) {
	count := max(1, int((min(pair[0].length, pair[1].length)+length/2)/length))
	blocks := make([][2]*metrics.Snapshot, count)
	for run := range pair {
		var at time.Duration
		for _, s := range pair[run].samples {
			n := min(int((at+s.Window.Elapsed/2)/length), count-1)
			put(&blocks[n][run], s.Window)
			at += s.Window.Elapsed
		}
		for _, s := range pair[run].rest {
			put(&blocks[count-1][run], s.Window)
		}
		p.length[run] += at
	}
	p.blocks = append(p.blocks, blocks...)
}

// setup adds what happened before the first stage, which a run tells only in its end. Samples that are missing show there too.
func (c *Comparison) setup(before, after *report.History, p *plan) {
	var block [2]*metrics.Snapshot
	for i, h := range []*report.History{before, after} {
		if !h.Whole || h.Run.Totals == nil {
			return
		}
		seen := &metrics.Snapshot{}
		for _, s := range h.Samples {
			seen = seen.Merge(s.Window)
		}
		rest, missing := &metrics.Snapshot{}, uint64(0)
		for _, x := range h.Run.Totals.Sub(seen).Series {
			if x.Operation == metrics.OpProvision {
				rest.Series = append(rest.Series, x)
			} else {
				missing += x.Ended()
			}
		}
		if missing > 0 {
			c.doubt(fmt.Sprintf("the record of the %s run lacks %s operations that its end counts", which(i), report.Count(int64(missing))))
		}
		block[i] = rest
	}
	if len(p.blocks) > 0 && len(block[0].Series)+len(block[1].Series) > 0 {
		p.blocks = append(p.blocks, block)
	}
}

func which(run int) string { return [2]string{"first", "second"}[run] }

func put(into **metrics.Snapshot, window *metrics.Snapshot) {
	if *into == nil {
		*into = &metrics.Snapshot{}
	}
	*into = (*into).Merge(window)
}

// line is one operation, of all groups or of one.
type line struct {
	name  string // with a query's
	op    metrics.Operation
	group string // empty: all; of queries, whose group is their name, it says which
}

func (l line) row(figure string, unit Unit, margin float64) Row {
	r := Row{Operation: l.name, Group: l.group, Figure: figure, Unit: unit, Margin: margin, Change: math.NaN(), Low: math.NaN(), High: math.NaN()}
	if l.op == metrics.OpQuery {
		r.Group = ""
	}
	return r
}

// connecting reports whether the operation belongs to a connection's beginning: more of it means connections were lost.
func (l line) connecting() bool {
	return l.op == metrics.OpConnect || l.op == metrics.OpSubscribe || l.op == metrics.OpTwinGet
}

// lines are the operations of either run, and their groups where one has several.
func (p *plan) lines() (all, groups []line) {
	found := make(map[metrics.Operation][]string)
	for _, block := range p.blocks {
		for _, s := range block {
			if s == nil {
				continue
			}
			for i := range s.Series {
				x := &s.Series[i]
				if x.Scheduled()+x.Ended() > 0 && !slices.Contains(found[x.Operation], x.Group) {
					found[x.Operation] = append(found[x.Operation], x.Group)
				}
			}
		}
	}
	for _, op := range metrics.Operations() {
		names := found[op]
		slices.Sort(names)
		if op == metrics.OpQuery {
			for _, name := range names {
				all = append(all, line{"query " + name, op, name})
			}
			continue
		}
		if len(names) > 0 {
			all = append(all, line{string(op), op, ""})
		}
		if len(names) > 1 {
			for _, name := range names {
				if name != "" {
					groups = append(groups, line{string(op), op, name})
				}
			}
		}
	}
	return all, groups
}

// seriesPair is one line in every block of both runs.
type seriesPair struct {
	blocks    [2][]*metrics.SeriesSnapshot
	seconds   float64
	lag, lags [2]metrics.Histogram // how late these operations started, and all of the run
}

func (p *plan) series(l line) *seriesPair {
	s := &seriesPair{seconds: p.seconds, lags: p.lags}
	for _, block := range p.blocks {
		for run, snapshot := range block {
			x := &metrics.SeriesSnapshot{}
			if snapshot != nil {
				if found := snapshot.Select(l.op, l.group); found != nil {
					x = found
				}
			}
			s.blocks[run] = append(s.blocks[run], x)
			lag(&s.lag[run], *x)
		}
	}
	return s
}

// part is a number of every block of a run.
func (s *seriesPair) part(run int, count func(*metrics.SeriesSnapshot) uint64) []float64 {
	out := make([]float64, len(s.blocks[run]))
	for i, x := range s.blocks[run] {
		out[i] = float64(count(x))
	}
	return out
}

func (s *seriesPair) counts(run int) []float64 { return s.part(run, (*metrics.SeriesSnapshot).Ended) }

func (s *seriesPair) dues(run int) []float64 { return s.part(run, (*metrics.SeriesSnapshot).Scheduled) }
func (s *seriesPair) ended(run int) uint64   { return uint64(sum(s.counts(run))) }
func (s *seriesPair) due(run int) uint64     { return uint64(sum(s.dues(run))) }

func (s *seriesPair) latencies(run int) []metrics.Histogram {
	out := make([]metrics.Histogram, len(s.blocks[run]))
	for i, x := range s.blocks[run] {
		out[i] = x.Latency(false)
	}
	return out
}

// lag adds how late a snapshot's operations started.
func lag(to *metrics.Histogram, series ...metrics.SeriesSnapshot) {
	for i := range series {
		*to = to.Merge(series[i].Lag)
	}
}

// failures are the bad outcomes that have no row of their own.
func failures(x *metrics.SeriesSnapshot) uint64 {
	return outcomes(x, func(name string) bool { return name != "ok" && name != "throttled" && name != "unanswered" })
}

func unanswered(x *metrics.SeriesSnapshot) uint64 {
	return outcomes(x, func(name string) bool { return name == "unanswered" })
}

func throttled(x *metrics.SeriesSnapshot) uint64 { return x.Count(metrics.Throttled) }

func outcomes(x *metrics.SeriesSnapshot, which func(string) bool) uint64 {
	var n uint64
	for _, o := range metrics.Outcomes() {
		if which(o.String()) {
			n += x.Count(o)
		}
	}
	return n
}

// dropped are what never started for a reason of the target's: not what a person paused, or the end of the run cut off.
func dropped(x *metrics.SeriesSnapshot) uint64 {
	return x.DroppedTotal() - min(x.DroppedTotal(), x.Dropped[metrics.DropStopped]+x.Dropped[metrics.DropPaused])
}
