package junit_test

import (
	"fmt"
	"os"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/junit"
)

func ExampleWrite() {
	run := &report.Run{
		Name: "connectivity", Started: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC), Outcome: report.Missed,
		Reason: "1 of 1 thresholds were missed", Target: "embedded hub", Devices: 3000, Totals: &metrics.Snapshot{},
		Thresholds: []threshold.Verdict{{Threshold: "connect: p(99) < 250ms", Observed: "p(99) = 412ms"}},
	}
	run.Ended = run.Started.Add(time.Minute)
	if err := junit.Write(os.Stdout, run); err != nil {
		fmt.Println(err)
	}
	// Output:
	// <?xml version="1.0" encoding="UTF-8"?>
	// <testsuite name="twinfleet.connectivity" tests="2" failures="1" errors="0" time="60.000" timestamp="2026-11-25T12:00:00">
	//   <testcase classname="connectivity" name="the run" time="60.000">
	//     <system-out><![CDATA[
	// 3,000 devices
	//   scheduled 0 = ok 0
	// ]]></system-out>
	//   </testcase>
	//   <testcase classname="connectivity.thresholds" name="connect: p(99) &lt; 250ms" time="60.000">
	//     <failure message="connect: p(99) &lt; 250ms: p(99) = 412ms"></failure>
	//     <system-out><![CDATA[p(99) = 412ms]]></system-out>
	//   </testcase>
	// </testsuite>
}
