package progress_test

import (
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report/progress"
)

// What goes wrong is in the line; what is nothing is not.
func TestLineOfTrouble(t *testing.T) {
	rec, now := metrics.NewRecorder(metrics.Options{}), time.Now()
	rec.DeviceGauge("robots", "connected").Add(990)
	rec.DeviceGauge("robots", "backoff").Add(10)
	s := rec.Series(metrics.OpTelemetry, "robots")
	s.Start(now, now).End(now.Add(time.Second), metrics.Throttled)
	s.Start(now, now).End(now.Add(time.Second), metrics.Timeout)
	all := rec.Snapshot()
	all.Elapsed = time.Second
	const want = "  1.00s  –                990 connected (10 lost)     2.00/s  telemetry p50 1.00s p99 1.00s  throttled 1  errors 1"
	if got := progress.Line("", all, all); got != want {
		t.Errorf("%q; want %q", got, want)
	}
}

func TestWaitingLine(t *testing.T) {
	if got, want := progress.WaitingLine(time.Minute, 3, 0), "  1m00s  waiting for answers: 3"; got != want {
		t.Errorf("%q; want %q", got, want)
	}
}
