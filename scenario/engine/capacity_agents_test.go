//go:build !race

package engine_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity/agents"
	"github.com/twinfleet/twinfleet/internal/capacity/answer"
	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/session"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/internal/generator"
	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/servicetime"
	"github.com/twinfleet/twinfleet/internal/iothub/connstring"
	"github.com/twinfleet/twinfleet/internal/swarm/agent"
	"github.com/twinfleet/twinfleet/internal/swarm/bus/membus"
	"github.com/twinfleet/twinfleet/internal/swarm/lead"
	"github.com/twinfleet/twinfleet/internal/swarm/parcel"
	"github.com/twinfleet/twinfleet/internal/swarm/seal"
	"github.com/twinfleet/twinfleet/internal/target"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

// overAgents is a search for the most devices, whose trials run on the same agents one after the other, each against a hub of its own.
type overAgents struct {
	agents int
	from   float64                    // the first load
	to     float64                    // the highest
	slow   int                        // devices above which the hub is slow; 0 for never
	each   float64                    // processors that a device takes of its agent's two; 0 for next to nothing
	during func(s *swarm, number int) // is called as a trial begins
}

// laden is a machine of two processors of which each device that is connected takes a part; when it needs more than nine tenths of them, what it
// does is late.
type laden struct {
	each float64
	last time.Time
}

func (l *laden) Sample(connections int, _ time.Duration) (generator.Sample, error) {
	now := time.Now()
	x := generator.Sample{
		Elapsed: now.Sub(l.last), CPU: min(2, l.each*float64(connections)), Cores: 2, Processors: 2, MemoryLimit: 1e9, Memory: 1e8, MaxDescriptors: 1000,
	}
	if l.last.IsZero() {
		x.Elapsed = 0
	}
	if x.CPU > 1.8 {
		x.Late, x.Lag = time.Second, time.Second
	}
	l.last = now
	return x, nil
}

// led is the engine of a trial on agents.
type led struct {
	*engine.Engine
	agents *prepared
	end    func()
}

func (l led) Run(ctx context.Context) *report.Run {
	defer l.end()
	return l.Engine.Run(ctx)
}

func (l led) Unmade() (why error, final bool) { return l.agents.err, false }

// prepared notes why agents were not ready.
type prepared struct {
	engine.Agents
	err error
}

func (p *prepared) Prepare(ctx context.Context, w engine.Work) (start time.Time, err error) {
	start, p.err = p.Agents.Prepare(ctx, w)
	return start, p.err
}

func (x *overAgents) search(t *testing.T) (a *answer.Answer, err error) {
	t.Helper()
	s := &swarm{t: t, server: &membus.Server{}, token: seal.GenerateToken(), stops: make(map[string]context.CancelFunc)}
	defer s.over()
	var at atomic.Pointer[hub.Hub]
	for i := range x.agents {
		s.join(fmt.Sprintf("agent-%d", i+1), agent.Options{Sampler: &laden{each: x.each}, Dial: func(ctx context.Context) (net.Conn, error) { return at.Load().Dial(ctx) }})
	}
	b := s.server.Connect()
	defer b.Close()
	trials := 0
	found, err := session.New(session.Options{
		Load: func(set []string) (*scenario.Scenario, error) {
			return scenario.Decode("searched.yaml", []byte(searched), scenario.Options{Set: set})
		},
		Vary: trial.Devices, From: x.from, To: x.to, Precision: 0.2, Trial: trial.Options{Hold: 10 * time.Second, ConnectRate: 20}, Crew: agents.Crew{Agents: x.agents, Elsewhere: true},
		Start: func(o engine.Options) trial.Engine {
			trials++
			if x.during != nil {
				x.during(s, trials)
			}
			return x.start(t, s, &at, b, o, trials)
		},
		End: func(r trial.Record) {
			t.Logf("%2d %-8s %4.0f devices %-11s %-9s p50 %.4f lowest %.4f %4.0f s  %s", r.Number, r.Phase, r.Load, r.Verdict, r.Limit, r.P50, r.Lowest, r.Seconds, r.Why)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return found.Run(t.Context())
}

// start makes a hub and the engine of a trial.
func (x *overAgents) start(t *testing.T, s *swarm, at *atomic.Pointer[hub.Hub], b *membus.Conn, o engine.Options, number int) trial.Engine {
	h, err := hub.Open(t.Context(), hub.Options{NoPort: true})
	if err != nil {
		t.Fatal(err)
	}
	at.Store(h)
	d := 20 * time.Millisecond
	if x.slow > 0 && o.Scenario.Devices() > x.slow {
		d *= 2
	}
	h.Faults().Serve(&servicetime.Model{Servers: 100_000, Time: d})
	_, p, err := parcel.Pack("trial.yaml", o.Scenario.Source, scenario.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if o.Scenario, err = target.Elsewhere(o.Scenario, []connstring.Service{h.ConnectionString("iothubowner")}); err != nil {
		t.Fatal(err)
	}
	l, err := lead.New(lead.Options{Bus: b, Run: fmt.Sprintf("20261128-trial-%d", number), Token: s.token, Agents: x.agents, Parcel: p, Wait: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ready := &prepared{Agents: l}
	o.Agents = ready
	return led{engine.New(engine.InMemory(engine.Sampled(o, calm()), h.Dial)), ready, func() {
		l.Close()
		_ = h.Close()
	}}
}

// A search over agents finds what one in a process does.
func TestCapacityOverAgents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, err := (&overAgents{agents: 2, from: 25, slow: 53}).search(t)
		if err != nil || a.End != search.Found || a.Held > 53 || a.Missed <= 53 || a.Missed/a.Held > 1.21 || a.Need != nil {
			t.Errorf("%+v, %v; it holds 53", a.Answer, err)
		}
	})
}

// Agents of which each carries eighteen devices do not deliver forty, when there are two of them. What is said to be enough is enough.
func TestAgentsThatWouldDeliver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const each = 0.1 // processors a device
		a, err := (&overAgents{agents: 2, from: 20, each: each}).search(t)
		if err != nil || a.End != search.Generator || a.Held != 20 || a.Over != 40 || a.Need == nil {
			t.Fatalf("%+v, %+v, %v; two agents hold 36", a.Answer, a.Need, err)
		}
		lines := strings.Join(a.Need.Lines(a.Vary.Text), "\n")
		if n := a.Need; n.Machines != 3 || n.Local != 0 || n.NoLocal != "" || n.Cost.Each() < 0.95*each || n.Cost.Each() > 1.05*each {
			t.Errorf("%+v: %s", n, lines)
		}
		if want := "40 devices would be delivered by 3 agents"; !strings.Contains(lines, want) {
			t.Errorf("%s\nwant %q", lines, want)
		}
		if a, err = (&overAgents{agents: a.Need.Machines, from: 20, to: 40, each: each}).search(t); err != nil || a.End != search.AtLeast || a.Held != 40 {
			t.Errorf("%+v, %v; as many as were said do not deliver", a.Answer, err)
		}
	})
}

// An agent that dies in a search says nothing of the target, and no number of agents.
func TestCapacityLosesAnAgent(t *testing.T) {
	t.Parallel()
	for _, after := range []time.Duration{2 * time.Second, 20 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			a, err := (&overAgents{agents: 2, from: 10, during: func(s *swarm, number int) {
				if number == 2 {
					s.going.Go(func() {
						time.Sleep(after)
						s.stops["agent-2"]()
					})
				}
			}}).search(t)
			if err != nil || a.End != search.Generator || a.Held != 10 || a.Over != 20 || a.Missed != 0 || !strings.Contains(a.Why, "1 of 2 are there") {
				t.Errorf("after %s: %+v: %s, %v", after, a.Answer, a.Why, err)
			}
			if a.Need == nil || a.Need.Machines != 0 || !strings.Contains(a.Need.Unknown, "were not there") {
				t.Errorf("after %s: %+v", after, a.Need)
			}
		})
	}
}
