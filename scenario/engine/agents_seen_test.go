package engine_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/swarm/lead"
	"github.com/twinfleet/twinfleet/report"
)

// keeper keeps what is known of a run while it goes on, as whoever writes a record does.
type keeper struct {
	report.Funcs
	known []*report.Run
}

func (k *keeper) Known(r *report.Run) { k.known = append(k.known, r) }

// Agents are seen while the run goes on: in the record from the time on when they are ready, so that a run that is killed has them, with every
// sample, and as figures. One that is lost is seen as lost within seconds.
func TestAgentsAreSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &keeper{}
		x := &swarmed{text: swarming, agents: 4, watch: []report.Observer{k}, lead: lead.Options{OnLoss: lead.Continue}}
		lost, least := time.Duration(0), 120
		k.OnSample = func(s report.Sample) {
			if s.Standing == nil || len(s.Standing.Agents) != 4 {
				t.Errorf("at %s not all agents stand: %+v", s.At, s.Standing)
				return
			}
			if known := k.known[len(k.known)-1].Agents; s.At > 3*time.Second && s.At < 8*time.Second && len(known) != 4 || s.At > 22*time.Second && s.At < 24*time.Second && known[0].Connected < 20 {
				t.Errorf("at %s a run that is killed would know of agents %+v", s.At, known)
			}
			connected := 0
			for i, a := range s.Standing.Agents {
				connected += a.Connected
				if i == 1 && a.Lost != nil && lost == 0 {
					lost = s.At
				}
			}
			if s.At > 12*time.Second && s.At < 19*time.Second {
				least = min(least, connected)
			}
		}
		x.during = func(s *swarm, _ *lead.Lead) {
			time.Sleep(25 * time.Second)
			s.stops["agent-2"]()
		}
		r := x.run(t)
		if least < 110 {
			t.Errorf("after the ramp %d devices of agents are connected", least)
		}
		if lost < 25*time.Second || lost > 32*time.Second {
			t.Errorf("the loss at 25 s was seen at %s", lost)
		}
		last := k.known[len(k.known)-1].Agents
		if len(last) != 4 || last[0].Connected < 20 || last[0].Generator == nil || last[1].Lost == nil || last[1].Lost.Stage != "storm" {
			t.Errorf("what a killed run would know: %+v", last)
		}
		for i, a := range r.Agents {
			if c := a.Control; i != 1 && (c.Over < 40*time.Second || c.Rate() < 100 || c.Rate() > 100_000 || c.Received == 0 || a.Connected < 20) {
				t.Errorf("%s: %d connected, control %+v", a.Name, a.Connected, c)
			}
		}
		up := make(map[string]float64)
		for _, f := range x.rec.Figures() {
			for _, s := range f.Samples {
				if f.Name == "twinfleet_agent_up" {
					up[s.Labels[0]] = s.Value
				}
			}
		}
		if len(up) != 4 || up["agent-1"] != 1 || up["agent-2"] != 0 {
			t.Errorf("up: %v", up)
		}
	})
}

// A run in one process has no agents, nowhere.
func TestNoAgents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &swarmed{text: calmly(), watch: []report.Observer{report.Funcs{OnSample: func(s report.Sample) {
			if len(s.Standing.Agents) > 0 {
				t.Error("agents stand")
			}
		}}}}
		if r := x.run(t); len(r.Agents) > 0 {
			t.Errorf("%+v", r.Agents)
		}
		for _, f := range x.rec.Figures() {
			if f.Name == "twinfleet_agent_up" {
				t.Error("there are figures of agents")
			}
		}
	})
}
