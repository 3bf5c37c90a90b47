package trial_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/agents"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

// unsure is an engine with an agent whose clock is known to so much.
type unsure struct {
	*engine.Engine
	rules []threshold.Threshold
	by    time.Duration
}

func (u unsure) Run(ctx context.Context) *report.Run {
	run := u.Engine.Run(ctx)
	run.Agents = []report.Agent{{Name: "east", Clock: report.Clock{Uncertainty: u.by}}}
	for i := range run.Thresholds {
		agents.Excuse(run.Agents, u.rules, i, &run.Thresholds[i])
	}
	return run
}

// A load is held when all that was asked of it was told: freshness that an unsure clock does not tell is no freshness that was kept.
func TestUnsureClock(t *testing.T) {
	const text = `
name: fresh
seed: 5
target: {transport: memory}
fleet: {client: lean, groups: [{name: robots, count: 20, in_flight: 1000, reported: {connectivity: {type: cellular}}}]}
stages:
  - {name: up, duration: 1s, devices: 100%}
  - {name: hold, duration: 1m, report_rate: 10/s}
service: {freshness: {probe: 100ms}}
thresholds: {twin_report: ["p(90) < 1s"], freshness: ["p(95) < 1s"]}
`
	b, err := trial.NewBase(load(text), trial.ReportRate, trial.Options{Hold: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		by      time.Duration
		verdict search.Verdict
		limit   trial.Limit
		why     string
	}{
		{10 * time.Millisecond, search.Held, "", ""},
		{time.Second, search.Undelivered, trial.ByGenerator, "freshness: p(95) < 1s (stage hold): the clock of agent east"},
	} {
		made, err := b.Make(10, 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Test(t, func(t *testing.T) {
			start := func(o engine.Options) trial.Engine {
				o.AllowSaturated = true
				return unsure{engine.New(o), made.Scenario.Thresholds, x.by}
			}
			r, err := b.Run(t.Context(), made, start, 0, time.Time{})
			if err != nil || r.Verdict != x.verdict || r.Limit != x.limit || !strings.HasPrefix(r.Why, x.why) || (r.Why == "") != (x.why == "") || r.Final {
				t.Errorf("a clock that is known to ±%s: %s %s %q, %v", x.by, r.Verdict, r.Limit, r.Why, err)
			}
		})
	}
}

// What a stage that only prepares did not make leaves open what was asked of that stage, and no more.
func TestUntold(t *testing.T) {
	rule := func(stage string) threshold.Threshold {
		return threshold.Threshold{Scope: threshold.Scope{Stage: stage}}
	}
	for _, x := range []struct {
		stage, bad string // of the threshold, and which was not made
		told       bool
	}{
		{"hold", "", false},
		{"hold", "connect", false},
		{"connect", "", false},
		{"connect", "connect", true},
		{"settle", "connect", false},
		{"connect", "hold", false},
		{"gather", "connect", true},
	} {
		h := health(x.bad)
		h.Stages = append(h.Stages[:1:1], append([]report.StageHealth{{Name: "gather", AsAsked: true}}, h.Stages[1:]...)...)
		run := report.Run{Generator: h, Thresholds: []threshold.Verdict{{Threshold: "a", Pass: true}, {Threshold: "b", CannotSay: true, Why: "nobody knows"}}}
		got := trial.Untold(&run, []threshold.Threshold{rule(x.stage), rule(x.stage)}, trial.Preparing())
		if want := map[bool]string{false: "b: nobody knows"}[x.told]; got != want {
			t.Errorf("of stage %s, %q not made: %q; want %q", x.stage, x.bad, got, want)
		}
	}
	if got := trial.Untold(&report.Run{Suspicion: "somebody uses its ids"}, nil, nil); got != "somebody uses its ids" {
		t.Errorf("%q", got)
	}
}
