package lead

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/swarm/bus"
	"github.com/twinfleet/twinfleet/internal/swarm/bus/membus"
	"github.com/twinfleet/twinfleet/internal/swarm/cut"
	"github.com/twinfleet/twinfleet/internal/swarm/protocol"
	"github.com/twinfleet/twinfleet/internal/swarm/seal"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

// newTestLead leads stages of 10 s each but the last, a, b and c, of which the first begins at a time and the others are not told.
func newTestLead(t *testing.T, o Options, start time.Time) *Lead {
	t.Helper()
	b := (&membus.Server{}).Connect()
	t.Cleanup(func() { _ = b.Close() })
	o.Bus, o.Run = b, "r"
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	l.work.Scenario = &scenario.Scenario{Stages: []scenario.Stage{{Name: "a", Duration: 10 * time.Second}, {Name: "b", Duration: 10 * time.Second}, {Name: "c"}}}
	l.begins[0] = start
	return l
}

// What happened first is named first: that an agent was lost, then that others were late, whatever their names.
func TestDoubtNamesLossesFirst(t *testing.T) {
	start := time.Now()
	l := newTestLead(t, Options{OnLoss: Continue}, start)
	late := protocol.Now{Doubts: map[string]string{"b": "it was late"}}
	l.agents = []*agent{
		{name: "agent-1", now: late},
		{name: "agent-2", now: late},
		{name: "agent-3", now: late},
		{name: "agent-9", lost: &loss{stage: "b", devices: 1200, why: "its process ended"}},
	}
	for stage, want := range map[string]string{
		"a": "",
		"b": "agent agent-9 was lost with 1,200 devices: its process ended; agent agent-1: it was late; agent agent-2: it was late; and 1 more",
		"c": "agent agent-9 was lost with 1,200 devices: its process ended",
	} {
		if got := l.Doubt(stage); got != want {
			t.Errorf("stage %s: %q; want %q", stage, got, want)
		}
	}
}

// A loss spoils the stages in which devices were missing: until others have them, or to the end.
func TestStagesThatALossSpoils(t *testing.T) {
	start := time.Now()
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	for _, tt := range []struct {
		name      string
		choice    string
		at, known int // seconds after the start
		left      bool
		spoilt    string
	}{
		{"before the first stage", Continue, -1, 2, false, "abc"},
		{"in the second", Continue, 12, 15, false, "bc"},
		{"others have the devices in the same stage", Redistribute, 12, 15, false, "b"},
		{"they have them in the next one", Redistribute, 9, 12, false, "ab"},
		{"its devices left, and nobody takes them over", Redistribute, 9, 12, true, "abc"},
		{"in the last", Fail, 40, 43, false, "c"},
	} {
		l := newTestLead(t, Options{OnLoss: tt.choice}, start)
		x := &loss{at: at(tt.at), known: at(tt.known), stage: l.stageAt(at(tt.at)), here: tt.left}
		spoilt := ""
		for _, stage := range []string{"a", "b", "c", "none"} {
			if l.spoils(x, stage) {
				spoilt += stage
			}
		}
		if spoilt != tt.spoilt {
			t.Errorf("%s: %s spoilt; want %s", tt.name, spoilt, tt.spoilt)
		}
	}
}

func TestListed(t *testing.T) {
	for n, want := range map[int]string{1: "a", 2: "a, b", 6: "a, b, c, d, e, f", 7: "a, b, c, d, e and 2 others"} {
		if got := listed([]string{"a", "b", "c", "d", "e", "f", "g"}[:n]); got != want {
			t.Errorf("%d: %q; want %q", n, got, want)
		}
	}
}

// A run does not wait for an agent whose process has ended before it was there.
func TestAgentEndsBeforeTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := (&membus.Server{}).Connect()
		defer b.Close()
		l, err := New(Options{Bus: b, Run: "r", Token: seal.GenerateToken(), Agents: 2})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		began := time.Now()
		time.AfterFunc(3*time.Second, func() { l.Lose("agent-2", "its process ended: exit status 2") })
		_, err = l.Prepare(t.Context(), engine.Work{Scenario: &scenario.Scenario{}})
		if !errors.Is(err, ErrAgents) || !strings.Contains(err.Error(), "agent agent-2: its process ended: exit status 2") || time.Since(began) > 5*time.Second {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
	})
}

// A coordinator that stood still holds no agent for lost before it had as long to be heard as in the beginning: the connection of both was gone.
func TestNobodyIsLostAfterAStandstill(t *testing.T) {
	start := time.Now()
	l := newTestLead(t, Options{Silence: 3 * time.Second}, start)
	l.upSince, l.agents = start, []*agent{{name: "agent-1", heard: start}}
	for _, x := range []struct {
		at, echo time.Duration
		lost     int
	}{
		{time.Second, 900 * time.Millisecond, 0},
		{20 * time.Second, 900 * time.Millisecond, 0}, // it wakes
		{20250 * time.Millisecond, 20100 * time.Millisecond, 0},
		{23 * time.Second, 22900 * time.Millisecond, 0},
		{24 * time.Second, 23900 * time.Millisecond, 1},
	} {
		l.echo = start.Add(x.echo)
		if names := l.silent(start.Add(x.at)); len(names) != x.lost {
			t.Errorf("after %s: %q are lost", x.at, names)
		}
	}
}

// Who takes nothing over of an agent that was lost is sent nothing to open: it would keep it, loss after loss, until it took no more.
func TestOnlyHeirsAreSentIdentities(t *testing.T) {
	l := newTestLead(t, Options{OnLoss: Redistribute, Token: seal.GenerateToken()}, time.Now())
	var err error
	if l.cut, err = cut.New([]cut.Group{{Count: 30}}, []cut.Agent{{Name: "a", Capacity: 30}, {Name: "full", Capacity: 5}, {Name: "heir", Capacity: 30}}); err != nil {
		t.Fatal(err)
	}
	l.work.Prove = func([]int) ([]byte, error) { return []byte("secret"), nil }
	l.work.OnLoss = func(string, string, int, time.Time) {}
	sent := new(sync.Map)
	for _, name := range []string{"a", "full", "heir"} {
		keys, err := seal.NewKeyPair()
		if err != nil {
			t.Fatal(err)
		}
		a := &agent{name: name}
		a.hello.Join.Key = keys.Public
		l.agents = append(l.agents, a)
		served, err := l.o.Bus.Serve(bus.Service{Name: protocol.AgentService, Instance: name, Version: "1.0.0", Endpoints: map[string]func(context.Context, []byte) ([]byte, error){
			protocol.Load: func(context.Context, []byte) ([]byte, error) {
				sent.Store(name, true)
				return []byte("{}"), nil
			},
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer served.Stop()
	}
	l.agents[0].lost = &loss{why: "its process ended"}
	go l.without(l.agents[0])()
	order := <-l.orders
	if len(order.Cut) == 0 {
		t.Fatal("nobody takes its devices over")
	}
	for _, name := range []string{"full", "heir"} {
		gains := len(slices.Collect(l.cut.Gained(name, l.cut.Epoch()-1))) > 0
		if _, was := sent.Load(name); was != gains || gains != (name == "heir") {
			t.Errorf("%s: something was sent: %t; it takes devices over: %t", name, was, gains)
		}
	}
}
