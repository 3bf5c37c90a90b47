package agent

import (
	"context"
	"encoding/json"
	"maps"
	"sync"

	"github.com/twinfleet/twinfleet/internal/fit"
	"github.com/twinfleet/twinfleet/internal/iothub/connstring"
	"github.com/twinfleet/twinfleet/internal/swarm/cut"
	"github.com/twinfleet/twinfleet/internal/swarm/parcel"
	"github.com/twinfleet/twinfleet/internal/swarm/protocol"
	"github.com/twinfleet/twinfleet/internal/swarm/seal"
	"github.com/twinfleet/twinfleet/internal/target"
	"github.com/twinfleet/twinfleet/scenario"
	spec "github.com/twinfleet/twinfleet/scenario/target"
)

// session is what an agent has of one run.
type session struct {
	agent *Agent
	id    string

	mu     sync.Mutex // protects the following fields
	hello  seal.Hello
	joined bool // the coordinator knows the token
	loads  map[load][][]byte
	sc     *scenario.Scenario // once it was offered
	work   *work              // once it runs
}

// load is something that is being loaded.
type load struct {
	kind  string
	epoch int
}

func newSession(a *Agent, run string, hello seal.Hello) *session {
	return &session{agent: a, id: run, hello: hello, loads: make(map[load][][]byte)}
}

// runs reports whether the run has begun here.
func (s *session) runs() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.work != nil
}

// busy is the run, if it has begun here.
func (s *session) busy() string {
	if s.runs() {
		return s.id
	}
	return ""
}

// greeted begins to join anew: another coordinator leads the run.
func (s *session) greeted(hello seal.Hello) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hello, s.joined = hello, false
}

// join takes the coordinator for one if it knows the token.
func (s *session) join(ask *protocol.JoinAsk) (*protocol.JoinAnswer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, err := s.agent.o.Token.Confirm(s.hello, ask.Welcome)
	if err != nil {
		return nil, err
	}
	s.joined = true
	return &protocol.JoinAnswer{Confirmation: x}, nil
}

// mostChunks bounds what is loaded.
const mostChunks = 4096

// mostLoads bounds what is loaded and not opened yet: there are few kinds, and of an epoch that has come nothing is kept.
const mostLoads = 8

// load keeps a piece of something. It cannot be opened before all of it is there.
func (s *session) load(c *protocol.Chunk) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.joined || c.Count < 1 || c.Count > mostChunks || c.Number < 0 || c.Number >= c.Count {
		return errOrder
	}
	k := load{c.Kind, c.Epoch}
	if s.loads[k] == nil && len(s.loads) == mostLoads {
		return errOrder
	}
	if len(s.loads[k]) != c.Count {
		s.loads[k] = make([][]byte, c.Count)
	}
	s.loads[k][c.Number] = c.Sealed
	return nil
}

// open opens what was loaded, which is kept no more. The caller holds the lock.
func (s *session) open(kind string, epoch int) ([]byte, error) {
	k := load{kind, epoch}
	chunks := s.loads[k]
	for _, c := range chunks {
		if c == nil {
			return nil, errOrder
		}
	}
	delete(s.loads, k)
	return s.agent.o.Token.Open(s.agent.keys, seal.Binding{Run: s.id, Agent: s.agent.o.Name, Epoch: epoch, Purpose: kind}, chunks)
}

// forget drops what was loaded of a kind for an epoch or one before, opened or not.
func (s *session) forget(kind string, epoch int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.loads, func(k load, _ [][]byte) bool { return k.kind == kind && k.epoch <= epoch })
}

// offer reads the scenario and says how much of it this agent holds.
func (s *session) offer(ask *protocol.OfferAsk) (*protocol.OfferAnswer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.work != nil {
		return nil, errOrder
	}
	b, err := s.open(protocol.KindScenario, 0)
	if err != nil {
		return nil, err
	}
	p, err := parcel.Decode(b)
	if err != nil {
		return nil, err
	}
	if s.sc, err = read(p, ask); err != nil {
		return nil, unready("the scenario cannot be run here: %w", err)
	}
	room := s.agent.room(s.sc)
	return &protocol.OfferAnswer{Devices: room.Devices, Limit: room.By, Weight: s.agent.facts.Cores}, nil
}

// read reads a scenario as the coordinator has it, with hubs that are elsewhere.
func read(p *parcel.Parcel, ask *protocol.OfferAsk) (*scenario.Scenario, error) {
	sc, err := p.Open(ask.Override...)
	if err != nil || sc.Target.Kind != spec.Embedded {
		return sc, err
	}
	var hubs []connstring.Service
	for _, text := range ask.Places {
		c, err := connstring.ParseService(text)
		if err != nil {
			return nil, err
		}
		hubs = append(hubs, c)
	}
	return target.Elsewhere(sc, hubs)
}

// assign makes the devices that are this agent's. What it returns is to be run; nil when it runs already.
func (s *session) assign(ctx context.Context, ask *protocol.AssignAsk) (*work, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.work != nil:
		return nil, nil
	case s.sc == nil || !s.joined:
		return nil, errOrder
	}
	mine := new(cut.Cut)
	if err := json.Unmarshal(ask.Cut, mine); err != nil {
		return nil, err
	}
	name := s.agent.o.Name
	n := mine.Count(name)
	if err := s.agent.room(s.sc).Holds(n); err != nil {
		return nil, unready("%w", err)
	}
	b, err := s.open(protocol.KindIdentities, mine.Epoch())
	if err != nil {
		return nil, err
	}
	ids, err := target.ImportIdentities(s.sc, b)
	clear(b)
	if err != nil {
		return nil, err
	}
	s.agent.control.begin()
	w := newWork(s, ask, fit.ToPart(s.sc, s.agent.facts, n, s.agent.o.Beside), ids, mine)
	if err := w.open(ctx); err != nil {
		return nil, unready("%w", err)
	}
	s.work = w
	return w, nil
}
