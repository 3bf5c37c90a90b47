package summary_test

import (
	"fmt"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report/reporttest"
	"github.com/twinfleet/twinfleet/report/summary"
)

// A CI job reads figures from summary.json, or makes them of a record.
func ExampleOf() {
	s := summary.Of(reporttest.Example(60).Run)
	fmt.Println(s.Outcome, s.Reason)
	for _, op := range s.Operations {
		if op.Operation == metrics.OpConnect {
			fmt.Printf("%s %s: %d, p99 %.3f s\n", op.Operation, op.Group, op.Count, op.Response.P99)
		}
	}
	// Output:
	// missed 1 of 2 thresholds were missed
	// connect robots: 1200, p99 0.111 s
}
