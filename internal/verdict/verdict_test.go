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
