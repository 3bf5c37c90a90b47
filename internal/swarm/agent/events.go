package agent

import (
	"context"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/swarm/protocol"
	"github.com/twinfleet/twinfleet/internal/swarm/runner"
	"github.com/twinfleet/twinfleet/internal/wait"
)

// events are what devices learnt and the coordinator does not know yet. They are told in their order, each batch until it has been heard.
type events struct {
	work   *work
	follow map[int]bool

	count atomic.Int64           // devices with an acknowledged report
	first sync.Map               // which: by index
	last  atomic.Pointer[string] // what the last of them said

	sending chan struct{} // one batch at a time: holds one while one is told
	news    chan struct{} // that there is something to tell; holds one

	mu      sync.Mutex // protects the following fields
	waiting []protocol.Event
	within  []time.Duration // by how much the times of each of them may be wrong
	missed  uint64          // for want of room
	number  uint64          // of the last batch that was heard
	telling bool            // the next one was told, and may have been heard
	told    int             // and had so many events: it is told as it was
}

const (
	eventsEvery = 100 * time.Millisecond // between two batches, at least
	quietEvery  = time.Second            // between two when there is nothing to tell but that: results of queries wait for it
	mostEvents  = 200_000                // wait at most: a minute of many
	mostBatch   = 2_000                  // in a batch
)

func newEvents(w *work, follow []int) *events {
	e := &events{work: w, follow: make(map[int]bool, len(follow)), news: make(chan struct{}, 1), sending: make(chan struct{}, 1)}
	for _, i := range follow {
		e.follow[i] = true
	}
	return e
}

// add adds an event, whose times may be wrong by so much, unless there is no room.
func (e *events) add(x protocol.Event, within time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.waiting) >= mostEvents {
		e.missed++
		return
	}
	e.addLocked(x, within)
	e.tell()
}

func (e *events) addLocked(x protocol.Event, within time.Duration) {
	e.waiting, e.within = append(e.waiting, x), append(e.within, within)
}

func (e *events) reporting(index int, sent time.Time) {
	if e.follow[index] {
		at, within := e.work.times.told(sent)
		e.add(protocol.Event{Reporting: &protocol.Reporting{Index: index, Sent: at}}, within)
	}
}

func (e *events) reported(r fleet.Report) {
	if r.Version > 0 {
		if _, known := e.first.LoadOrStore(r.Index, struct{}{}); !known {
			e.count.Add(1)
			e.work.adopted.reports(r.Index)
		}
		if said := r.Connectivity; said != "" {
			e.last.Store(&said)
		}
	}
	if e.follow[r.Index] || r.Answered > 0 {
		within := e.tellOf(&r)
		e.add(protocol.Event{Reported: &r}, within)
	}
}

func (e *events) desired(u fleet.DesiredUpdate) {
	at, within := e.work.times.told(u.At)
	u.At = at
	e.add(protocol.Event{Desired: &u}, within)
}

// tellOf has the times of a report as the run's clock has them, and says by how much they may be wrong.
func (e *events) tellOf(r *fleet.Report) time.Duration {
	var acked, sent time.Duration
	r.Acked, acked = e.work.times.told(r.Acked)
	r.Sent, sent = e.work.times.told(r.Sent)
	return max(acked, sent)
}

func (e *events) contradiction(c fleet.Contradiction) {
	e.add(protocol.Event{Contradiction: &c}, 0)
}

// reporters is how many devices have had a report acknowledged, and what was said last.
func (e *events) reporters() (n int, last string) {
	if said := e.last.Load(); said != nil {
		last = *said
	}
	return int(e.count.Load()), last
}

// accounts adds what the twins of devices must be like that have stopped.
func (e *events) accounts(r *runner.Runner, mine iter.Seq[int]) {
	for i := range mine {
		if a := r.Fleet().Account(i); a.Sent > 0 {
			e.tellOf(&a.Last) // no result is judged by it
			e.mu.Lock()
			e.addLocked(protocol.Event{Account: &protocol.Account{Index: i, Account: a}}, 0) // all of them
			e.mu.Unlock()
		}
	}
}

// whole adds that what was told of the operations of devices is not all kept.
func (e *events) whole(ask func() (note string, err error)) {
	if ask == nil {
		return
	}
	note, err := ask()
	x := protocol.Raw{Text: note}
	if err != nil {
		x = protocol.Raw{Text: err.Error(), Broken: true}
	}
	if x.Text == "" {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.addLocked(protocol.Event{Raw: &x}, 0) // whatever the room
}

// send tells what there is, until ctx ends.
func (e *events) send(ctx context.Context) {
	for e.due(ctx) == nil {
		var left int
		var err error
		e.work.agent.control.spend(func() { left, err = e.batch(ctx) })
		if left > 0 {
			e.tell()
		}
		if err != nil && ctx.Err() == nil {
			e.work.agent.log.Debug("what devices learnt is not told yet", "error", err)
		}
	}
}

// tell says that there is something to tell.
func (e *events) tell() {
	select {
	case e.news <- struct{}{}:
	default:
	}
}

// due waits until a batch is to be told: soon when devices have learnt something, so that what they learn meanwhile goes with it; else once in a while.
func (e *events) due(ctx context.Context) error {
	quiet := time.NewTimer(quietEvery - eventsEvery)
	defer quiet.Stop()
	select {
	case <-e.news:
	case <-quiet.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return wait.For(ctx, e.pause())
}

// pause is how long is waited before a batch, at least: longer while nothing is heard of the coordinator, as each is made for nothing then.
func (e *events) pause() time.Duration {
	if e.work.silent() > soonGone {
		return quietEvery
	}
	return eventsEvery
}

// lingering is how long an agent whose devices have left keeps what it knows for a coordinator that takes the run over.
const lingering = 10 * time.Minute

// flush tells all that there is.
func (e *events) flush(ctx context.Context) error {
	for {
		var left int
		var err error
		e.work.agent.control.spend(func() { left, err = e.batch(ctx) })
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && e.work.silent() > lingering:
			return ErrGone
		case err != nil:
			if err := wait.For(ctx, e.pause()); err != nil {
				return err
			}
		case left == 0:
			return nil
		}
	}
}

// batchTimeout is how long a batch may take to be heard before it is told once more.
const batchTimeout = 2 * time.Second

// batch tells the first of what there is, and how much is left.
func (e *events) batch(ctx context.Context) (left int, err error) {
	select {
	case e.sending <- struct{}{}:
		defer func() { <-e.sending }()
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	e.mu.Lock()
	until := time.Now()
	n := min(len(e.waiting), mostBatch)
	if e.telling {
		n = e.told
	}
	e.telling, e.told = true, n
	b := protocol.Batch{Agent: e.work.agent.o.Name, Number: e.number + 1, Events: e.waiting[:n:n], Missed: e.missed}
	if n > 0 {
		b.Within = slices.Max(e.within[:n])
	}
	if n == len(e.waiting) {
		var within time.Duration
		b.Until, within = e.work.times.told(until)
		b.Within = max(b.Within, within)
	}
	e.mu.Unlock()
	data, err := e.work.agent.pack.Pack(&b)
	if err != nil {
		return 0, err
	}
	asking, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	if _, err = e.work.agent.o.Bus.Ask(asking, coordinator(e.work.session.id), protocol.Events, data); err != nil {
		return 0, err
	}
	e.work.heard()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.number++
	e.telling = false
	e.waiting, e.within = e.waiting[n:], e.within[n:]
	if len(e.waiting) == 0 {
		e.waiting, e.within = nil, nil
	}
	return len(e.waiting), nil
}
