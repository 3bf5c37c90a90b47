package progress_test

import (
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report/progress"
)

func ExampleLine() {
	rec, now := metrics.NewRecorder(metrics.Options{}), time.Now()
	rec.DeviceGauge("robots", "connected").Add(3000)
	for range 1500 {
		rec.Series(metrics.OpTwinReport, "robots").Start(now, now).End(now.Add(20*time.Millisecond), metrics.OK)
	}
	total, window := rec.Snapshot(), rec.Snapshot() // in a run: total.Sub(of the second before)
	total.Elapsed, window.Elapsed = 90*time.Second, time.Second
	fmt.Println(progress.Line("hold", total, window))
	// Output:
	// 1m30s  hold           3,000 connected    1,500/s  report p50 20.0ms p99 20.0ms  errors 0
}

func ExampleWaiting() {
	fmt.Println(progress.Waiting(1200, 27*time.Second))
	// Output: waiting for answers: 1,200, at most 27.0s more
}
