package summary_test

import (
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report/summary"
)

// An interval has the operations of which something was due or ended in it, and no rate where it is too short for one.
func TestOfInterval(t *testing.T) {
	rec, now := metrics.NewRecorder(metrics.Options{}), time.Now()
	rec.Series(metrics.OpConnect, "robots").Start(now, now).End(now.Add(time.Second), metrics.OK)
	before := rec.Snapshot()
	for range 20 {
		rec.Series(metrics.OpTwinReport, "robots").Start(now, now).End(now.Add(time.Second), metrics.OK)
	}
	window := rec.Snapshot().Sub(before)
	window.Elapsed = 10 * time.Second
	got := summary.OfInterval("hold", window)
	if len(got.Operations) != 1 || got.Operations[0].Operation != metrics.OpTwinReport || got.Operations[0].Rate == nil || *got.Operations[0].Rate != 2 {
		t.Errorf("%+v; want 20 reports in 10 s", got.Operations)
	}
	if got.Devices == nil || got.Queries == nil || got.Errors == nil {
		t.Error("an empty list is null")
	}
	window.Elapsed = 100 * time.Millisecond
	if got := summary.OfInterval("hold", window); got.Operations[0].Rate != nil {
		t.Errorf("a rate of %v in a tenth of a second", *got.Operations[0].Rate)
	}
}
