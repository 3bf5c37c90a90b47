package engine_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/iothub/connstring"
	"github.com/twinfleet/twinfleet/internal/swarm/agent"
	"github.com/twinfleet/twinfleet/internal/swarm/bus/membus"
	"github.com/twinfleet/twinfleet/internal/swarm/lead"
	"github.com/twinfleet/twinfleet/internal/swarm/parcel"
	"github.com/twinfleet/twinfleet/internal/swarm/seal"
	"github.com/twinfleet/twinfleet/internal/target"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

const swarming = `
name: swarming
seed: 11
fleet:
  client: lean
  groups:
    - {name: robots, count: 80, reported: {connectivity: {type: {wifi: 1, cellular: 2}}, every: 3s}, telemetry: {}}
    - {name: gates, count: 40, reported: {connectivity: {type: wifi}, every: 5s}}
stages:
  - {name: ramp, duration: 10s, devices: 100%, telemetry_rate: 20/s}
  - {name: storm, duration: 20s, storm: {drop: 30%, within: 2s}}
  - {name: hold, duration: 20s, telemetry_rate: 40/s}
service:
  queries: [{name: all, every: 5s, sql: SELECT * FROM devices}]
  freshness: {probe: 2s}
`

// swarm is agents and their bus.
type swarm struct {
	t      *testing.T
	server *membus.Server
	token  seal.Token
	stops  map[string]context.CancelFunc
	going  sync.WaitGroup
}

// join starts an agent.
func (s *swarm) join(name string, o agent.Options) {
	s.t.Helper()
	o.Bus, o.Name, o.Token = s.server.Connect(), name, s.token
	a, err := agent.New(o)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	s.stops[name] = cancel
	s.going.Go(func() {
		if err := a.Run(ctx); !errors.Is(err, context.Canceled) {
			s.t.Errorf("agent %s: %v", name, err)
		}
		_ = o.Bus.Close()
	})
}

// over ends all agents.
func (s *swarm) over() {
	for _, stop := range s.stops {
		stop()
	}
	s.going.Wait()
}

// runWith runs a scenario on agents, against a hub in memory.
func runWith(t *testing.T, text string, agents int, o lead.Options, during func(s *swarm, l *lead.Lead, e *engine.Engine)) (*report.Run, *metrics.Snapshot) {
	t.Helper()
	h, err := hub.Open(t.Context(), hub.Options{NoPort: true})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	sc, p, err := parcel.Pack("swarming.yaml", []byte(text), scenario.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if sc, err = target.Elsewhere(sc, []connstring.Service{h.ConnectionString("iothubowner")}); err != nil {
		t.Fatal(err)
	}
	s := &swarm{t: t, server: &membus.Server{}, token: seal.GenerateToken(), stops: make(map[string]context.CancelFunc)}
	defer s.over()
	for i := range agents {
		s.join(fmt.Sprintf("agent-%d", i+1), agent.Options{Dial: h.Dial, Sampler: calm()})
	}
	b := s.server.Connect()
	defer b.Close()
	o.Bus, o.Run, o.Token, o.Agents, o.Parcel = b, "20261128-run", s.token, agents, p
	l, err := lead.New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	rec := metrics.NewRecorder(metrics.Options{})
	e := engine.New(engine.InMemory(engine.Sampled(engine.Options{Scenario: sc, Recorder: rec, Agents: l}, calm()), h.Dial))
	if during != nil {
		s.going.Go(func() { during(s, l, e) })
	}
	r := e.Run(t.Context())
	return r, rec.Snapshot()
}

// A run on four agents passes as one in one process does.
func TestAgents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		r, _ := runWith(t, swarming, 4, lead.Options{}, nil)
		t.Logf("%s: %s, in %s; %v", r.Outcome, r.Reason, time.Since(began), r.Notes)
		for _, x := range r.Totals.Series {
			t.Logf("%s %s: scheduled %d, ok %d, dropped %v, open %d, late %d", x.Operation, x.Group, x.Scheduled(), x.Count(metrics.OK), x.Dropped, x.InFlight(), x.Late)
		}
		if r.Outcome != report.Passed {
			t.Error("it did not pass")
		}
	})
}
