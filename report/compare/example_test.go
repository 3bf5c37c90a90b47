package compare_test

import (
	"fmt"

	"github.com/twinfleet/twinfleet/report/compare"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

// A CI job asks whether a release is worse than the one before. Records of runs come from record.Read; package write shows
// the whole comparison.
func ExampleCompare() {
	before, after := reporttest.Example(60), reporttest.Example(60)
	c := compare.Compare(before, after, compare.Options{Margins: compare.Margins{P50: 0.15}})
	for _, r := range c.Rows {
		if r.Operation == "connect" && r.Figure == "p50" {
			fmt.Printf("%.0f to %.0f ms, a change of %.0f to %.0f %%: %s\n", 1000*r.Before, 1000*r.After, 100*r.Low, 100*r.High, r.Verdict)
		}
	}
	fmt.Println(c.Answer(), len(c.Regressions()), "of", len(c.Rows))
	// Output:
	// 58 to 58 ms, a change of -9 to 10 %: not worse
	// cannot_tell 0 of 48
}
