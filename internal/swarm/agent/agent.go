// Package agent is a process that runs devices of runs that others lead: it says who it is, proves that it knows the join token, says what it
// holds, takes its part of a fleet, and runs it.
package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/fit"
	"github.com/twinfleet/twinfleet/internal/generator/watch"
	"github.com/twinfleet/twinfleet/internal/host"
	"github.com/twinfleet/twinfleet/internal/swarm/bus"
	"github.com/twinfleet/twinfleet/internal/swarm/bus/counting"
	"github.com/twinfleet/twinfleet/internal/swarm/clock"
	"github.com/twinfleet/twinfleet/internal/swarm/protocol"
	"github.com/twinfleet/twinfleet/internal/swarm/seal"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/scenario"
	spec "github.com/twinfleet/twinfleet/scenario/target"
)

// Options of an Agent.
type Options struct {
	Bus     bus.Bus        // required
	Name    string         // no other agent's; as bus.Service.Instance is written; required
	Token   seal.Token     // that whoever gives it work must know; required
	Program string         // version of the program, for the record
	Machine report.Machine // where this is, for the record
	Logger  *slog.Logger   // nil logs nothing
	// Beside is how many agents there are on this machine, which share what it has; 1 when 0.
	Beside int
	// Ran, which may be nil, is told of each run that begins, and when it is over.
	Ran func(run string, over bool)
	// Tap, which may be nil, is told of each operation of its devices that has ended, of all runs; as metrics.Options.Tap is.
	Tap func(metrics.Ended)
	// Whole, which may be nil, is asked once the devices of a run have left whether all that Tap was told is kept: as raw.File.Whole answers. The
	// run's record says what is not, and a run of which an agent's file could not be written does not pass.
	Whole func() (note string, err error)

	Clock   clock.Clock                            // this machine's; time.Now when nil. Tests set it wrong
	Dial    link.Dialer                            // of tests: to the target; nil is the network
	DialTo  func(hub string) link.Dialer           // likewise, to one of several
	Sampler watch.Sampler                          // of tests; nil measures this process
	Driver  func(spec.DeviceTransport) link.Driver // of tests: of devices that speak a transport; nil is the scenario's client
}

// Agent serves coordinators, one after the other.
type Agent struct {
	o     Options
	log   *slog.Logger
	keys  seal.KeyPair
	facts host.Facts
	pack  *protocol.Packer

	control control // what coordination takes

	mu      sync.Mutex // protects session
	session *session   // nil while it is free

	running sync.WaitGroup // sessions
}

// New makes an Agent.
func New(o Options) (*Agent, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	keys, err := seal.NewKeyPair()
	if err != nil {
		return nil, err
	}
	facts, err := host.Read()
	if err != nil {
		return nil, fmt.Errorf("reading what this machine allows: %w", err)
	}
	pack, err := protocol.NewPacker()
	if err != nil {
		return nil, err
	}
	a := &Agent{o: o, log: o.Logger, keys: keys, facts: facts, pack: pack}
	a.control.traffic = counting.New(o.Bus)
	a.o.Bus = a.control.traffic
	return a, nil
}

// Run serves until ctx ends; then the devices of a run that goes on leave at once.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer a.running.Wait()
	defer cancel()
	served, err := a.o.Bus.Serve(bus.Service{
		Name: protocol.AgentService, Instance: a.o.Name, Version: "1.0.0",
		Metadata: map[string]string{"program": a.o.Program},
		Endpoints: map[string]func(context.Context, []byte) ([]byte, error){
			protocol.Hello:  answer(a.hello),
			protocol.Join:   answer(a.join),
			protocol.Load:   answer(a.load),
			protocol.Offer:  answer(a.offer),
			protocol.Assign: answer(func(_ context.Context, ask *protocol.AssignAsk) (*struct{}, error) { return a.assign(ctx, ask) }),
			protocol.Free:   answer(a.free),

			protocol.Exchange: a.exchange,
		},
	})
	if err != nil {
		return fmt.Errorf("serving as agent %s: %w", a.o.Name, err)
	}
	defer served.Stop()
	<-ctx.Done()
	return context.Cause(ctx)
}

// answer answers questions in JSON.
func answer[Ask, Answer any](by func(context.Context, *Ask) (*Answer, error)) func(context.Context, []byte) ([]byte, error) {
	return func(ctx context.Context, data []byte) ([]byte, error) {
		ask := new(Ask)
		if err := json.Unmarshal(data, ask); err != nil {
			return nil, &bus.Error{Code: bus.Invalid, Text: err.Error()}
		}
		out, err := by(ctx, ask)
		if err != nil {
			return nil, err
		}
		return json.Marshal(out)
	}
}

// errors of what is asked for.
var (
	errVersion = &bus.Error{Code: bus.Refused, Text: fmt.Sprintf("this agent speaks version %d of what runs on many machines; use the same version of the program everywhere", protocol.Version)}
	errSession = &bus.Error{Code: bus.Conflict, Text: "no such run was begun here"}
	errOrder   = &bus.Error{Code: bus.Conflict, Text: "something that comes before is missing"}
	errTold    = &bus.Error{Code: bus.Conflict, Text: "its last numbers are told"}
)

// hello begins a session, unless there is one of another run.
func (a *Agent) hello(_ context.Context, ask *protocol.HelloAsk) (*protocol.HelloAnswer, error) {
	if ask.Version != protocol.Version {
		return nil, errVersion
	}
	hello, err := a.o.Token.Hello(ask.Run, a.o.Name, a.keys.Public)
	if err != nil {
		return nil, err
	}
	out := &protocol.HelloAnswer{Version: protocol.Version, Program: a.o.Program, Machine: a.o.Machine, Join: hello}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch s := a.session; {
	case s != nil && s.runs() && s.id != ask.Run:
		out.Busy = s.id
	case s != nil && s.id == ask.Run:
		out.Busy = s.busy()
		s.greeted(hello)
	default: // also in place of one that came to nothing
		a.session = newSession(a, ask.Run, hello)
	}
	return out, nil
}

// of is the session of a run.
func (a *Agent) of(run string) (*session, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.session == nil || a.session.id != run {
		return nil, errSession
	}
	return a.session, nil
}

func (a *Agent) join(_ context.Context, ask *protocol.JoinAsk) (*protocol.JoinAnswer, error) {
	s, err := a.of(ask.Run)
	if err != nil {
		return nil, err
	}
	return s.join(ask)
}

func (a *Agent) load(_ context.Context, chunk *protocol.Chunk) (*struct{}, error) {
	s, err := a.of(chunk.Run)
	if err != nil {
		return nil, err
	}
	return &struct{}{}, s.load(chunk)
}

func (a *Agent) offer(_ context.Context, ask *protocol.OfferAsk) (*protocol.OfferAnswer, error) {
	s, err := a.of(ask.Run)
	if err != nil {
		return nil, err
	}
	return s.offer(ask)
}

// assign begins the run; ctx is the agent's.
func (a *Agent) assign(ctx context.Context, ask *protocol.AssignAsk) (*struct{}, error) {
	s, err := a.of(ask.Run)
	if err != nil {
		return nil, err
	}
	work, err := s.assign(ctx, ask)
	if err != nil || work == nil {
		return &struct{}{}, err
	}
	a.running.Go(func() {
		if a.o.Ran != nil {
			a.o.Ran(s.id, false)
			defer a.o.Ran(s.id, true)
		}
		work.run(ctx)
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.session == s {
			a.session = nil
		}
	})
	return &struct{}{}, nil
}

// free ends a session that has not begun to run.
func (a *Agent) free(_ context.Context, ask *protocol.FreeAsk) (*struct{}, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.session; s != nil && s.id == ask.Run && !s.runs() {
		a.session = nil
	}
	return &struct{}{}, nil
}

// room is how many devices of a scenario this agent holds.
func (a *Agent) room(sc *scenario.Scenario) fit.Room {
	return fit.Hold(sc, a.facts, max(1, a.o.Beside))
}

// errUnready is why an agent cannot do what it was asked for.
func unready(format string, args ...any) error {
	return &bus.Error{Code: bus.Failed, Text: fmt.Errorf(format, args...).Error()}
}

// ErrGone is why a run ended here: its coordinator is gone.
var ErrGone = errors.New("nothing was heard of the coordinator")
