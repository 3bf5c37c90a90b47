package align_test

import (
	"fmt"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report/compare/align"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

// The same second of the same stage of both runs is in the same block.
func ExampleRuns() {
	p := align.Runs(reporttest.Example(40), reporttest.Example(40), func(string) string { return "" }, false)
	first := p.Blocks[0]
	fmt.Println(len(p.Blocks), "blocks of", p.Seconds, "s")
	fmt.Println(first[0].Select(metrics.OpTwinReport, "").Ended(), "reports before,", first[1].Select(metrics.OpTwinReport, "").Ended(), "after")
	// Output:
	// 20 blocks of 2 s
	// 40 reports before, 40 after
}
