package text_test

import (
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/markdown"
	"github.com/twinfleet/twinfleet/report/text"
)

func TestSummaryTellsHowDevicesCameBack(t *testing.T) {
	const s = time.Second
	run := &report.Run{Totals: &metrics.Snapshot{}, Outages: []report.Outage{
		{From: 30 * s, To: 33 * s, Lost: 2000, Total: 2400, Recovered: true, AllBack: 4 * s, Returns: []int{400, 1600, 380, 20}, Every: s},
		{From: 60 * s, To: 90 * s, Lost: 10, Total: 10, Returns: []int{0, 3}, Every: 2 * s},
	}}
	var b strings.Builder
	if err := text.Write(&b, run, color.Style{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"outage at 30.0s: 2,400 connections were lost, 2,000 devices were gone at once; 99 % were back after 3.00s\n",
		"came back ▂█▂▁  at most 1,600/s, 1.00s after it began; all were back after 4.00s\n",
		"came back  █  at most 1.50/s, 2.00s after it began; some were gone to the end\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the summary lacks %q:\n%s", want, b.String())
		}
	}
}

// A target that comes and goes does not push the verdict off the screen.
func TestSummaryTellsOfTheWorstOutages(t *testing.T) {
	run := &report.Run{Outcome: report.Failed, Totals: &metrics.Snapshot{Series: []metrics.SeriesSnapshot{{Operation: metrics.OpConnect, Group: "g"}}}}
	run.Totals.Series[0].Dropped = map[string]uint64{metrics.DropNotConnected: 1}
	for i := range 100 {
		from := time.Duration(i) * time.Second
		run.Outages = append(run.Outages, report.Outage{From: from, To: from + time.Second, Lost: 1, Total: 1 + i%50, Recovered: true})
	}
	var term, md strings.Builder
	if err := text.Write(&term, run, color.Style{}); err != nil {
		t.Fatal(err)
	}
	if err := markdown.Write(&md, run); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{term.String(), md.String()} {
		for _, want := range []string{
			"outage at 48.0s: 49 connections were lost, 1 device was gone at once", "outage at 49.0s: 50",
			"outage at 1m39s: 50", "97 outages more, of 1.00s at the most, in which 2,401 connections were lost; summary.json has all\n",
		} {
			if strings.Count(text, want) != 1 {
				t.Errorf("the report lacks %q:\n%s", want, text)
			}
		}
		if n := strings.Count(text, "outage at"); n != 3 {
			t.Errorf("%d outages are told of; want 3", n)
		}
	}
	// What never ended has no time, and what was not opened no name.
	if !strings.Contains(term.String(), "–    –    –    –\n") || strings.Contains(term.String(), "·  ·") {
		t.Errorf("the summary has times, or a target:\n%s", term.String())
	}
}
