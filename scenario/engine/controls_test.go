package engine_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

// long is three stages that a test would not wait for.
const long = `
fleet: {groups: [{name: robots, count: 5, reported: {connectivity: {type: wifi}, every: 100ms}}]}
stages: [{name: ramp, duration: 1h, devices: 5}, {name: hold, duration: 1h}, {name: steps, steps: [{await: {connected: 5, within: 1h}}]}]
`

// acting is an Engine of which act is told each stage as it is announced.
func acting(t *testing.T, text string, act func(eng *engine.Engine, stage string)) *engine.Engine {
	var eng *engine.Engine
	eng = engine.New(inMemory(engine.Options{
		Scenario: decode(t, text), Recorder: punctual(),
		Observers: []report.Observer{report.Funcs{OnEvent: func(e report.Event) {
			if e.Kind == report.KindStage {
				act(eng, e.Text)
			}
		}}},
	}, calm()))
	return eng
}

// endedByHand are the stages that the notes say were ended by hand.
func endedByHand(run *report.Run) []string {
	var names []string
	for _, s := range run.Stages {
		if slices.Contains(run.Notes, "stage "+s.Name+" was ended early by hand") {
			names = append(names, s.Name)
		}
	}
	return names
}

// Each call of Next ends one stage, whenever it comes: none is lost.
func TestNextIsNotLost(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		before int            // calls before the run
		at     map[string]int // calls as a stage is announced
	}{
		{"as each stage is announced", 0, map[string]int{"ramp": 1, "hold": 1, "steps": 1}},
		{"before the first", 3, nil},
		{"before the first, and as the second is announced", 1, map[string]int{"hold": 2}},
		{"more than one in a stage", 0, map[string]int{"ramp": 3}},
		{"more than there are stages", 2, map[string]int{"steps": 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				eng := acting(t, long, func(eng *engine.Engine, stage string) {
					for range tt.at[stage] {
						eng.Next()
					}
				})
				for range tt.before {
					eng.Next()
				}
				run := eng.Run(t.Context())
				if got := endedByHand(run); run.Outcome != report.Interrupted || !strings.Contains(run.Reason, "ramp, hold, steps were ended early by hand") || !slices.Equal(got, []string{"ramp", "hold", "steps"}) {
					t.Errorf("%s (%s): ended by hand %q, notes %q", run.Outcome, run.Reason, got, run.Notes)
				}
			})
		})
	}
}

// A step that failed has failed, also when its stage is ended by hand at the very time.
func TestNextHidesNoFailure(t *testing.T) {
	t.Parallel()
	const text = `
fleet: {groups: [{name: robots, count: 1}]}
stages: [{name: steps, steps: [{await: {connected: 1, within: 1ms}}]}]
`
	synctest.Test(t, func(t *testing.T) {
		var eng *engine.Engine
		eng = engine.New(inMemory(engine.Options{
			Scenario: decode(t, text), Recorder: punctual(),
			Observers: []report.Observer{report.Funcs{OnEvent: func(e report.Event) {
				if e.Kind == report.KindStep {
					eng.Next()
				}
			}}},
		}, calm()))
		run := eng.Run(t.Context())
		if run.Outcome != report.Failed || len(run.Steps) != 1 || run.Steps[0].OK {
			t.Errorf("%s (%s): steps %+v; want it failed", run.Outcome, run.Reason, run.Steps)
		}
	})
}

// Everybody who writes to the record at the end of a run does so at once: a stage that is ended by hand, a rollout and a
// job that did not begin, loads that end. No line is lost.
func TestNextThenStopKeepsEveryNote(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const text = long + `
service:
  rollouts: [{name: firmware, group: robots, properties: {firmware: 2}, at: 1h, rate: 10/s, waves: [{percent: 100}]}]
  jobs: [{name: retag, type: twin, at: 1h, desired: {x: 1}}, {name: late, type: twin, at: 1h, desired: {x: 2}}]
  methods: [{name: reboot, group: robots, method: reboot, rate: 10/s}]
`
		run := acting(t, text, func(eng *engine.Engine, stage string) {
			eng.Next()
			if stage == "hold" {
				eng.Stop()
			}
		}).Run(t.Context())
		want := []string{
			"stage ramp was ended early by hand", "stage hold was ended early by hand", "rollout firmware did not begin: the run ended first",
			"job retag did not begin: the run ended first", "job late did not begin: the run ended first",
		}
		missing := slices.DeleteFunc(want, func(line string) bool { return slices.Contains(run.Notes, line) })
		if run.Outcome != report.Interrupted || len(missing) > 0 || len(run.Stages) != 2 {
			t.Errorf("%s, stages %+v, notes %q lack %q", run.Outcome, run.Stages, run.Notes, missing)
		}
	})
}

// Controls may be used before the run, from anywhere; a fleet that is paused so stays paused, and nothing has passed.
func TestPauseBeforeTheRun(t *testing.T) {
	t.Parallel()
	const text = `
fleet: {groups: [{name: robots, count: 5, telemetry: {every: 10ms}}]}
stages: [{name: ramp, steps: [{await: {connected: 5, within: 1m}}], devices: 5}, {name: hold, duration: 200ms}]
`
	synctest.Test(t, func(t *testing.T) {
		eng := newEngine(decode(t, text), newWatcher())
		eng.Pause(true)
		run := eng.Run(t.Context())
		x := run.Totals.Select(metrics.OpTelemetry, "")
		if run.Outcome != report.Interrupted || run.Reason != "the load was paused by hand before the first stage" || x == nil || x.Started() > 0 || x.Dropped[metrics.DropPaused] == 0 {
			t.Errorf("%s (%s): telemetry %+v; want all of it dropped", run.Outcome, run.Reason, x)
		}
	})
}

// Somebody who watches ends a stage early, pauses the load and lets it go on: what ran is not what the scenario asks for, and has not passed.
func TestControls(t *testing.T) {
	t.Parallel()
	const text = `
fleet: {groups: [{name: robots, count: 5, reported: {connectivity: {type: wifi}, every: 100ms}}]}
stages: [{name: ramp, duration: 1h, devices: 5}, {name: hold, devices: 5, connect_rate: 100/s, duration: 1h}]
`
	synctest.Test(t, func(t *testing.T) {
		w := newWatcher()
		eng := newEngine(decode(t, text), w)
		done := make(chan *report.Run, 1)
		go func() { done <- eng.Run(context.WithoutCancel(t.Context())) }()
		began := func(stage string) func([]report.Event, []report.Sample) bool {
			return func(events []report.Event, _ []report.Sample) bool {
				return slices.ContainsFunc(events, func(e report.Event) bool { return e.Kind == report.KindStage && e.Text == stage })
			}
		}
		reports := func(count func(x *metrics.SeriesSnapshot) bool) func([]report.Event, []report.Sample) bool {
			return func(_ []report.Event, p []report.Sample) bool {
				if len(p) == 0 {
					return false
				}
				x := p[len(p)-1].Total.Select(metrics.OpTwinReport, "")
				return x != nil && count(x)
			}
		}
		w.until(t, "the ramp", began("ramp"))
		eng.Next()
		w.until(t, "the hold", began("hold"))
		w.until(t, "a device", func(_ []report.Event, p []report.Sample) bool {
			return len(p) > 0 && p[len(p)-1].Total.DevicesIn("connected") > 0
		})
		eng.Pause(true)
		w.until(t, "reports that are dropped", reports(func(x *metrics.SeriesSnapshot) bool { return x.Dropped[metrics.DropPaused] > 0 }))
		eng.Pause(false)
		paused := w.last().Total.Select(metrics.OpTwinReport, "").Started()
		w.until(t, "reports once more", reports(func(x *metrics.SeriesSnapshot) bool { return x.Started() > paused }))
		eng.Next()
		run := <-done
		if run.Outcome != report.Interrupted || run.Reason != "stages ramp, hold were ended early by hand, the load was paused by hand in stage hold" || len(run.Stages) != 2 || !slices.Equal(endedByHand(run), []string{"ramp", "hold"}) {
			t.Errorf("%s (%s): %+v %q", run.Outcome, run.Reason, run.Stages, run.Notes)
		}
		eng.Next() // too late, and harmless
	})
}

// A stage that somebody ends by hand is why there was less than a threshold asks for; it is not why there was too much.
func TestThresholdsOfAStageEndedByHand(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, x := range []struct {
			name       string
			thresholds string
			want       report.Outcome
			cannotSay  int
		}{
			{"too few", `{"connect{group=gates}": ["count == 8"], "devices{group=gates}": [{threshold: "connected == 8", stage: g}], connect: [{threshold: "p(95) < 1m", stage: g}]}`, report.Interrupted, 3},
			{"too many", `{connect: ["count < 6", "count > 100"]}`, report.Missed, 1},
			{"met", `{connect: ["count >= 6", "error_rate < 1%"]}`, report.Interrupted, 0},
			{"of another stage", `{devices: [{threshold: "connected == 9", stage: h}]}`, report.Missed, 0},
		} {
			var eng *engine.Engine
			eng = engine.New(inMemory(engine.Options{
				Scenario: decode(t, `
name: hand
fleet: {groups: [{name: robots, count: 12}, {name: gates, count: 8}]}
stages:
  - {name: g, duration: 1m, devices: {gates: 100%}}
  - {name: h, duration: 500ms, devices: {robots: 6}}
thresholds: `+x.thresholds+"\n"),
				Recorder: punctual(),
				Observers: []report.Observer{report.Funcs{OnEvent: func(e report.Event) {
					if e.Kind == report.KindStage && e.Text == "g" {
						eng.Next()
					}
				}}},
			}, calm()))
			run := eng.Run(t.Context())
			n := 0
			for _, v := range run.Thresholds {
				if v.CannotSay {
					n++
				}
			}
			if run.Outcome != x.want || n != x.cannotSay {
				t.Errorf("%s: %s (%s), %+v; want %s, and %d that cannot be told", x.name, run.Outcome, run.Reason, run.Thresholds, x.want, x.cannotSay)
			}
		}
	})
}

// Leave ends the stage that it names, and no other; nothing was ended by hand then, and the run passes.
func TestLeave(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		eng := acting(t, long, func(eng *engine.Engine, stage string) {
			eng.Leave("other")
			if stage != "ramp" { // devices come in it
				eng.Leave(stage)
				eng.Leave(stage)
			}
		})
		run := eng.Run(t.Context())
		if run.Outcome != report.Passed || len(endedByHand(run)) > 0 || len(run.Stages) != 3 {
			t.Fatalf("%s (%s): notes %q", run.Outcome, run.Reason, run.Notes)
		}
		for i, want := range []time.Duration{time.Hour, 0, 0} {
			if d := run.Stages[i].To - run.Stages[i].From; d != want {
				t.Errorf("stage %s lasted %s; want %s", run.Stages[i].Name, d, want)
			}
		}
	})
}
