package report_test

import (
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

// Samples put together lose nothing.
func TestMergedSamplesAreTheWhole(t *testing.T) {
	h := reporttest.Example(31)
	for _, n := range []int{1, 2, 7, 30, 31, 100} {
		merged := h.Merged(n)
		if len(merged) > max(n, 1) {
			t.Errorf("%d samples; want at most %d", len(merged), n)
		}
		var reports uint64
		var elapsed time.Duration
		for _, s := range merged {
			reports += s.Window.Select(metrics.OpTwinReport, "").Ended()
			elapsed += s.Window.Elapsed
		}
		last := merged[len(merged)-1]
		if reports != 31*20 || elapsed != 31*time.Second || last.At != 31*time.Second || last.Window.DevicesIn("connected") != 31 {
			t.Errorf("merged to %d: %d reports in %v, the last at %v with %d devices", n, reports, elapsed, last.At, last.Window.DevicesIn("connected"))
		}
	}
}
