package engine_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

// A target that dies for good leaves a percentile as good as it was. The run fails all the same, unless somebody asked for
// it, or judges it.
func TestDevicesGoneAtTheEnd(t *testing.T) {
	const text = `
name: gone
fleet: {groups: [{name: robots, count: 5, reported: {connectivity: {type: wifi}, every: 50ms}, timeout: 1s}]}
stages:
  - {name: ramp, devices: 5, connect_rate: 100/s, steps: [{await: {connected: 5, reported: 5, within: 2m}}]}
  - {name: calm, duration: 500ms}
  - {name: dead, duration: 2s}
`
	for _, tt := range []struct {
		name, thresholds, dead string
		slow                   bool // who watches comes to the end of the last stage when the devices have stopped
		want                   report.Outcome
		reason                 string
	}{
		{
			"one percentile", "{twin_report: 'p(50) < 30s'}", "{name: dead, duration: 2s}", false, report.Failed,
			"5 devices of those connected were gone when the last stage ended",
		},
		{"no threshold", "{}", "{name: dead, duration: 2s}", false, report.Failed, "5 devices of those connected were gone"},
		{"a slow watcher", "{}", "{name: dead, duration: 2s}", true, report.Failed, "5 devices of those connected were gone when the last stage ended"},
		{"judged by devices", "{devices: 'connected_rate >= 0%'}", "{name: dead, duration: 2s}", false, report.Passed, ""},
		{"judged by recovery", "{recovery: 'count == 0'}", "{name: dead, duration: 2s}", false, report.Passed, ""},
		{"asked for", "{}", "{name: dead, duration: 2s, network: {loss: 1%}}", false, report.Passed, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				place := openPlace(t, t.TempDir())
				closed := false
				rec := punctual()
				watch := func(e report.Event) {
					if e.Kind == report.KindStage && e.Text == "dead" && !closed {
						closed = true
						place.close()
					}
				}
				s := decode(t, text, append(hubAt(place.hub), "thresholds="+tt.thresholds, "stages.dead="+tt.dead)...)
				sample := func(p report.Sample) {
					if !tt.slow || p.Window.Stage != "dead" {
						return
					}
					for rec.Snapshot().DevicesIn("waiting") < 5 { // devices that stop wait for the next run
						time.Sleep(time.Millisecond)
					}
				}
				run := engine.New(engine.InMemory(engine.Sampled(engine.Options{Scenario: s, Recorder: rec, Observers: []report.Observer{report.Funcs{
					OnEvent:  watch,
					OnSample: sample,
				}}}, calm()), place.dial)).Run(t.Context())
				if run.Outcome != tt.want || !strings.HasPrefix(run.Reason, tt.reason) {
					t.Errorf("%s (%s); want %s (%s); %+v", run.Outcome, run.Reason, tt.want, tt.reason, run.Outages)
				}
			})
		})
	}
}
