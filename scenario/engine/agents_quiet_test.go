package engine_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/swarm/bus"
	"github.com/twinfleet/twinfleet/internal/swarm/lead"
	"github.com/twinfleet/twinfleet/internal/swarm/protocol"
	"github.com/twinfleet/twinfleet/report"
)

// spoken counts what an agent says over its bus, by kind.
type spoken struct {
	bus.Bus
	mu sync.Mutex
	n  map[string]int
}

func (s *spoken) add(kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n[kind]++
}

func (s *spoken) Publish(subject string, data []byte) error {
	s.add("status")
	return s.Bus.Publish(subject, data)
}

func (s *spoken) Ask(ctx context.Context, instance, endpoint string, data []byte) ([]byte, error) {
	if endpoint == protocol.Events {
		s.add("batch")
	}
	return s.Bus.Ask(ctx, instance, endpoint, data)
}

// all is what was said so far.
func (s *spoken) all() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return map[string]int{"status": s.n["status"], "batch": s.n["batch"]}
}

// quietly is a fleet of which nothing is to be told for long.
const quietly = `
name: quietly
seed: 3
fleet:
  client: lean
  groups: [{name: robots, count: 40, telemetry: {}}]
stages:
  - {name: ramp, duration: 5s, devices: 100%}
  - {name: hold, duration: 40s, telemetry_rate: 20/s}
`

// In a quiet run an agent says about once a second that it is there, and that is enough to know who is: nobody is lost, and one that dies is lost
// as soon as the run says.
func TestQuietAgents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		said := &spoken{n: make(map[string]int)}
		var before, after map[string]int
		var died, lost time.Time
		x := &swarmed{text: quietly, agents: 3, lead: lead.Options{OnLoss: lead.Continue}, wrap: func(name string, b bus.Bus) bus.Bus {
			if name != "agent-1" {
				return b
			}
			said.Bus = b
			return said
		}}
		x.watch = []report.Observer{report.Funcs{OnEvent: func(e report.Event) {
			if strings.Contains(e.Text, "agent-3 was lost") {
				lost = time.Now()
			}
		}}}
		x.during = func(s *swarm, _ *lead.Lead) {
			time.Sleep(10 * time.Second)
			before = said.all()
			time.Sleep(20 * time.Second)
			after = said.all()
			died = time.Now()
			s.stops["agent-3"]()
		}
		r := x.run(t)
		for kind, n := range after {
			if n -= before[kind]; n < 15 || n > 25 {
				t.Errorf("in 20 s of quiet an agent said %d times its %s; want about 20", n, kind)
			}
		}
		for i, a := range r.Agents {
			if (a.Lost != nil) != (i == 2) {
				t.Errorf("%s: lost %+v", a.Name, a.Lost)
			}
		}
		if took := lost.Sub(died); took < time.Second || took > 4500*time.Millisecond {
			t.Errorf("the loss was noted after %s", took)
		}
		c := r.Agents[0].Control
		t.Logf("coordination took %s in %s: %.3f %%; %.0f bytes a second", c.CPU, c.Over, 100*c.Share(), c.Rate())
	})
}
