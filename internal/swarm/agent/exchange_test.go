package agent

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/swarm/bus"
	"github.com/twinfleet/twinfleet/internal/swarm/bus/counting"
	"github.com/twinfleet/twinfleet/internal/swarm/bus/membus"
	"github.com/twinfleet/twinfleet/internal/swarm/clock"
	"github.com/twinfleet/twinfleet/internal/swarm/cut"
	"github.com/twinfleet/twinfleet/internal/swarm/protocol"
	"github.com/twinfleet/twinfleet/internal/swarm/runner"
	"github.com/twinfleet/twinfleet/scenario"
)

// What subscribers got and the agent that has the publisher never heard of is doubted: a duplicate among it was counted by nobody. One that has left is
// told as long as it counts.
func TestLastArrivals(t *testing.T) {
	for name, tt := range map[string]struct {
		over    bool  // the other has left
		answers error // of the other; errNone when nobody answers
		told    bool
		arrival bool
	}{
		"heard": {false, nil, true, true}, "heard after it left": {true, nil, true, true}, "nobody there": {false, errNone, false, true},
		"gone": {true, errNone, false, true}, "its numbers are told": {true, errTold, false, true}, "nothing to tell": {false, errNone, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := (&membus.Server{}).Connect()
				defer b.Close()
				var heard []fleet.Arrival
				if !errors.Is(tt.answers, errNone) {
					served, err := b.Serve(bus.Service{Name: protocol.AgentService, Instance: "b", Version: "1.0.0", Endpoints: map[string]func(context.Context, []byte) ([]byte, error){
						protocol.Exchange: func(_ context.Context, data []byte) ([]byte, error) {
							x, err := protocol.ReadExchanged(data)
							if err == nil && tt.answers == nil {
								heard = append(heard, x.Arrivals...)
							}
							return nil, errors.Join(err, tt.answers)
						},
					}})
					if err != nil {
						t.Fatal(err)
					}
					defer served.Stop()
				}
				w, whole := ofTwo(t, b)
				e := newExchange(w)
				e.fleet.Store(new(fleet.Fleet))
				p := e.peers["b"]
				p.stands.Over = tt.over
				if tt.arrival {
					e.arrived(fleet.Arrival{Publisher: theirs(t, whole), Subscriber: 1, At: time.Now()})
				}
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				e.tellAll(ctx)
				if doubt := e.doubt("load"); (doubt == "") != tt.told || tt.arrival && tt.told != (len(heard) == 1) {
					t.Errorf("%q, heard %v", doubt, heard)
				}
			})
		})
	}
}

// ofTwo is the work of agent a, beside agent b.
func ofTwo(t *testing.T, b bus.Bus) (*work, *cut.Cut) {
	t.Helper()
	whole, err := cut.New([]cut.Group{{Count: 8}}, []cut.Agent{{Name: "a", Capacity: 8, Weight: 1}, {Name: "b", Capacity: 8, Weight: 1}})
	if err != nil {
		t.Fatal(err)
	}
	w := &work{
		session: &session{id: "r"}, agent: &Agent{o: Options{Name: "a", Bus: b}, log: slog.New(slog.DiscardHandler)}, runner: new(runner.Runner),
		sc: &scenario.Scenario{Stages: []scenario.Stage{{Name: "load"}}},
	}
	w.agent.control.traffic = counting.New(b)
	w.times.add(clock.Estimate{At: time.Now()}, time.Now)
	w.cut.Store(whole)
	w.sc.Fleet.Groups = []scenario.Group{{Telemetry: scenario.Telemetry{Deliveries: 1}}}
	return w, whole
}

// That a subscriber has left, or what one got, is doubted when others hear of it too late; that one is there may be heard late.
func TestLateNews(t *testing.T) {
	for _, tt := range []struct {
		name    string
		news    fleet.Listener
		arrival bool
		after   time.Duration
		doubted bool
	}{
		{"it is there", fleet.Listener{There: true, Connected: true}, false, 10 * time.Second, false},
		{"it has left", fleet.Listener{}, false, 10 * time.Second, true},
		{"it is away", fleet.Listener{There: true}, false, 10 * time.Second, true},
		{"it has left, and that is heard", fleet.Listener{}, false, time.Second, false},
		{"it got something", fleet.Listener{There: true, Connected: true}, true, 10 * time.Second, true},
		{"it got something, and that is heard", fleet.Listener{There: true, Connected: true}, true, time.Second, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, began := (&membus.Server{}).Connect(), time.Now()
				defer b.Close()
				served, err := b.Serve(bus.Service{Name: protocol.AgentService, Instance: "b", Version: "1.0.0", Endpoints: map[string]func(context.Context, []byte) ([]byte, error){
					protocol.Exchange: func(context.Context, []byte) ([]byte, error) {
						if time.Since(began) < tt.after {
							return nil, errOrder
						}
						return nil, nil
					},
				}})
				if err != nil {
					t.Fatal(err)
				}
				defer served.Stop()
				w, whole := ofTwo(t, b)
				e := newExchange(w)
				e.fleet.Store(new(fleet.Fleet))
				e.listens(tt.news)
				if tt.arrival {
					e.arrived(fleet.Arrival{Publisher: theirs(t, whole), Subscriber: 1, At: time.Now()})
				}
				e.tellAll(t.Context())
				if doubt := e.doubt("load"); (doubt != "") != tt.doubted {
					t.Errorf("%q", doubt)
				}
			})
		})
	}
}

// theirs is a device of agent b.
func theirs(t *testing.T, c *cut.Cut) int {
	t.Helper()
	for i := range c.Of("b") {
		return i
	}
	t.Fatal("b has none")
	return 0
}

var errNone = errors.New("no agent")
