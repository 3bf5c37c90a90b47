package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/swarm/launch"
	"github.com/twinfleet/twinfleet/internal/swarm/lead"
)

// An agent whose process ends before somebody leads a run is told to who leads the next one, who would wait for it.
func TestLostBeforeLed(t *testing.T) {
	x := &site{}
	if err := x.leads(nil); err != nil {
		t.Fatalf("all go on, and yet: %v", err)
	}
	x.lost(launch.Exit{Name: "agent-2", Code: -1, Signal: "killed"})
	if err := x.leads(&lead.Lead{}); !errors.Is(err, lead.ErrAgents) || !strings.Contains(err.Error(), "agent agent-2: its process ended: ") {
		t.Errorf("%v; want that agent-2 has ended", err)
	}
}
