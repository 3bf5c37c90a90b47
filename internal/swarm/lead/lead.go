// Package lead is the coordinator of a run on many machines, as the engine sees it: agents that run the devices, and what is known of them.
package lead

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/swarm/bus"
	"github.com/twinfleet/twinfleet/internal/swarm/cut"
	"github.com/twinfleet/twinfleet/internal/swarm/figures"
	"github.com/twinfleet/twinfleet/internal/swarm/parcel"
	"github.com/twinfleet/twinfleet/internal/swarm/protocol"
	"github.com/twinfleet/twinfleet/internal/swarm/seal"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

// Choices of what becomes of a run that loses an agent.
const (
	Continue     = "continue"     // the run goes on without its devices
	Redistribute = "redistribute" // others take its devices over
	Fail         = "fail"         // the run ends
)

// Options of a Lead.
type Options struct {
	Bus    bus.Bus        // required
	Run    string         // the run's id: letters, digits and -; required
	Token  seal.Token     // that agents must know; required
	Agents int            // how many are waited for; 1 when 0
	Parcel *parcel.Parcel // the scenario as agents read it; required
	// Override is keys of the scenario that are others than in its text, as scenario.Options.Set.
	Override []string
	OnLoss   string        // what becomes of the run when an agent is lost; Fail when empty
	Alone    string        // what agents do when nothing is heard of the coordinator: finish or stop; finish when empty
	Wait     time.Duration // for the agents, at most; a minute when 0
	Logger   *slog.Logger  // nil logs nothing
	// Tell, which may be nil, is told how far the preparations are.
	Tell func(text string)

	// The following are for tests; the usual values stand beside them.
	Lead    time.Duration // engine.Agents.Lead: a second
	Silence time.Duration // after how long of it an agent is lost: 3 s
	Patient time.Duration // likewise, for agents, the coordinator: 15 s
}

// Errors of a Lead.
var (
	// ErrAgents is the class of errors of agents that are not there, or cannot do what they must.
	ErrAgents = errors.New("the run's agents are not ready")
	// ErrLost is why a run ends that lost an agent.
	ErrLost = errors.New("an agent was lost")
	// ErrMissing is why a run cannot pass whose agents could not say in the end what they had measured last.
	ErrMissing = errors.New("the last figures of agents are missing")
)

// Lead leads the agents of one run. It is an engine.Agents.
type Lead struct {
	o    Options
	log  *slog.Logger
	pack *protocol.Packer
	work engine.Work

	store  bus.Store
	ctx    context.Context // of what goes on in the background; ends with Close
	cancel context.CancelFunc
	going  sync.WaitGroup
	ends   []bus.Subscription

	orders  chan protocol.Order // to be written
	records chan []byte         // likewise
	keeper  *figures.Keeper     // of this process' own numbers
	past    *past               // of a run that is taken over; nil for one that begins
	taking  sync.Mutex          // one figure of an agent at a time; protects agent.taken
	// judging is held for reading while what devices learnt is handed on, and for writing from when an agent is lost until Work.OnLoss knows it:
	// nothing is judged in between as if all were known. It is locked before the others.
	judging sync.RWMutex

	mu       sync.Mutex // protects the following fields
	agents   []*agent   // by name
	cut      *cut.Cut
	begins   map[int]time.Time // of stages, as they were told, by number
	loss     error
	ended    map[string]string // agents that are no more and were not part of the run yet, and why, by name
	accounts map[int]fleet.Account
	echo     time.Time               // when the Lead last heard itself
	hearing  time.Time               // since when it hears itself; zero while it does not
	upSince  time.Time               // since when the connection stands; zero while it does not
	downAt   time.Time               // since when it does not; zero while it stands
	leaving  bool                    // devices are told to leave
	hears    time.Time               // when this process last heard itself, or began to wait for the last of what agents know
	giveUp   context.CancelCauseFunc // ends that wait; nil before
	changed  chan struct{}           // closed at the next change of what is known of agents
}

var _ engine.Agents = (*Lead)(nil)

// agent is what is known of one.
type agent struct {
	name   string
	hello  protocol.HelloAnswer
	offer  protocol.OfferAnswer
	first  int // devices that it began with
	part   *metrics.Part
	status protocol.Status

	connected int // of its devices, before they were told to leave

	heard   time.Time // when it last said something; zero before
	now     protocol.Now
	batches uint64         // that were heard
	until   time.Time      // of what it has told of its devices
	within  margins        // by how much the times of that may be wrong
	lost    *loss          // nil while it has its devices
	taken   map[int]uint64 // revisions of the figures that were taken, by stage; -1 is what there is once
}

// New makes a Lead. Close must be called.
func New(o Options) (*Lead, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Tell == nil {
		o.Tell = func(string) {}
	}
	or := func(d *time.Duration, usual time.Duration) {
		if *d == 0 {
			*d = usual
		}
	}
	or(&o.Lead, time.Second)
	or(&o.Silence, 3*time.Second)
	or(&o.Patient, 15*time.Second)
	or(&o.Wait, time.Minute)
	if o.OnLoss == "" {
		o.OnLoss = Fail
	}
	if o.Alone == "" {
		o.Alone = protocol.Finish
	}
	o.Agents = max(1, o.Agents)
	pack, err := protocol.NewPacker()
	if err != nil {
		return nil, err
	}
	l := &Lead{o: o, log: o.Logger, pack: pack, orders: make(chan protocol.Order, 1024), records: make(chan []byte, 1), accounts: make(map[int]fleet.Account), begins: make(map[int]time.Time), ended: make(map[string]string), changed: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l, nil
}

// Close ends what goes on, and waits for it.
func (l *Lead) Close() {
	l.cancel()
	for _, x := range l.ends {
		x.Stop()
	}
	l.going.Wait()
}

// Lead is how long before its time something is told.
func (l *Lead) Lead() time.Duration { return l.o.Lead }

// say puts an order on the plan, in its turn, however long the connection is away.
func (l *Lead) say(o protocol.Order) {
	select {
	case l.orders <- o:
	case <-l.ctx.Done():
	}
}

// write writes the plan.
func (l *Lead) write() {
	for n := 0; ; n++ {
		var o protocol.Order
		select {
		case o = <-l.orders:
		case <-l.ctx.Done():
			return
		}
		if err := l.put(l.ctx, &o, n); err != nil && l.ctx.Err() == nil {
			l.log.Error("the plan of the run cannot be written", "order", o.Kind, "error", err)
			l.heed(err)
		}
	}
}

// put writes an order, unless it is there.
func (l *Lead) put(ctx context.Context, o *protocol.Order, n int) error {
	text, err := marshal(o)
	if err != nil {
		return err
	}
	_, err = l.store.Create(ctx, protocol.OrderKey(o, n), text)
	if errors.Is(err, bus.ErrExists) {
		return nil
	}
	return err
}

// Stage has a stage begin at a time.
func (l *Lead) Stage(number int, at time.Time) {
	l.mu.Lock()
	l.begins[number] = at
	l.mu.Unlock()
	l.say(protocol.Order{Kind: protocol.StageAt, Stage: number, At: at})
}

// End has nothing be due from a time on.
func (l *Lead) End(at time.Time) { l.say(protocol.Order{Kind: protocol.EndAt, At: at}) }

// Fail ends the run for a reason that is no agent's, unless it ends already: what it was started with is no more.
func (l *Lead) Fail(why error) {
	l.mu.Lock()
	if l.loss == nil {
		l.loss = why
	}
	l.changedLocked()
	leads := len(l.agents) > 0
	l.mu.Unlock()
	if leads { // else Prepare heeds it
		l.work.OnFail(why)
	}
}

// changedLocked tells those who wait that something is known. The caller holds the lock.
func (l *Lead) changedLocked() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// until waits until something is so of the agents, which it sees under the lock.
func (l *Lead) until(ctx context.Context, so func() bool) error {
	for {
		l.mu.Lock()
		done, changed := so(), l.changed
		l.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// finishing is how long agents that were told to leave at once may take to say what they know.
const finishing = 10 * time.Second

// Stop has all devices leave, and returns when they have and all is known. It gives up after a bounded time: when it has heard nothing for
// lastWord, or when ctx ends and agents have not said within finishing what became of their devices. Then Loss says whose figures are missing.
func (l *Lead) Stop(ctx context.Context) {
	hearing, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	l.mu.Lock()
	none := len(l.agents) == 0
	l.leaving, l.hears, l.giveUp = true, time.Now(), giveUp
	l.mu.Unlock()
	if none {
		return
	}
	l.say(protocol.Order{Kind: protocol.Leave, At: time.Now()})
	over := func() bool {
		return !slices.ContainsFunc(l.agents, func(a *agent) bool { return !a.told() })
	}
	err := l.until(hearing, over)
	switch {
	case err == nil:
		return
	case errors.Is(err, errDeaf):
		l.missing(errDeaf.Error())
		return
	}
	l.say(protocol.Order{Kind: protocol.Kill, At: time.Now()})
	patient, cancel := context.WithTimeout(l.ctx, finishing)
	defer cancel()
	if l.until(patient, over) != nil {
		l.missing("it did not say within " + human.Duration(finishing) + " what became of its devices")
	}
}

// Loss is why the run ends that lost an agent; nil when it goes on.
func (l *Lead) Loss() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.loss
}

func agentError(name string, err error) error {
	return fmt.Errorf("%w: agent %s: %w", ErrAgents, name, err)
}
