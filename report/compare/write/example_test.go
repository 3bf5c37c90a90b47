package write_test

import (
	"fmt"
	"os"
	"time"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/compare"
	"github.com/twinfleet/twinfleet/report/compare/write"
)

// Figures that are as good as before are not shown unless all are asked for.
func ExampleText() {
	began := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	run := &report.Run{Name: "connectivity", Started: began, Ended: began.Add(time.Minute), Outcome: report.Passed}
	c := &compare.Comparison{Before: run, After: run, Rows: []compare.Row{
		{Operation: "twin_report", Figure: "p99", Unit: compare.Seconds, Before: 0.04, After: 0.09, Change: 1.25, Low: 0.9, High: 1.7, Verdict: compare.Worse},
		{Operation: "connect", Figure: "p99", Unit: compare.Seconds, Before: 0.2, After: 0.2, Low: -0.1, High: 0.1, Verdict: compare.NotWorse},
	}}
	if err := write.Text(os.Stdout, c, color.Style{}, false); err != nil {
		fmt.Println(err)
	}
	// Output:
	// before  connectivity, 2026-11-25 12:00:00, 1m00s, passed
	//   after   connectivity, 2026-11-25 12:00:00, 1m00s, passed
	//
	//   operation    figure  before   after  change   95% interval
	//   twin_report  p99     40.0ms  90.0ms    ×2.2  +90.0% … ×2.7  worse
	//
	//   ✗ worse: 1 figure of 2
	//     --all shows every figure
}
