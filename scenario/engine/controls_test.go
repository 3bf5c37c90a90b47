package engine_test

import (
	"context"
	"slices"
	"testing"

	"github.com/twinfleet/twinfleet/internal/report"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

// Somebody who watches ends a stage early, pauses the load and lets it go on; the run still passes, and says so.
func TestControls(t *testing.T) {
	const text = `
fleet: {groups: [{name: robots, count: 5, reported: {connectivity: {type: wifi}, every: 100ms}}]}
stages: [{name: ramp, duration: 60s, devices: 5}, {name: hold, devices: 5, duration: 60s}]
`
	w := newWatcher()
	eng := newEngine(decode(t, text), w)
	done := make(chan *report.Run, 1)
	go func() { done <- eng.Run(context.WithoutCancel(t.Context())) }()
	began := func(stage string) func([]engine.Event, []engine.Progress) bool {
		return func(events []engine.Event, _ []engine.Progress) bool {
			return slices.ContainsFunc(events, func(e engine.Event) bool { return e.Kind == engine.EventStage && e.Text == stage })
		}
	}
	w.until(t, "the ramp", began("ramp"))
	eng.Next()
	w.until(t, "the hold", began("hold"))
	w.until(t, "a device", func(_ []engine.Event, p []engine.Progress) bool {
		return len(p) > 0 && p[len(p)-1].Total.DevicesIn("connected") > 0
	})
	eng.Pause(true)
	w.until(t, "reports that are dropped", func(_ []engine.Event, p []engine.Progress) bool {
		x := p[len(p)-1].Total.Select(metrics.OpTwinReport, "")
		return x != nil && x.Dropped[metrics.DropPaused] > 0
	})
	eng.Pause(false)
	paused := w.last().Total.Select(metrics.OpTwinReport, "").Started()
	w.until(t, "reports again", func(_ []engine.Event, p []engine.Progress) bool {
		return p[len(p)-1].Total.Select(metrics.OpTwinReport, "").Started() > paused
	})
	eng.Next()
	run := <-done
	if run.Outcome != report.Passed || len(run.Stages) != 2 || !slices.Contains(run.Notes, "stage ramp was ended early by hand") {
		t.Errorf("%s (%s): %+v %q", run.Outcome, run.Reason, run.Stages, run.Notes)
	}
	eng.Next() // too late, and harmless
}
