package engine_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/account"
)

// told is a run with a storm, and a hub that answers nothing at the end.
const told = `
name: told
fleet:
  groups: [{name: robots, count: 8, timeout: 4s, reported: {connectivity: {type: wifi}, every: 50ms}}]
service:
  queries:
    - {name: all, every: 100ms, stages: [ramp], sql: SELECT * FROM devices}
    - {name: some, every: 100ms, stages: [ramp], sql: SELECT TOP 2 * FROM devices}
    - {name: kinds, every: 100ms, stages: [ramp], sql: SELECT COUNT() AS n FROM devices}
stages:
  - {name: ramp, duration: 500ms, devices: 5}
  - {name: storm, duration: 1500ms, storm: {drop: 100%, within: 200ms}}
  - {name: back, steps: [{await: {connected: 5, within: 3m}}]}
  - {name: dead, duration: 500ms, hub: {stall: 60s}}
thresholds:
  recovery: ["max < 1m", "scheduled == 1"]
  devices: [{threshold: "connected_rate >= 0%", stage: back}]
`

// What a run tells while it waits for the last answers, and in the end.
func TestWhatIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWatcher()
		run := newEngine(decode(t, told), w).Run(t.Context())
		if run.Outcome != report.Passed {
			t.Fatalf("the run %s: %s %+v", run.Outcome, run.Reason, run.Thresholds)
		}
		if got := run.DevicesText(); got != "5 of 8 devices" {
			t.Errorf("%s ran", got)
		}
		if got := strings.Join(run.Rows, " "); got != "kinds" {
			t.Errorf("queries of rows: %s", got)
		}
		// The wait is no stage, and what comes before it is.
		waited, dead := 0, 0
		for _, p := range w.progress {
			switch {
			case p.Waiting > 0:
				waited++
				if p.Window.Stage != "" || p.Left < 0 {
					t.Errorf("the wait in stage %q, %v left", p.Window.Stage, p.Left)
				}
			case p.Window.Stage == "dead":
				dead++
			}
		}
		if waited == 0 || dead == 0 {
			t.Errorf("%d seconds of waiting and %d of the last stage were told", waited, dead)
		}
		over := false
		for _, e := range w.events {
			over = over || e.Kind == report.KindDrain
			if e.Kind == report.KindDrain && e.Stage != "" {
				t.Errorf("%+v", e)
			}
		}
		if !over {
			t.Error("no event tells of the wait")
		}
		checkParts(t, run)
	})
}

// checkParts holds the account of the whole to those of its parts.
func checkParts(t *testing.T, run *report.Run) {
	t.Helper()
	stages := account.Stages(run)
	sum := make(map[string]uint64)
	var scheduled uint64
	for _, p := range stages {
		ended := p.DroppedTotal() + p.Open
		for o, n := range p.Outcomes {
			ended += n
			sum[o.String()] += n
		}
		if ended != p.Scheduled {
			t.Errorf("stage %s: %s", p.Name, p)
		}
		scheduled += p.Scheduled
	}
	var want uint64
	for i := range run.Totals.Series {
		x := &run.Totals.Series[i]
		want += x.Scheduled()
		for _, o := range metrics.Outcomes() {
			sum[o.String()] -= x.Count(o)
		}
	}
	if scheduled != want {
		t.Errorf("the stages add up to %d; the whole is %d", scheduled, want)
	}
	for o, n := range sum {
		if n != 0 {
			t.Errorf("%s: the stages and the whole differ by %d", o, int64(n))
		}
	}
	for _, s := range run.Stages {
		if x := s.Totals.Select(metrics.OpRecovery, ""); x != nil && s.Name != "storm" && s.Name != "back" {
			t.Errorf("the recovery is of stage %s", s.Name)
		}
	}
}

// A run that is ended early says where it was.
func TestEndedEarlySaysWhere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWatcher()
		e := newEngine(decode(t, told, "stages.ramp.duration=60s"), w)
		done := make(chan *report.Run)
		go func() { done <- e.Run(t.Context()) }()
		w.until(t, "the first stage", func(events []report.Event, _ []report.Sample) bool {
			return len(events) > 0 && events[len(events)-1].Stage == "ramp"
		})
		e.Stop()
		run := <-done
		if run.Outcome != report.Interrupted || !strings.HasPrefix(run.Reason, "stopped in stage ramp, ") || *run.Ran == run.Devices {
			t.Errorf("%s: %s; %s", run.Outcome, run.Reason, run.DevicesText())
		}
	})
}
