package runstate_test

import (
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/terminal/runstate"
	"github.com/twinfleet/twinfleet/internal/terminal/terminaltest"
)

// What is kept is bounded, however long a run is.
func TestStateIsBounded(t *testing.T) {
	s := &runstate.State{Plan: terminaltest.Plan()}
	for range 20 {
		terminaltest.Play(terminaltest.Plan(), 50, s.Event, s.Sample)
	}
	times, _ := s.Latencies("telemetry/robots", 10_000)
	kept := len(times)
	if kept > runstate.HistoryLength || len(s.Events()) > 60 || s.Window().Elapsed > runstate.WindowLength*time.Second {
		t.Errorf("%d seconds, %d events, a window of %v", kept, len(s.Events()), s.Window().Elapsed)
	}
}
