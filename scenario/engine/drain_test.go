package engine_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

// deadEnd is a run whose hub answers nothing from its last stage on.
const deadEnd = `
fleet: {groups: [{name: robots, count: 10, timeout: 1h, reported: {connectivity: {type: wifi}, every: 100ms}}]}
stages:
  - {name: hold, duration: 1s, devices: 10, connect_rate: 100/s}
  - {name: dead, duration: 500ms, hub: {stall: 1h}}
thresholds: {twin_report: ["p(50) < 10s", "error_rate < 1%"], twin_get: ["count >= 10"]}
`

// unanswered runs a scenario, and does not wait for its last answers, which would take an hour.
func unanswered(t *testing.T, text string) *report.Run {
	t.Helper()
	var eng *engine.Engine
	eng = engine.New(inMemory(engine.Options{
		Scenario: decode(t, text), Recorder: punctual(), AllowSaturated: true,
		Observers: []report.Observer{report.Funcs{OnEvent: func(e report.Event) {
			if e.Kind == report.KindDrain {
				eng.Stop()
			}
		}}},
	}, calm()))
	return eng.Run(t.Context())
}

// Somebody who does not wait for the last answers ends the wait, and nothing else: what has no answer is counted as
// unanswered, and the run is judged.
func TestTheWaitCanBeCut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		run := unanswered(t, deadEnd)
		x := run.Stages[1].Totals.Find(metrics.OpTwinReport, "robots")
		// The first may be answered: the stage begins an instant before the hub stalls.
		if x == nil || x.Count(metrics.Unanswered) < x.Started()/2 || x.Count(metrics.Unanswered)+x.Count(metrics.OK) != x.Started() {
			t.Fatalf("the dead stage: %s; want all unanswered", outcomes(x))
		}
		if run.Outcome != report.Missed || !slices.Contains(run.Notes, "the wait for the last answers was cut short by hand") {
			t.Errorf("%s (%s), notes %q", run.Outcome, run.Reason, run.Notes)
		}
		if run.Thresholds[1].Pass || !run.Thresholds[2].Pass {
			t.Errorf("thresholds: %+v; want the errors seen, and what went well", run.Thresholds)
		}
	})
}

// What nobody waited for may have taken any time: a run that met its thresholds without it has not passed.
func TestAWaitThatWasCutIsNoPass(t *testing.T) {
	t.Parallel()
	for _, thresholds := range []string{"", `thresholds: {twin_report: ["timeouts == 0", "count > 1"]}`} {
		synctest.Test(t, func(t *testing.T) {
			text := deadEnd[:strings.Index(deadEnd, "thresholds:")] + thresholds + "\n"
			const want = "the wait for the last answers was cut short by hand"
			if run := unanswered(t, text); run.Outcome != report.Interrupted || run.Reason != want || slices.Contains(run.Notes, want) {
				t.Errorf("%s (%s), notes %q, thresholds %+v; want that it was interrupted, said once", run.Outcome, run.Reason, run.Notes, run.Thresholds)
			}
		})
	}
}

// Every account of a run adds up: of the whole, of each stage, and of the stages together.
func checkAccounts(t *testing.T, run *report.Run) {
	t.Helper()
	sum := &metrics.Snapshot{}
	held := func(where string, s *metrics.Snapshot) {
		for i := range s.Series {
			x := &s.Series[i]
			var ends uint64
			for _, o := range metrics.Outcomes() {
				ends += x.Count(o)
			}
			if x.Scheduled() != ends+x.DroppedTotal() {
				t.Errorf("%s: %s %s: %d scheduled, %d with an outcome, %d dropped", where, x.Operation, x.Group, x.Scheduled(), ends, x.DroppedTotal())
			}
		}
	}
	held("the run", run.Totals)
	for _, s := range run.Stages {
		held("stage "+s.Name, s.Totals)
		sum = sum.Merge(s.Totals)
	}
	for i := range sum.Series {
		x := &sum.Series[i]
		if y := run.Totals.Find(x.Operation, x.Group); y == nil || x.Scheduled() > y.Scheduled() {
			t.Errorf("%s %s: the stages have more than the run", x.Operation, x.Group)
		}
	}
}
