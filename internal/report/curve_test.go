package report_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/report"
	"github.com/twinfleet/twinfleet/metrics"
)

func TestSpark(t *testing.T) {
	for _, tt := range []struct {
		values []int
		want   string
	}{
		{nil, ""},
		{[]int{0, 0}, ""},
		{[]int{8, 4, 0, 1, 0}, "█▄ ▁"},
		{[]int{1000, 1, 500}, "█▁▄"},
		{slices.Repeat([]int{3}, 100), strings.Repeat("█", 50)},
	} {
		if got := report.Spark(tt.values); got != tt.want {
			t.Errorf("Spark(%v) = %q; want %q", tt.values, got, tt.want)
		}
	}
}

func TestSummaryTellsHowDevicesCameBack(t *testing.T) {
	const s = time.Second
	run := &report.Run{Totals: &metrics.Snapshot{}, Outages: []report.Outage{
		{From: 30 * s, To: 33 * s, Lost: 2000, Total: 2400, Recovered: true, AllBack: 4 * s, Returns: []int{400, 1600, 380, 20}, Every: s},
		{From: 60 * s, To: 90 * s, Lost: 10, Total: 10, Returns: []int{0, 3}, Every: 2 * s},
	}}
	var b strings.Builder
	if err := report.WriteSummary(&b, run, report.Style{}); err != nil {
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
