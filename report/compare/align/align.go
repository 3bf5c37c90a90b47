// Package align sets two runs beside each other: the stages that both had, cut into blocks of equal length, each at the same time of
// the same stage in both.
package align

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/compare/remarks"
	"github.com/twinfleet/twinfleet/report/human"
)

const (
	mostBlocks = 20                      // into which runs are cut, about
	leastBlock = time.Second             // since a record has a sample a second
	ticks      = 1200 * time.Millisecond // by which equal stages may differ in their samples
	afterEnd   = 10 * time.Millisecond
	atOnce     = 100 * time.Millisecond // by which stages that were to be equal may end apart
)

// Plan is what both runs did, cut into blocks that stand beside each other, and what is to be said of it.
type Plan struct {
	remarks.Remarks // of what is left out, and why

	Blocks  [][2]*metrics.Snapshot // of the first run and the second; nil where a run has no sample
	Seconds float64                // the length of a block
	Length  [2]time.Duration       // of all that is compared, in each run
}

// part is the samples of one stage.
type part struct {
	stage   string
	samples []report.Sample
	rest    []report.Sample // what ended after the last stage, when it is this
	length  time.Duration
	names   []string      // of the stages that it is made of
	span    time.Duration // how long they ran; noEnd when the record does not tell
}

const noEnd = time.Duration(math.MaxInt64)

// Runs finds what both runs did, and says what only one of them did. A stage for which notAsAsked gives a reason, because its load was not
// the one that was asked for, is left out, or compared all the same when that is allowed.
func Runs(before, after *report.History, notAsAsked func(stage string) string, allowed bool) *Plan {
	p := &Plan{}
	parts := [2][]part{split(before), split(after)}
	settle(&parts[0], parts[1], stages(before))
	settle(&parts[1], parts[0], stages(after))
	p.onlyIn(parts[0], parts[1], "first", !after.Whole)
	p.onlyIn(parts[1], parts[0], "second", !before.Whole)
	var pairs [][2]part
	var total time.Duration
	var unfit []string
	for _, a := range parts[0] {
		n := find(parts[1], a.stage)
		if n < 0 {
			continue
		}
		why := notAsAsked(a.stage)
		switch {
		case why != "" && allowed:
			p.Note(why)
		case why != "":
			unfit = append(unfit, why)
			continue
		}
		pair := p.cut(a, parts[1][n], before.Whole && after.Whole)
		pairs = append(pairs, pair)
		total += pair[0].length
	}
	if len(pairs) == 0 {
		p.Unfit = unfit
	} else {
		for _, why := range unfit {
			p.Doubt(why + "; it is left out")
		}
	}
	length := max(leastBlock, (total / mostBlocks).Round(time.Second))
	p.Seconds = length.Seconds()
	for _, pair := range pairs {
		p.add(pair, length)
	}
	p.setup(before, after)
	return p
}

// split cuts a history into its stages. A stage that comes twice is two. Samples belong to the stage of their middle: which
// stage they name is that of their end.
func split(h *report.History) []part {
	var parts []part
	spans := stages(h)
	end := noEnd
	if n := len(spans); n > 0 && spans[n-1].To < noEnd-afterEnd {
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
			parts = append(parts, part{stage: stage, names: []string{stage}, span: spanOf(spans, stage)})
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

// spanOf is how long a stage ran; nothing for what no stage is named.
func spanOf(spans []report.Stage, name string) time.Duration {
	i := slices.IndexFunc(spans, func(x report.Stage) bool { return x.Name == name })
	switch {
	case i < 0:
		return 0
	case spans[i].To == noEnd:
		return noEnd
	}
	return spans[i].To - spans[i].From
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
			if n := len(begun); n > 0 && begun[n-1].To == noEnd {
				begun[n-1].To = e.At
			}
			if e.Kind == report.KindStopping {
				continue // what comes after it is the wait for answers
			}
			begun = append(begun, report.Stage{Name: e.Text, From: e.At, To: noEnd})
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
		short := func(s report.Stage) bool { return s.Name == x.stage && s.To-s.From < ticks }
		if x.length > 2*ticks || find(other, x.stage) >= 0 || !slices.ContainsFunc(spans, short) {
			continue
		}
		*parts = slices.Delete(*parts, n, n+1)
		y := &(*parts)[max(n-1, 0)]
		if n > 0 {
			y.samples, y.rest, y.names = append(y.samples, x.samples...), x.rest, append(y.names, x.names...)
		} else {
			y.samples, y.names = append(x.samples, y.samples...), append(x.names, y.names...)
		}
		y.length += x.length
		if y.span += x.span; y.span < 0 || x.span == noEnd {
			y.span = noEnd
		}
		n--
	}
}

// onlyIn says which stages only one run has. Of a record that was cut that is to be expected.
func (p *Plan) onlyIn(parts, other []part, which string, cut bool) {
	var names []string
	for _, x := range parts {
		if find(other, x.stage) < 0 {
			names = append(names, x.stage)
		}
	}
	if len(names) == 0 {
		return
	}
	text := fmt.Sprintf("only the %s run has %s %s, which %s left out", which, plural(len(names), "the stage", "the stages"),
		strings.Join(names, ", "), plural(len(names), "is", "are"))
	if cut {
		p.Note(text)
	} else {
		p.Doubt("the stages differ: " + text)
	}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// asLong tells whether two stages ran for as long as each other. Samples tell it to a tick, which is much of a short stage: so
// much is forgiven to stages of which their records say that they did.
func asLong(a, b part) bool {
	near := max(a.length, b.length) / 20
	apart := (a.length - b.length).Abs()
	if a.span == noEnd || b.span == noEnd || (a.span-b.span).Abs() > max(near, atOnce) {
		return apart <= near
	}
	return apart <= max(near, ticks)
}

// cut makes two stages as long as each other and says so.
func (p *Plan) cut(a, b part, whole bool) [2]part {
	short := min(a.length, b.length)
	if asLong(a, b) {
		if !whole {
			a.rest, b.rest = nil, nil // a record that was cut never waited for answers
		}
		return [2]part{a, b}
	}
	names := a.names
	if len(b.names) > len(names) {
		names = b.names
	}
	p.Note(fmt.Sprintf("the %s %s took %s and %s: %s first %s are compared", plural(len(names), "stage", "stages"), strings.Join(names, ", "),
		human.Duration(a.length.Round(time.Second)), human.Duration(b.length.Round(time.Second)), plural(len(names), "its", "their"),
		human.Duration(short.Round(time.Second))))
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
func (p *Plan) add(pair [2]part, length time.Duration) {
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
		p.Length[run] += at
	}
	p.Blocks = append(p.Blocks, blocks...)
}

// setup adds what happened before the first stage, which a run tells only in its end. Samples that are missing show there too.
func (p *Plan) setup(before, after *report.History) {
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
			p.Doubt(fmt.Sprintf("the record of the %s run lacks %s that its end counts", remarks.Which(i), human.Number(int(missing), "operation")))
		}
		block[i] = rest
	}
	if len(p.Blocks) > 0 && len(block[0].Series)+len(block[1].Series) > 0 {
		p.Blocks = append(p.Blocks, block)
	}
}

func put(into **metrics.Snapshot, window *metrics.Snapshot) {
	if *into == nil {
		*into = &metrics.Snapshot{}
	}
	*into = (*into).Merge(window)
}
