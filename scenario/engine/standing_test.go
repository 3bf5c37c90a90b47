package engine_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/prom"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

// slows is a run whose hub stalls in its second stage, so that a threshold that held is missed from then on.
const slows = `
name: slows
fleet:
  groups: [{name: robots, count: 4, timeout: 2s, reported: {connectivity: {type: wifi}, every: 100ms}}]
stages:
  - {name: fine, duration: 10s, devices: 4}
  - {name: stalled, duration: 10s, hub: {stall: 3s}}
thresholds:
  twin_report: ["max < 500ms", "max < 500ms", {threshold: "max < 500ms", stage: fine}]
  connect: ["count >= 4"]
`

// What somebody sees while a run goes on is what happens: it holds, then it is missed, since when the hub stalls; and what is
// seen last is the verdict.
func TestStanding(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rec, w := punctual(), newWatcher()
		o := engine.Options{
			Scenario: decode(t, slows), Recorder: rec, AllowSaturated: true, Observers: []report.Observer{report.Funcs{OnEvent: w.event, OnSample: w.tick}},
		}
		run := engine.New(engine.InMemory(engine.Sampled(o, calm()), nil)).Run(t.Context())
		if run.Outcome != report.Missed {
			t.Fatalf("the run %s: %s", run.Outcome, run.Reason)
		}
		var outlooks []string
		for _, p := range w.progress {
			s := p.Standing
			if s == nil {
				t.Fatalf("nothing is known at %v", p.At)
			}
			if n := len(outlooks); n == 0 || outlooks[n-1] != string(s.Outlook) {
				outlooks = append(outlooks, string(s.Outlook))
			}
			left := 20 - p.At.Seconds()
			if stage := p.Window.Stage; stage != "" && (s.Connected != s.Wanted || s.Fleet != 4 || stage == "stalled" && s.Wanted != 4 || s.Left.Seconds() < left || s.Left.Seconds() > left+1) {
				t.Errorf("at %v: %s, %v left", p.At, s.DevicesText(), s.Left)
			}
		}
		if got := strings.Join(outlooks, " "); got != "holding missing" {
			t.Errorf("outlooks: %s", got)
		}
		begun := run.Started.Add(run.Stages[1].From)
		for i, want := range []bool{true, true, false, false} {
			if since := run.Thresholds[i].Since; since.IsZero() == want || want && (since.Before(begun) || since.Sub(begun).Seconds() > 5) {
				t.Errorf("threshold %d is missed since %v: the hub stalls since %v", i, since, begun)
			}
		}
		if n := len(slices.DeleteFunc(slices.Clone(w.events), func(e report.Event) bool { return e.Kind != report.KindThreshold })); n != 2 {
			t.Errorf("%d events of thresholds; want one for each of two", n)
		}
		const want = `
# HELP twinfleet_run_verdict The verdict of the run: 1 for the one that holds now, 0 for the others. While it runs starting, holding, cannot_say, missing or failing; then passed, missed, saturated, interrupted or failed, or cannot_say where it has not passed for a guess alone.
# TYPE twinfleet_run_verdict gauge
twinfleet_run_verdict{run="20000101-000000",verdict="cannot_say"} 0
twinfleet_run_verdict{run="20000101-000000",verdict="failed"} 0
twinfleet_run_verdict{run="20000101-000000",verdict="failing"} 0
twinfleet_run_verdict{run="20000101-000000",verdict="holding"} 0
twinfleet_run_verdict{run="20000101-000000",verdict="interrupted"} 0
twinfleet_run_verdict{run="20000101-000000",verdict="missed"} 1
twinfleet_run_verdict{run="20000101-000000",verdict="missing"} 0
twinfleet_run_verdict{run="20000101-000000",verdict="passed"} 0
twinfleet_run_verdict{run="20000101-000000",verdict="saturated"} 0
twinfleet_run_verdict{run="20000101-000000",verdict="starting"} 0
# HELP twinfleet_threshold_met Whether a threshold holds: 1 met, 0 missed, -1 when nothing can be said, or not yet.
# TYPE twinfleet_threshold_met gauge
twinfleet_threshold_met{run="20000101-000000",threshold="connect: count >= 4"} 1
twinfleet_threshold_met{run="20000101-000000",threshold="twin_report: max < 500ms"} 0
twinfleet_threshold_met{run="20000101-000000",threshold="twin_report: max < 500ms (stage fine)"} 1
# HELP twinfleet_threshold_bound What a threshold compares with, in its unit.
# TYPE twinfleet_threshold_bound gauge
twinfleet_threshold_bound{run="20000101-000000",threshold="connect: count >= 4",unit="number"} 4
twinfleet_threshold_bound{run="20000101-000000",threshold="twin_report: max < 500ms",unit="seconds"} 0.5
twinfleet_threshold_bound{run="20000101-000000",threshold="twin_report: max < 500ms (stage fine)",unit="seconds"} 0.5
# HELP twinfleet_run_devices_wanted Devices that should be connected: without those not started, or offline by their own will.
# TYPE twinfleet_run_devices_wanted gauge
twinfleet_run_devices_wanted{run="20000101-000000"} 4
# HELP twinfleet_run_started_timestamp_seconds When the run began, as Unix time.
# TYPE twinfleet_run_started_timestamp_seconds gauge
twinfleet_run_started_timestamp_seconds{run="20000101-000000"} 9.466848e+08
# HELP twinfleet_run_as_asked Whether the generator made the load that was asked for, so far: 1, or 0 when the figures speak of it and not of the target.
# TYPE twinfleet_run_as_asked gauge
twinfleet_run_as_asked{run="20000101-000000"} 1
# HELP twinfleet_run_devices_connected Devices that are connected; once the last stage is over, those that were then.
# TYPE twinfleet_run_devices_connected gauge
twinfleet_run_devices_connected{run="20000101-000000"} 4
`
		if err := testutil.GatherAndCompare(prom.Registry(rec), strings.NewReader(want),
			"twinfleet_run_verdict", "twinfleet_threshold_met", "twinfleet_threshold_bound", "twinfleet_run_devices_wanted",
			"twinfleet_run_started_timestamp_seconds", "twinfleet_run_as_asked", "twinfleet_run_devices_connected"); err != nil {
			t.Error(err)
		}
	})
}

// What is told of the last stage is of before its devices are stopped, however late those are who tell it: also what is known in the end.
func TestLastOfAStageHasItsDevices(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rec, w := punctual(), newWatcher()
		slow := func(p report.Sample) {
			w.tick(p)
			if p.At == 4*time.Second { // the stage ends meanwhile
				time.Sleep(1500 * time.Millisecond)
			}
		}
		sc := decode(t, `
fleet: {groups: [{name: robots, count: 4, reported: {connectivity: {type: wifi}, every: 100ms}}]}
stages: [{name: hold, duration: 5s, devices: 4, connect_rate: 100/s}]
`)
		o := engine.Options{Scenario: sc, Recorder: rec, AllowSaturated: true, Observers: []report.Observer{report.Funcs{OnSample: slow}}}
		if run := engine.New(engine.InMemory(engine.Sampled(o, calm()), nil)).Run(t.Context()); run.Outcome != report.Passed {
			t.Fatalf("the run %s: %s", run.Outcome, run.Reason)
		}
		for _, p := range w.progress {
			if s := p.Standing; p.At > time.Second && (s.Connected != 4 || s.Wanted != 4) {
				t.Errorf("at %v, in stage %q: %s", p.At, p.Window.Stage, s.DevicesText())
			}
			if connected, _ := threshold.Devices(p.Total, ""); p.At > time.Second && p.Window.Stage != "" && connected != 4 {
				t.Errorf("at %v, in stage %q: the figures have %d connected", p.At, p.Window.Stage, connected)
			}
		}
		const want = `
# HELP twinfleet_run_devices_connected Devices that are connected; once the last stage is over, those that were then.
# TYPE twinfleet_run_devices_connected gauge
twinfleet_run_devices_connected{run="20000101-000000"} 4
`
		if err := testutil.GatherAndCompare(prom.Registry(rec), strings.NewReader(want), "twinfleet_run_devices_connected"); err != nil {
			t.Error(err)
		}
	})
}

// Each of many groups has its own figures, for thresholds on it too.
func TestManyGroupsAreToldApart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		text := "fleet:\n  groups:\n"
		for i := range 130 {
			text += fmt.Sprintf("    - {name: g%d, reported: {connectivity: {type: wifi}, every: 200ms}}\n", i)
		}
		sc := decode(t, text+"stages: [{name: hold, duration: 5s, devices: 100%, connect_rate: 500/s}]\nthresholds: {'twin_report{group=g129}': ['count >= 5'], 'devices{group=g129}': ['connected == 1']}\n")
		run := engine.New(inMemory(engine.Options{Scenario: sc, Recorder: punctual(), AllowSaturated: true}, calm())).Run(t.Context())
		if run.Outcome != report.Passed || run.Totals.Find(metrics.OpTwinReport, "other") != nil {
			t.Errorf("the run %s: %s: %+v", run.Outcome, run.Reason, run.Thresholds)
		}
	})
}

// What a threshold compared last, as /metrics has it in the end, is what the verdict was made of: also of reports that the last
// window wanted, and that ended after it.
func TestLastFiguresOfMetricsAreTheVerdicts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rec := punctual()
		sc := decode(t, `
fleet: {groups: [{name: robots, count: 4, timeout: 5s, reported: {connectivity: {type: wifi}, every: 100ms}}]}
stages: [{name: fine, duration: 4500ms, devices: 4}, {name: stalled, duration: 500ms, hub: {stall: 3s}}]
thresholds: {twin_report: ["count >= 1", {threshold: "max < 500ms", window: 2s}]}
`)
		o := engine.Options{Scenario: sc, Recorder: rec, AllowSaturated: true}
		run := engine.New(engine.InMemory(engine.Sampled(o, calm()), nil)).Run(t.Context())
		told := make(map[string]float64)
		for _, f := range rec.Figures() {
			for _, x := range f.Samples {
				if f.Name == "twinfleet_threshold_observed" {
					told[x.Labels[1]] = x.Value
				}
			}
		}
		if x := told["twin_report: max < 500ms (every 2s)"]; run.Outcome != report.Missed || x < 2.9 || x > 3 {
			t.Errorf("the run %s with a last window of %vs; the hub stalls for 3s", run.Outcome, x)
		}
		if all := run.Totals.Select(metrics.OpTwinReport, ""); told["twin_report: count >= 1"] != float64(all.Count(metrics.OK)) {
			t.Errorf("%v reports; all %d ended well", told["twin_report: count >= 1"], all.Count(metrics.OK))
		}
	})
}

// A pass that an Observer takes away at the very end is none on /metrics either, and who scrapes meanwhile races with nobody.
func TestVerdictOfMetricsIsTheLast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rec := punctual()
		var scraping sync.WaitGroup
		o := engine.Options{Scenario: decode(t, slows), Recorder: rec, AllowSaturated: true, Observers: []report.Observer{report.Funcs{
			OnEnd: func(*report.Run) error {
				scraping.Go(func() { rec.Figures() })
				return errors.New("the disk is full")
			},
		}}}
		o.Scenario.Thresholds, o.Scenario.Stages = nil, o.Scenario.Stages[:1]
		run := engine.New(engine.InMemory(engine.Sampled(o, calm()), nil)).Run(t.Context())
		scraping.Wait()
		if run.Outcome != report.Failed {
			t.Fatalf("the run %s: %s", run.Outcome, run.Reason)
		}
		for _, f := range rec.Figures() {
			for _, x := range f.Samples {
				if f.Name == "twinfleet_run_verdict" && (x.Value == 1) != (x.Labels[1] == "failed") {
					t.Errorf("%s is %v", x.Labels[1], x.Value)
				}
			}
		}
	})
}
