package reasons_test

import (
	"fmt"

	"github.com/twinfleet/twinfleet/report/reasons"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

func ExampleOf() {
	for _, r := range reasons.Of(reporttest.Example(60).Run) {
		fmt.Println(r.Count, r.Text, "·", r.Where())
	}
	// Output:
	// 72 throttled · connect 12, subscribe 12, twin_get 12, … · robots · ramp 36, hold 36
	// 15 error: the target closed the connection · telemetry · vehicles · hold 8, ramp 7
	// 15 unanswered: the run ended first · telemetry · vehicles · hold 8, ramp 7
}
