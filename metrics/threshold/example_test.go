package threshold_test

import (
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold"
)

// A threshold is read once and compared with as many snapshots as one likes.
func ExampleParse() {
	fast, err := threshold.Parse("twin_report{group=robots}", "p(95) < 250ms")
	if err != nil {
		fmt.Println(err)
		return
	}
	rec, due := metrics.NewRecorder(metrics.Options{}), time.Now()
	for n := range 100 {
		rec.Series(metrics.OpTwinReport, "robots").Start(due, due).End(due.Add(time.Duration(4*n)*time.Millisecond), metrics.OK)
	}
	v := fast.Evaluate(rec.Snapshot())
	fmt.Println(v.Pass, v.Observed)
	// Output: false p(95) = 376.06ms
}

// What is wrong with a threshold is said with what would be right.
func ExampleParse_mistake() {
	_, err := threshold.Parse("twin_report", "error_rate < 0.01")
	fmt.Println(err)
	// Output: threshold "error_rate < 0.01": the value "0.01" needs a unit, as in 0.1%
}
