package align_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/compare/align"
)

// history is a run whose stages took so many seconds, with one report in each.
func history(seconds ...int) *report.History {
	h := &report.History{Whole: true, Run: &report.Run{}}
	at := time.Duration(0)
	for i, n := range seconds {
		stage := report.Stage{Name: string(rune('a' + i)), From: at}
		for range n {
			rec, now := metrics.NewRecorder(metrics.Options{}), time.Now()
			rec.Series(metrics.OpTwinReport, "robots").Start(now, now).End(now, metrics.OK)
			window := rec.Snapshot()
			at += time.Second
			window.Elapsed, window.Stage = time.Second, stage.Name
			h.Samples = append(h.Samples, report.Sample{At: at, Window: window})
		}
		stage.To = at
		h.Run.Stages = append(h.Run.Stages, stage)
	}
	return h
}

// cut is what a record still has of a run whose process was killed after so many seconds.
func cut(h *report.History, seconds int) *report.History {
	c := &report.History{Run: &report.Run{}, Samples: h.Samples[:seconds]}
	for _, s := range h.Run.Stages {
		if s.From < time.Duration(seconds)*time.Second {
			c.Events = append(c.Events, report.Event{At: s.From, Kind: "stage", Text: s.Name, OK: true})
		}
	}
	return c
}

func asAsked(string) string { return "" }

// ended is how many reports each block has, of both runs.
func ended(p *align.Plan) (n [2][]uint64) {
	for _, block := range p.Blocks {
		for run, s := range block {
			n[run] = append(n[run], s.Select(metrics.OpTwinReport, "").Ended())
		}
	}
	return n
}

// Blocks lie within a stage and are of about one length; what only one run has is left out, and said.
func TestBlocks(t *testing.T) {
	for _, tt := range []struct {
		name          string
		before, after *report.History
		want          []uint64
		says          string
	}{
		{"equal runs", history(4, 40), history(4, 40), append(slices.Repeat([]uint64{2}, 2), slices.Repeat([]uint64{2}, 20)...), ""},
		{
			"a longer stage", history(4, 40), history(4, 60), append(slices.Repeat([]uint64{2}, 2), slices.Repeat([]uint64{2}, 20)...),
			"the stage b took 40.0s and 1m00s: its first 40.0s are compared",
		},
		{
			"a short stage that is longer by less than a tick", history(4, 2), history(4, 3), slices.Repeat([]uint64{1}, 6),
			"the stage b took 2.00s and 3.00s: its first 2.00s are compared",
		},
		{
			"a record that was cut", history(2, 6), cut(history(2, 6), 7), slices.Repeat([]uint64{1}, 7),
			"the stage b took 6.00s and 5.00s: its first 5.00s are compared",
		},
		{"a record that was cut where its stage ends", cut(history(2, 6), 2), history(2), slices.Repeat([]uint64{1}, 2), ""},
		{"a stage more", history(20), history(20, 5), slices.Repeat([]uint64{1}, 20), "only the second run has the stage b, which is left out"},
		{"nothing in common", history(5), history(), nil, "only the first run has the stage a"},
	} {
		p := align.Runs(tt.before, tt.after, asAsked, false)
		n := ended(p)
		if !slices.Equal(n[0], tt.want) || !slices.Equal(n[1], tt.want) {
			t.Errorf("%s: %v; want %v", tt.name, n, tt.want)
		}
		if all := strings.Join(slices.Concat(p.Unfit, p.Doubts, p.Notes), "; "); !strings.Contains(all, tt.says) || (tt.says == "") != (all == "") {
			t.Errorf("%s: %q; want %q", tt.name, all, tt.says)
		}
	}
}

// A stage whose load was not as asked is left out, or compared all the same when that is allowed.
func TestNotAsAsked(t *testing.T) {
	first := func(stage string) string {
		if stage == "a" {
			return "the load of a was not as asked"
		}
		return ""
	}
	if p := align.Runs(history(5, 10), history(5, 10), first, false); p.Length[0] != 10*time.Second || len(p.Doubts) != 1 {
		t.Errorf("%v, %q", p.Length, p.Doubts)
	}
	if p := align.Runs(history(5, 10), history(5, 10), first, true); p.Length[0] != 15*time.Second || len(p.Doubts) != 0 || len(p.Notes) != 1 {
		t.Errorf("allowed: %v, %q, %q", p.Length, p.Doubts, p.Notes)
	}
	if p := align.Runs(history(5), history(5), first, false); len(p.Blocks) != 0 || len(p.Unfit) != 1 {
		t.Errorf("nothing else: %d blocks, %q", len(p.Blocks), p.Unfit)
	}
}
