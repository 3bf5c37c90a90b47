package engine_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/gc"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

// BenchmarkReportRate asks 5,000 devices on the embedded hub for 5,000 reports a second over 20 seconds,
// all in this process, and prints how many were started, how late, and how they fared. Run it with
// make bench-rate.
func BenchmarkReportRate(b *testing.B) {
	const devices, rate, length = 5000, 5000, 20 * time.Second
	scenario := fmt.Sprintf(`
name: rate
seed: 1
fleet: {groups: [{name: robots, count: %d, reported: {connectivity: {type: {cellular: 60, wifi: 40}}}}]}
stages:
  - {name: ramp, devices: %[1]d, connect_rate: 500/s}
  - {name: settle, duration: 2s}
  - {name: rate, duration: %s, report_rate: %d/s}
`, devices, length, rate)
	defer gc.For("paho").Tune()()
	for range b.N {
		e := engine.New(engine.Sampled(engine.Options{Scenario: decode(b, scenario), Recorder: metrics.NewRecorder(metrics.Options{}), AllowSaturated: true}, calm()))
		run := e.Run(b.Context())
		if run.Outcome != report.Passed {
			b.Fatalf("the run %s: %s", run.Outcome, run.Reason)
		}
		x := run.Totals.Select(metrics.OpTwinReport, "")
		connects := run.Totals.Select(metrics.OpConnect, "")
		h := x.Latency(false)
		const asked = rate * float64(length/time.Second)
		started := float64(x.Started()) - devices // one a device at connecting
		b.ReportMetric(100*started/asked, "%started")
		b.ReportMetric(millis(x.Lag.Quantile(0.99)), "ms-lag-p99")
		b.ReportMetric(millis(x.Lag.Maximum()), "ms-lag-max")
		b.ReportMetric(float64(x.Late), "late")
		b.ReportMetric(float64(x.DroppedTotal()), "dropped")
		b.ReportMetric(float64(x.Errors()+connects.Errors()), "errors")
		b.ReportMetric(millis(h.Quantile(0.5)), "ms-p50")
		b.ReportMetric(millis(h.Quantile(0.99)), "ms-p99")
	}
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
