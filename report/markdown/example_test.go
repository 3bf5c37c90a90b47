package markdown_test

import (
	"fmt"
	"os"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/markdown"
)

func ExampleWrite() {
	run := &report.Run{
		Name: "connectivity", Started: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC), Outcome: report.Missed,
		Reason: "1 of 1 thresholds were missed", Target: "embedded hub", Devices: 3000, Totals: &metrics.Snapshot{},
		Thresholds: []threshold.Verdict{{Threshold: "connect: p(99) < 250ms", Observed: "p(99) = 412ms"}},
	}
	run.Ended = run.Started.Add(time.Minute)
	if err := markdown.Write(os.Stdout, run); err != nil {
		fmt.Println(err)
	}
	// Output:
	// ### ❌ connectivity: missed
	//
	// 3,000 devices, embedded hub, 1m00s, seed 0
	//
	// 1 of 1 thresholds were missed
	//
	// | | threshold | observed |
	// |---|---|---|
	// | ❌ | `connect: p(99) < 250ms` | p(99) = 412ms; missed, as only the end showed |
	//
	// | operation | count | rate | throttled | errors | p50 | p95 | p99 | max |
	// |---|--:|--:|--:|--:|--:|--:|--:|--:|
	//
	// Scheduled 0 = ok 0
	//
	// <details><summary>By operation</summary>
	//
	// | operation | scheduled | ok |
	// |---|--:|--:|
	// | all | 0 |  |
	//
	// </details>
}
