package watch

import (
	"slices"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/generator"
	"github.com/twinfleet/twinfleet/metrics"
)

// How operations started is told by stage of their intended time, of all groups together, without what waited for the target.
func TestStartedByStage(t *testing.T) {
	const ms = time.Millisecond
	rec := metrics.NewRecorder(metrics.Options{})
	at := rec.SetStage("ramp")
	start := func(op metrics.Operation, group string, late ...time.Duration) {
		for _, d := range late {
			rec.Series(op, group).Start(at, at.Add(d)).End(at.Add(time.Minute), metrics.OK)
		}
	}
	start(metrics.OpConnect, "robots", 0, 9*ms, 11*ms, 99*ms)
	start(metrics.OpConnect, "vehicles", 200*ms, 3*time.Second)
	rec.Series(metrics.OpConnect, "vehicles").Drop(at, metrics.DropNotConnected)
	rec.Series(metrics.OpTelemetry, "robots").StartAfter(at, at.Add(time.Hour), at.Add(time.Hour)).End(at.Add(time.Hour), metrics.OK)
	next := rec.SetStage("hold")
	rec.Series(metrics.OpConnect, "robots").Start(next, next).End(next, metrics.OK)
	rec.SetStage("")
	rec.Series(metrics.OpConnect, "robots").Start(next.Add(time.Hour), next.Add(2*time.Hour)).End(next.Add(3*time.Hour), metrics.OK)
	want := [][]generator.Started{
		{{Operation: "connect", Asked: 7, Started: 6, Late: 4, VeryLate: 2, Worst: 3 * time.Second}, {Operation: "telemetry", Asked: 1, Started: 1}},
		{{Operation: "connect", Asked: 1, Started: 1}},
	}
	if got := startedByStage(rec); len(got) != len(want) || !slices.Equal(got[0], want[0]) || !slices.Equal(got[1], want[1]) {
		t.Errorf("%+v; want %+v", got, want)
	}
}
