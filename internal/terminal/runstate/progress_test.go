package runstate_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/terminal/runstate"
	"github.com/twinfleet/twinfleet/internal/terminal/terminaltest"
	"github.com/twinfleet/twinfleet/metrics"
)

// How far the whole run is, by its stages: one of unknown length counts as the others do.
func TestProgress(t *testing.T) {
	stages := []runstate.Stage{{Name: "a", Duration: 10 * time.Second}, {Name: "b"}, {Name: "c", Duration: 30 * time.Second}}
	for _, tt := range []struct {
		stage int
		into  time.Duration
		want  string
	}{
		{0, 0, "0.00"}, {1, 5 * time.Second, "0.08"}, {2, time.Hour, "0.17"}, {3, 15 * time.Second, "0.75"}, {3, time.Hour, "1.00"},
	} {
		s := &runstate.State{Plan: runstate.Plan{Stages: stages}, Stage: tt.stage, Began: time.Minute, At: time.Minute + tt.into}
		share, ends := s.Progress()
		if got := fmt.Sprintf("%.2f", share); got != tt.want || fmt.Sprintf("%.2f", ends) != "[0.17 0.50 1.00]" {
			t.Errorf("stage %d, %v in it: %s, ends %v; want %s", tt.stage, tt.into, got, ends, tt.want)
		}
	}
	if share, ends := (&runstate.State{}).Progress(); share != 0 || ends != nil {
		t.Errorf("without stages: %v %v", share, ends)
	}
}

// Reasons that go on are first, errors before what is throttled, each with its groups.
func TestReasons(t *testing.T) {
	var got []string
	for _, r := range terminaltest.Worlds()["groups"]().Reasons() {
		got = append(got, fmt.Sprintf("%s %s %d of %d %v", r.Operation, r.Outcome, r.Lately, r.Count, r.Groups))
	}
	if want := "[telemetry timeout 10 of 15 [{plant-12 15}] method throttled 10 of 15 [{plant-13 15}]]"; fmt.Sprint(got) != want {
		t.Errorf("%v; want %s", got, want)
	}
	lately, inAll := terminaltest.Worlds()["groups"]().TroubleOf("plant-13")
	if lately != (runstate.Trouble{Throttled: 10}) || inAll != (runstate.Trouble{Throttled: 15}) || !inAll.Any() {
		t.Errorf("%+v %+v", lately, inAll)
	}
}

// What comes now and then has not ended between two times.
func TestAliveKnowsTheUsualGap(t *testing.T) {
	s := terminaltest.Worlds()["groups"]()
	at := func(op metrics.Operation) bool {
		return s.Alive(terminaltest.Line(s, op))
	}
	if !at(metrics.OpTelemetry) || at(metrics.OpConnect) {
		t.Errorf("telemetry %v, connect %v", at(metrics.OpTelemetry), at(metrics.OpConnect))
	}
	slow := terminaltest.Seldom(30)
	if !slow.Alive(terminaltest.Line(slow, metrics.OpJob)) {
		t.Error("what comes every 30 s has ended after 20 s")
	}
}
