package engine_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

// steady is a fleet with a rate of reports, and time to change it.
const steady = `
fleet: {groups: [{name: robots, count: 40, reported: {connectivity: {type: wifi}}, telemetry: {}}]}
stages:
  - {name: ramp, duration: 10s, devices: 20, connect_rate: 10/s}
  - {name: hold, duration: 1m, report_rate: 10/s}
  - {name: after, duration: 10s, report_rate: 10/s}
`

// changing runs a scenario; act is told each sample.
func changing(t *testing.T, text string, act func(eng *engine.Engine, s report.Sample)) *report.Run {
	t.Helper()
	var eng *engine.Engine
	eng = engine.New(inMemory(engine.Options{
		Scenario: decode(t, text), Recorder: punctual(),
		Observers: []report.Observer{report.Funcs{OnSample: func(s report.Sample) {
			act(eng, s)
		}}},
	}, calm()))
	return eng.Run(t.Context())
}

func ptr[T any](v T) *T { return &v }

// What somebody changes holds from then on until the stage ends, which lasts as long as ever; then the scenario goes on as it is.
func TestChange(t *testing.T) {
	t.Parallel()
	type stageCounts struct{ ramp, hold, after uint64 } // reports that were due
	for _, tt := range []struct {
		name    string
		change  report.LoadChange
		stage   string
		at      time.Duration // since the run began
		reports stageCounts
		devices int // active in the end
		texts   uint64
	}{
		{"nothing", report.LoadChange{}, "", 0, stageCounts{20, 600, 100}, 20, 0}, // as it connects, each device reports once
		{"reports", report.LoadChange{ReportRate: ptr(100.0)}, "hold", 40 * time.Second, stageCounts{20, 300 + 3000, 100}, 20, 0},
		{"no reports", report.LoadChange{ReportRate: ptr(0.0)}, "hold", 40 * time.Second, stageCounts{20, 300, 100}, 20, 0},
		{"more devices", report.LoadChange{Devices: ptr(40)}, "hold", 40 * time.Second, stageCounts{20, 600 + 20, 100}, 40, 0},
		{"fewer devices", report.LoadChange{Devices: ptr(5)}, "hold", 40 * time.Second, stageCounts{20, 600, 100}, 5, 0},
		{"none", report.LoadChange{Devices: ptr(0)}, "after", 71 * time.Second, stageCounts{20, 600, 100}, 0, 0},
		{"as they arrive", report.LoadChange{Devices: ptr(30)}, "ramp", time.Second, stageCounts{30, 600, 100}, 30, 0},
		{"in the last second", report.LoadChange{Devices: ptr(40)}, "after", 79 * time.Second, stageCounts{20, 600, 100 + 20}, 40, 0},
		{"messages that no stage sends", report.LoadChange{TelemetryRate: ptr(10.0)}, "hold", 40 * time.Second, stageCounts{20, 600, 100}, 20, 300},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				wanted := 0
				run := changing(t, steady, func(eng *engine.Engine, s report.Sample) {
					if s.Window.Stage == "after" {
						wanted = s.Standing.Wanted
					}
					if tt.stage != "" && s.At == tt.at {
						if err := eng.Change(tt.change); err != nil {
							t.Error(err)
						}
					}
				})
				due := func(i int, op metrics.Operation) uint64 {
					if x := run.Stages[i].Totals.Select(op, ""); x != nil {
						return x.Scheduled()
					}
					return 0
				}
				near := func(got, want uint64) bool { return got+2 >= want && got <= want+2 } // the sample comes a moment after the second
				got := stageCounts{due(0, metrics.OpTwinReport), due(1, metrics.OpTwinReport), due(2, metrics.OpTwinReport)}
				if !near(got.ramp, tt.reports.ramp) || !near(got.hold, tt.reports.hold) || !near(got.after, tt.reports.after) {
					t.Errorf("reports that were due %+v; want %+v", got, tt.reports)
				}
				if n := due(1, metrics.OpTelemetry); !near(n, tt.texts) {
					t.Errorf("%d messages; want %d", n, tt.texts)
				}
				for i, want := range []time.Duration{10 * time.Second, time.Minute, 10 * time.Second} {
					if d := run.Stages[i].To - run.Stages[i].From; d != want {
						t.Errorf("stage %s lasted %s; want %s", run.Stages[i].Name, d, want)
					}
				}
				if wanted != tt.devices {
					t.Errorf("in the end %d devices; want %d", wanted, tt.devices)
				}
				checkAccounts(t, run)
				outcome, reason := report.Interrupted, "the load was changed by hand in stage "+tt.stage
				if tt.stage == "" {
					outcome, reason = report.Passed, ""
				}
				if run.Outcome != outcome || run.Reason != reason {
					t.Errorf("%s (%s); want %s (%s)", run.Outcome, run.Reason, outcome, reason)
				}
			})
		})
	}
}

// A change that cannot be made says why and changes nothing.
func TestChangeThatCannotBe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const text = `
fleet: {groups: [{name: robots, count: 4, telemetry: {every: 1s}}]}
stages: [{name: hold, duration: 10s, devices: 4}]
`
		run := changing(t, text, func(eng *engine.Engine, s report.Sample) {
			if s.Window.Stage == "" {
				if err := eng.Change(report.LoadChange{Devices: ptr(1)}); !errors.Is(err, engine.ErrNoStage) {
					t.Errorf("after the last stage: %v", err)
				}
				return
			}
			if err := eng.Change(report.LoadChange{ReportRate: ptr(1.0)}); !errors.Is(err, engine.ErrNobody) {
				t.Errorf("reports of a fleet that reports nothing: %v", err)
			}
			if err := eng.Change(report.LoadChange{Devices: ptr(5)}); err == nil || !strings.Contains(err.Error(), "from 0 to the scenario's 4") {
				t.Errorf("more devices than there are: %v", err)
			}
		})
		if run.Outcome != report.Passed || len(run.Interventions) > 0 {
			t.Errorf("%s (%s), %+v", run.Outcome, run.Reason, run.Interventions)
		}
	})
}

// Of a load that is not the scenario's thresholds say nothing, but for what had been missed before; a stage that was over stays judged.
func TestThresholdsOfAChangedLoad(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, threshold string
		outcome         report.Outcome
		reason          string
	}{
		{"met", `{twin_report: ["count >= 1"]}`, report.Interrupted, "the load was changed by hand in stage hold; of 1 of 1 thresholds nothing can be said"},
		{"missed by the change", `{twin_report: ["count < 100"]}`, report.Interrupted, "the load was changed by hand in stage hold; of 1 of 1 thresholds nothing can be said"},
		{"missed before", `{twin_report: ["count < 3"]}`, report.Missed, "1 of 1 thresholds were missed"},
		{"of the stage before, met", `{connect: [{threshold: "count == 20", stage: ramp}]}`, report.Interrupted, "the load was changed by hand in stage hold"},
		{"of the stage before, missed", `{connect: [{threshold: "count == 21", stage: ramp}]}`, report.Missed, "1 of 1 thresholds were missed"},
		{"of the stage after", `{twin_report: [{threshold: "count < 5", stage: after}]}`, report.Interrupted, "the load was changed by hand in stage hold; of 1 of 1 thresholds nothing can be said"},
		{"it ends the run", `{twin_report: [{threshold: "count < 100", abort_on_fail: true}]}`, report.Interrupted, "the load was changed by hand in stage hold; of 1 of 1 thresholds nothing can be said"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var standing report.Standing
				run := changing(t, steady+"thresholds: "+tt.threshold+"\n", func(eng *engine.Engine, s report.Sample) {
					if s.At == 13*time.Second {
						if err := eng.Change(report.LoadChange{ReportRate: ptr(200.0)}); err != nil {
							t.Error(err)
						}
					}
					standing = *s.Standing
				})
				if run.Outcome != tt.outcome || run.Reason != tt.reason {
					t.Errorf("%s (%s), %+v", run.Outcome, run.Reason, run.Thresholds)
				}
				want := report.CannotSay
				if tt.outcome == report.Missed {
					want = report.Missing
				}
				if standing.Outlook != want {
					t.Errorf("while it ran: %s (%s); want %s", standing.Outlook, standing.Reason, want)
				}
			})
		})
	}
}

// What ended a run stays missed, though the answers that were still under way make it look well: one that was ended early has not passed.
func TestWhatEndedTheRunStaysMissed(t *testing.T) {
	t.Parallel()
	for name, threshold := range map[string]string{
		"a rate that late answers bring back": `{threshold: "rate > 12/s", stage: load, abort_on_fail: true}`,
		"one that stays missed anyway":        `{threshold: "max < 500ms", stage: load, abort_on_fail: true}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				text := `
fleet: {groups: [{name: robots, count: 20, timeout: 10s, reported: {connectivity: {type: wifi}, every: 500ms}}]}
stages:
  - {name: ramp, duration: 1s, devices: 100%}
  - {name: calm, duration: 4s}
  - {name: load, duration: 1m, network: {latency: 900ms}}
thresholds: {twin_report: [` + threshold + "]}\n"
				run := changing(t, text, func(*engine.Engine, report.Sample) {})
				v := run.Thresholds[0]
				if run.Outcome != report.Missed || !strings.HasPrefix(run.Reason, "ended early in stage load") || !v.Missed() || !strings.HasSuffix(v.Observed, ", which ended the run") || v.Since.IsZero() {
					t.Errorf("%s (%s), %+v", run.Outcome, run.Reason, v)
				}
			})
		})
	}
}

// A pause holds back what stages ask for at a rate, as it does what devices do on their own schedules.
func TestPauseOfARate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		run := changing(t, steady, func(eng *engine.Engine, s report.Sample) {
			switch s.At {
			case 20 * time.Second:
				eng.Pause(true)
			case 30 * time.Second:
				eng.Pause(false)
			}
		})
		x := run.Stages[1].Totals.Select(metrics.OpTwinReport, "")
		if n := x.Dropped[metrics.DropPaused]; n < 98 || n > 102 || x.Scheduled() != 600 || run.Outcome != report.Interrupted {
			t.Errorf("%s: %d of %d reports were held back; want 100 of 600", run.Outcome, n, x.Scheduled())
		}
		checkAccounts(t, run)
	})
}

// A stage without a time ends when the fleet is where somebody wants it, no sooner.
func TestChangeInAStageWithoutATime(t *testing.T) {
	t.Parallel()
	const text = `
fleet: {groups: [{name: robots, count: 40, reported: {connectivity: {type: wifi}, every: 1s}}]}
stages:
  - {name: up, devices: 20, connect_rate: 1/s}
  - {name: hold, duration: 10s}
`
	for goal, lasts := range map[int]time.Duration{10: 9 * time.Second, 30: 30 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			wanted := 0
			run := changing(t, text, func(eng *engine.Engine, s report.Sample) {
				if s.At == 3*time.Second {
					if err := eng.Change(report.LoadChange{Devices: &goal}); err != nil {
						t.Error(err)
					}
				}
				if s.Window.Stage == "hold" {
					wanted = s.Standing.Wanted
				}
			})
			took := run.Stages[0].To - run.Stages[0].From
			if wanted != goal || took < lasts || took > lasts+2*time.Second || run.Outcome != report.Interrupted {
				t.Errorf("%s: %d devices in the end, the stage took %s; want %d, and about %s", run.Outcome, wanted, took, goal, lasts)
			}
		})
	}
}

// That a step waits for another fleet than somebody wants is no failure of the target, nor is that there was nobody.
func TestAStepOfAChangedLoad(t *testing.T) {
	t.Parallel()
	for name, stages := range map[string]string{
		"it waits in vain": `[{name: up, duration: 30s, devices: 20, connect_rate: 10/s, steps: [{await: {connected: 20, within: 20s}}]}]`,
		"nobody comes":     `[{name: up, duration: 30s, devices: 20}]`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				none, done := 0, false
				run := changing(t, "fleet: {groups: [{name: robots, count: 20}]}\nstages: "+stages+"\n", func(eng *engine.Engine, s report.Sample) {
					if !done {
						done = true
						if err := eng.Change(report.LoadChange{Devices: &none}); err != nil {
							t.Error(err)
						}
					}
				})
				if run.Outcome != report.Interrupted || !strings.HasPrefix(run.Reason, "the load was changed by hand in stage up") {
					t.Errorf("%s (%s)", run.Outcome, run.Reason)
				}
			})
		})
	}
}
