package histogram_test

import (
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/metrics/histogram"
)

// A percentile of two machines together comes of their merged distributions: no average of theirs would be right.
func ExampleHistogram_Merge() {
	var near, far histogram.Live
	near.RecordMany(2*time.Millisecond, 980)
	far.RecordMany(80*time.Millisecond, 20)
	all := near.Snapshot().Merge(far.Snapshot())
	fmt.Println(all.Count, all.Quantile(0.95), all.Quantile(0.99))
	// Output: 1000 2ms 80ms
}

// What came in the last second is the difference of two snapshots.
func ExampleHistogram_Sub() {
	var live histogram.Live
	live.RecordMany(time.Millisecond, 1000)
	before := live.Snapshot()
	live.Record(time.Second)
	fmt.Println(live.Snapshot().Sub(before).Count)
	// Output: 1
}
