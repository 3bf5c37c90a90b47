package verdict

import (
	"errors"
	"fmt"
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

// A run in which no device was due is no pass when its stages have devices, unless somebody ended a stage by hand.
func TestNobodyDue(t *testing.T) {
	paused := metrics.NewRecorder(metrics.Options{})
	paused.Series(metrics.OpConnect, "robots").Drop(time.Now(), metrics.DropPaused)
	for _, tt := range []struct {
		name   string
		rec    *metrics.Recorder
		stages []int // devices of each
		byHand bool
		want   string
	}{
		{"none due", metrics.NewRecorder(metrics.Options{}), []int{0, 3}, false, "no device was ever due to connect, although stage s1 has 3 devices"},
		{"dropped on purpose", paused, []int{1}, false, "no device was ever due to connect, although stage s0 has 1 device"},
		{"ended by hand", metrics.NewRecorder(metrics.Options{}), []int{3}, true, ""},
		{"none asked for", metrics.NewRecorder(metrics.Options{}), []int{0, -1}, false, ""},
	} {
		sc := &scenario.Scenario{}
		for i, n := range tt.stages {
			sc.Stages = append(sc.Stages, scenario.Stage{Name: fmt.Sprintf("s%d", i), Devices: n})
		}
		e := &Evidence{Scenario: sc, Run: &report.Run{Totals: tt.rec.Snapshot()}}
		if tt.byHand {
			e.ByHand = []string{"s0"}
		}
		if got := e.inVain(); got != tt.want {
			t.Errorf("%s: %q; want %q", tt.name, got, tt.want)
		}
	}
}
