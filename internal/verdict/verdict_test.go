package verdict

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/judge"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
)

// Identities that could not be removed fail a run that is good otherwise, and hide no other reason.
func TestIdentitiesThatAreLeft(t *testing.T) {
	left := errors.New("removing identities: not authorised")
	for _, x := range []struct {
		name       string
		connects   uint64 // that ended well
		thresholds string
		err        error
		outcome    report.Outcome
		reason     string
	}{
		{"a good run", 5, "", nil, report.Failed, left.Error()},
		{"a threshold was missed", 5, "thresholds: {connect: [count > 6]}", nil, report.Missed, "1 of 1 thresholds were missed"},
		{"something else went wrong", 5, "", errors.New("the hub is gone"), report.Failed, "the hub is gone"},
	} {
		sc, err := scenario.Decode("x.yaml", []byte("fleet: {groups: [{name: a, count: 5}]}\nstages: [{name: s, duration: 1s, devices: 5}]\n"+x.thresholds),
			scenario.Options{})
		if err != nil {
			t.Fatal(err)
		}
		rec, start := metrics.NewRecorder(metrics.Options{}), time.Now()
		for range x.connects {
			rec.Series(metrics.OpConnect, "a").Start(start, start).End(start, metrics.OK)
		}
		r := &report.Run{Totals: rec.Snapshot()}
		Judge(&Evidence{Scenario: sc, Run: r, Thresholds: judge.New(rec, sc.Thresholds).End(r.Totals), Err: x.err, Left: left})
		if noted := slices.Contains(r.Notes, left.Error()); r.Outcome != x.outcome || r.Reason != x.reason || noted == (x.reason == left.Error()) {
			t.Errorf("%s: %s: %s, notes %q; want %s: %s, and what is left said once", x.name, r.Outcome, r.Reason, r.Notes, x.outcome, x.reason)
		}
	}
}

// A configuration that could not be removed goes on writing into twins: it fails a run as identities do that are left.
func TestConfigurationsThatAreLeft(t *testing.T) {
	sc, err := scenario.Decode("x.yaml", []byte("fleet: {groups: [{name: a, count: 1}]}\nstages: [{name: s, duration: 1s, devices: 1}]\n"), scenario.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const left = "rollout firmware: configuration c is left at the service: no"
	for name, x := range map[string]struct {
		missed, left string
		outcome      report.Outcome
		reason       string
	}{
		"all is well":     {"", "", report.Passed, ""},
		"it is left":      {"", "configuration c is left at the service: no", report.Failed, left},
		"and was not all": {"rollout firmware: 0 of 1", "configuration c is left at the service: no", report.Failed, "rollout firmware: 0 of 1"},
	} {
		rec, start := metrics.NewRecorder(metrics.Options{}), time.Now()
		rec.Series(metrics.OpConnect, "a").Start(start, start).End(start, metrics.OK)
		r := &report.Run{Totals: rec.Snapshot(), Configured: []report.Configured{{Rollout: "firmware", Missed: x.missed, Left: x.left}}}
		Judge(&Evidence{Scenario: sc, Run: r})
		if r.Outcome != x.outcome || r.Reason != x.reason || slices.Contains(r.Notes, left) != (x.left != "" && x.reason != left) {
			t.Errorf("%s: %s: %s, notes %q", name, r.Outcome, r.Reason, r.Notes)
		}
	}
}

// Of freshness nothing can be said where the clock that it was measured with is not known well enough for the bound; of all else something can.
func TestClocksOfAgents(t *testing.T) {
	const ms = time.Millisecond
	for _, x := range []struct {
		name       string
		thresholds string
		off        time.Duration // of an agent's clock: by which it is unsure
		outcome    report.Outcome
		reason     string
	}{
		{"well known", "freshness: [p(95) < 2s]", 80 * ms, report.Passed, ""},
		{"well known, and missed", "freshness: [p(95) < 900ms]", 80 * ms, report.Missed, "1 of 1 thresholds were missed"},
		{"not well known", "freshness: [p(95) < 2s]", 300 * ms, report.Saturated, "the clock of agent b is known to ±300ms alone: freshness within 2.00s cannot be told; of 1 of 1 thresholds nothing can be said"},
		{"not well known, and would be missed", "freshness: [p(95) < 900ms]", 300 * ms, report.Saturated, "the clock of agent b is known to ±300ms alone: freshness within 900ms cannot be told; of 1 of 1 thresholds nothing can be said"},
		{"how many there were is known", "freshness: [count > 4]", 300 * ms, report.Passed, ""},
		{"what no other clock was needed for", "connect: [p(95) < 2s]", 300 * ms, report.Passed, ""},
	} {
		sc, err := scenario.Decode("x.yaml", []byte("fleet: {groups: [{name: a, count: 5, reported: {connectivity: {type: cellular}}}]}\nstages: [{name: s, duration: 1s, devices: 5}]\nthresholds: {"+x.thresholds+"}"),
			scenario.Options{})
		if err != nil {
			t.Fatal(err)
		}
		rec, start := metrics.NewRecorder(metrics.Options{}), time.Now()
		for range 5 {
			rec.Series(metrics.OpConnect, "a").Start(start, start).End(start.Add(time.Second), metrics.OK)
			rec.Series(metrics.OpFreshness, "a").Start(start, start).End(start.Add(time.Second), metrics.OK)
		}
		r := &report.Run{Totals: rec.Snapshot(), Agents: []report.Agent{{Name: "a"}, {Name: "b", Clock: report.Clock{Offset: time.Hour, Uncertainty: x.off}}}}
		Judge(&Evidence{Scenario: sc, Run: r, Thresholds: judge.New(rec, sc.Thresholds).End(r.Totals)})
		if r.Outcome != x.outcome || r.Reason != x.reason {
			t.Errorf("%s: %s: %s; want %s: %s", x.name, r.Outcome, r.Reason, x.outcome, x.reason)
		}
	}
}

// A run whose agents were in trouble names them, not all of many, also where the whole was late for it.
func TestAgentsInTrouble(t *testing.T) {
	sc, err := scenario.Decode("x.yaml", []byte("fleet: {groups: [{name: a, count: 5}]}\nstages: [{name: s, duration: 1s, devices: 5}]"), scenario.Options{})
	if err != nil {
		t.Fatal(err)
	}
	slow := report.Agent{Name: "slow", Generator: &report.Health{Saturated: true, Reasons: []string{"its processors were busy"}}}
	gone := report.Agent{Name: "gone", Lost: &report.AgentLoss{Stage: "s", Devices: 2, Why: "it was killed"}}
	late := &report.Health{Saturated: true, Stages: []report.StageHealth{{Name: "s"}}}
	for _, x := range []struct {
		name   string
		agents []report.Agent
		whole  *report.Health
		reason string
	}{
		{"none", nil, late, "the generator was the bottleneck in stage s"},
		{"slow", []report.Agent{{Name: "well"}, slow}, nil, "the generator was the bottleneck: agent slow: its processors were busy"},
		{"slow, and the whole was late", []report.Agent{{Name: "well"}, slow}, late, "the generator was the bottleneck: agent slow: its processors were busy"},
		{"lost", []report.Agent{slow, gone}, late, "the load was not the one that was asked for: agent gone was lost in stage s with 2 devices (it was killed)"},
		{
			"many", slices.Repeat([]report.Agent{slow}, 5), nil,
			"the generator was the bottleneck: agent slow: its processors were busy; agent slow: its processors were busy; agent slow: its processors were busy; and 2 more",
		},
	} {
		rec, start := metrics.NewRecorder(metrics.Options{}), time.Now()
		rec.Series(metrics.OpConnect, "a").Start(start, start).End(start, metrics.OK)
		r := &report.Run{Totals: rec.Snapshot(), Agents: x.agents, Generator: x.whole}
		Judge(&Evidence{Scenario: sc, Run: r})
		if r.Outcome != report.Saturated || r.Reason != x.reason {
			t.Errorf("%s: %s: %s; want %s", x.name, r.Outcome, r.Reason, x.reason)
		}
		allowed := report.Passed
		if x.name == "lost" { // which is no matter of how fast a machine is
			allowed = report.Saturated
		}
		r = &report.Run{Totals: rec.Snapshot(), Agents: x.agents, Generator: x.whole}
		if Judge(&Evidence{Scenario: sc, Run: r, AllowSaturated: true}); r.Outcome != allowed {
			t.Errorf("%s, allowed: %s: %s; want %s", x.name, r.Outcome, r.Reason, allowed)
		}
	}
}
