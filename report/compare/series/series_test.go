package series_test

import (
	"fmt"
	"testing"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report/compare/align"
	"github.com/twinfleet/twinfleet/report/compare/remarks"
	"github.com/twinfleet/twinfleet/report/compare/series"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

func plan() *align.Plan {
	return align.Runs(reporttest.Example(20), reporttest.Example(20), func(string) string { return "" }, false)
}

func ExampleOf() {
	p := plan()
	reports := series.Of(p, series.Line{Name: "twin_report", Op: metrics.OpTwinReport})
	for run := range 2 {
		fmt.Println(remarks.Which(run), "run:", reports.Ended(run), "of", reports.Due(run), "in", len(reports.Counts(run)), "blocks")
	}
	// Output:
	// first run: 400 of 420 in 20 blocks
	// second run: 400 of 420 in 20 blocks
}

// Operations are told apart by group where they have several, and queries by name.
func TestLines(t *testing.T) {
	all, groups := series.Lines(plan())
	named := make(map[string]int)
	for _, l := range all {
		named[l.Name]++
	}
	if named["query redmond"] != 1 || named["telemetry"] != 1 {
		t.Errorf("lines %v", named)
	}
	if len(groups) != 2 || groups[0].Op != metrics.OpTelemetry || groups[0].Group != "robots" || groups[1].Group != "vehicles" {
		t.Errorf("groups %+v", groups)
	}
}

// Every operation that ended otherwise than well is counted once, and what a person paused is no drop.
func TestCountsOfTrouble(t *testing.T) {
	x := &metrics.SeriesSnapshot{Dropped: map[string]uint64{metrics.DropInFlight: 5, metrics.DropPaused: 7, metrics.DropStopped: 2}}
	for i, o := range metrics.Outcomes() {
		x.Response[o].Count = 1 << i
	}
	if got, want := series.Failures(x)+series.Throttled(x)+series.Unanswered(x), x.Ended()-x.Count(metrics.OK); got != want {
		t.Errorf("%d; want %d", got, want)
	}
	if got := series.Dropped(x); got != 5 {
		t.Errorf("%d dropped; want 5", got)
	}
}
