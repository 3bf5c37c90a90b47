package fleet

import (
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
)

// A process that stood still finds, all at once, answers that came long ago and operations whose time is up: an answer that is
// seen after the time-out is none, whichever is seen first.
func TestAnAnswerAfterTheTimeoutIsNone(t *testing.T) {
	rec := metrics.NewRecorder(metrics.Options{})
	series, sent := rec.Series(metrics.OpTelemetry, "g"), time.Now().Add(-time.Hour)
	for _, o := range metrics.Outcomes() {
		op := operation{Started: series.Start(sent, sent), deadline: sent.Add(time.Minute)}
		op.end(o)
	}
	op := operation{Started: series.Start(sent, sent), deadline: time.Now().Add(time.Hour)}
	op.end(metrics.OK)
	x := rec.Snapshot().Find(metrics.OpTelemetry, "g")
	if late := uint64(len(metrics.Outcomes())); x.Count(metrics.Timeout) != late || x.Count(metrics.OK) != 1 {
		t.Errorf("%d timed out and %d ok; want %d and 1", x.Count(metrics.Timeout), x.Count(metrics.OK), late)
	}
}
