package metrics_test

import (
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
)

// A program measures its own operations: each is told when it was due, when it was sent and how it ended.
func ExampleRecorder() {
	rec := metrics.NewRecorder(metrics.Options{})
	reports := rec.Series(metrics.OpTwinReport, "robots")
	due := time.Now()
	for n := range 100 {
		sent := due.Add(time.Millisecond) // a little later than the schedule wanted it
		op := reports.Start(due, sent)
		if n == 0 {
			op.EndBecause(sent.Add(30*time.Millisecond), metrics.Throttled, "status 429")
			continue
		}
		op.End(sent.Add(20*time.Millisecond), metrics.OK)
	}
	reports.Drop(due, metrics.DropNotConnected)

	x := rec.Snapshot().Find(metrics.OpTwinReport, "robots")
	fmt.Println("scheduled", x.Scheduled(), "= ok", x.Count(metrics.OK), "+ throttled", x.Count(metrics.Throttled), "+ dropped", x.DroppedTotal())
	fmt.Println("p50", x.Latency(false).Quantile(0.5).Round(time.Millisecond), "since it was due")
	fmt.Println("p50", x.Latency(true).Quantile(0.5).Round(time.Millisecond), "since it was sent")
	// Output:
	// scheduled 101 = ok 99 + throttled 1 + dropped 1
	// p50 21ms since it was due
	// p50 20ms since it was sent
}

// A window is the difference of two snapshots.
func ExampleSnapshot_Sub() {
	rec, now := metrics.NewRecorder(metrics.Options{}), time.Now()
	connects := rec.Series(metrics.OpConnect, "robots")
	connects.Start(now, now).End(now, metrics.OK)
	before := rec.Snapshot()
	connects.Start(now, now).End(now, metrics.Refused)
	window := rec.Snapshot().Sub(before)
	fmt.Println(window.Errors[0].Count, window.Errors[0].Outcome, "of", window.Find(metrics.OpConnect, "robots").Ended())
	// Output: 1 refused of 1
}

// Numbers that another part of a program keeps are shown beside those of the Recorder.
func ExampleRecorder_Register() {
	rec := metrics.NewRecorder(metrics.Options{})
	rec.Register(func() []metrics.Figure {
		return []metrics.Figure{metrics.One("twinfleet_broker_clients", "Clients of the broker under test.", 250)}
	})
	for _, f := range rec.Figures() {
		fmt.Println(f.Name, f.Samples[0].Value)
	}
	// Output: twinfleet_broker_clients 250
}
