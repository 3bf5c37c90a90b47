package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/swarm/bus"
	"github.com/twinfleet/twinfleet/internal/swarm/protocol"
	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
)

// exchange is how the agents of a run measure deliveries from each to each: an agent tells others what its subscribers got of their devices, and which
// of its subscribers are there. A nil one does nothing.
type exchange struct {
	work   *work
	peers  map[string]*peer // the other agents, by name
	fleet  atomic.Pointer[fleet.Fleet]
	isOver atomic.Bool

	taking sync.Mutex // one message of others at a time; protects the following field
	closed bool       // no more of what others tell is counted

	mu      sync.Mutex // protects the following fields
	changed chan struct{}
	doubts  map[string]string // why what was measured of a stage may be wrong, by name
}

// peer is another agent of the run.
type peer struct {
	name    string
	news    chan struct{} // that there is something to tell; holds one
	urgent  chan struct{} // and that it is to be told at once
	sending chan struct{} // one message at a time: holds one while one is told

	mu        sync.Mutex // protects the following fields
	arrivals  []fleet.Arrival
	listeners []change
	stage     int                 // in which the first of all these came
	telling   *protocol.Exchanged // that was told and not heard, as far as is known: it is told as it was
	told      int                 // the stage in which the first of it came
	since     time.Time           // when the first came of what must not be told late; zero for none
	number    uint64              // of the last message that was heard
	heard     uint64              // of the last that came of it
	lost      bool
	stands    protocol.Status // the last; its At is by this process's clock, and as early as it may have been
}

// change is how a subscriber stands from a time on.
type change struct {
	fleet.Listener
	came time.Time // when it was told of, which may be later
}

const (
	exchangeEvery = 50 * time.Millisecond // between two messages to another agent, at least, but for who is there
	mostArrivals  = 500_000               // wait for another agent, at most
	mostExchanged = 8192                  // in a message
	lateExchange  = 2 * time.Second       // fleet.Others.Grace
)

// mostUnsure is by how much times of deliveries may be wrong at most, as those of what is judged of freshness.
const mostUnsure = time.Second

// newExchange is that of an agent's work; nil when no deliveries are measured, or there is no other agent.
func newExchange(w *work) *exchange {
	e := &exchange{work: w, peers: make(map[string]*peer), changed: make(chan struct{}), doubts: make(map[string]string)}
	for _, a := range w.cut.Load().Agents() {
		if a.Name != w.agent.o.Name {
			e.peers[a.Name] = &peer{name: a.Name, news: make(chan struct{}, 1), urgent: make(chan struct{}, 1), sending: make(chan struct{}, 1)}
		}
	}
	if len(e.peers) == 0 || !measures(w.sc) {
		return nil
	}
	return e
}

// measures reports whether deliveries are measured.
func measures(sc *scenario.Scenario) bool {
	for i := range sc.Fleet.Groups {
		if sc.Fleet.Groups[i].Measured() {
			return true
		}
	}
	return false
}

// hooks are those of the fleet.
func (e *exchange) hooks() *fleet.Others {
	if e == nil {
		return nil
	}
	return &fleet.Others{Arrived: e.arrived, Listens: e.listens, Open: e.open, Grace: lateExchange, Unsure: mostUnsure}
}

// begin begins to tell others, and to hear how they stand.
func (e *exchange) begin(ctx context.Context, f *fleet.Fleet, background *sync.WaitGroup) error {
	if e == nil {
		return nil
	}
	e.fleet.Store(f)
	w := e.work
	heard, err := w.agent.o.Bus.Subscribe(protocol.StatusSubject(w.session.id, "*"), e.stands)
	if err != nil {
		return fmt.Errorf("listening to the other agents: %w", err)
	}
	background.Go(func() {
		<-ctx.Done()
		heard.Stop()
	})
	for _, p := range e.peers {
		background.Go(func() { e.send(ctx, p) })
	}
	return nil
}

// arrived has the agent that runs a publisher told of a message of its.
func (e *exchange) arrived(a fleet.Arrival) {
	owner, ok := e.work.cut.Load().Owner(a.Publisher)
	p := e.peers[owner]
	if !ok || p == nil {
		return
	}
	p.mu.Lock()
	switch {
	case p.lost:
	case len(p.arrivals) >= mostArrivals:
		defer e.doubted(e.stage(), "there was no room for all that subscribers got"+mayCount)
	default:
		p.begins(e.stage())
		p.arrivals = append(p.arrivals, a)
	}
	p.mu.Unlock()
	tell(p.news)
}

// listens has all others told at once how a subscriber stands: what they send before they know is not expected to reach it.
func (e *exchange) listens(l fleet.Listener) {
	for _, p := range e.peers {
		p.mu.Lock()
		if !p.lost {
			p.begins(e.stage())
			p.listeners = append(p.listeners, change{l, time.Now()})
		}
		p.mu.Unlock()
		tell(p.urgent)
		tell(p.news)
	}
}

// begins notes the stage in which the first comes of what there is to tell. The caller holds the lock.
func (p *peer) begins(stage int) {
	if len(p.arrivals)+len(p.listeners) == 0 {
		p.stage = stage
	}
}

// matters notes when something came that must not be told late. The caller holds the lock.
func (p *peer) matters(since time.Time) {
	if p.since.IsZero() || since.Before(p.since) {
		p.since = since
	}
}

// tell says something to who waits for it, or will.
func tell(news chan struct{}) {
	select {
	case news <- struct{}{}:
	default:
	}
}

// open reports whether messages of others may be on their way, or, when all is over, may still be sent, as they stood at a time or later.
func (e *exchange) open(since time.Time, over bool) bool {
	for _, p := range e.peers {
		p.mu.Lock()
		s := &p.stands
		none := p.lost || s.Over || s.Undelivered == 0 && !(over && s.Talking > 0) && !s.At.Before(since)
		p.mu.Unlock()
		if !none {
			return true
		}
	}
	return false
}

// stands takes how another agent stands.
func (e *exchange) stands(subject string, data []byte) {
	p := e.peers[subject[strings.LastIndexByte(subject, '.')+1:]]
	var s protocol.Status
	if p == nil || json.Unmarshal(data, &s) != nil {
		return
	}
	at, within := e.work.times.here(s.At)
	s.At = at.Add(-within)
	p.mu.Lock()
	p.stands = s
	p.mu.Unlock()
	e.tellChanged()
}

// tellChanged wakes who waits for others.
func (e *exchange) tellChanged() {
	e.mu.Lock()
	defer e.mu.Unlock()
	close(e.changed)
	e.changed = make(chan struct{})
}

// lose notes that an agent is no more, since a time of the run's clock: none of its subscribers is there.
func (e *exchange) lose(agent string, at time.Time) {
	if e == nil || e.peers[agent] == nil {
		return
	}
	p := e.peers[agent]
	p.mu.Lock()
	p.lost, p.arrivals, p.listeners = true, nil, nil
	p.mu.Unlock()
	e.tellChanged()
	f := e.fleet.Load()
	if f == nil {
		return
	}
	e.taking.Lock()
	defer e.taking.Unlock()
	since, _ := e.work.times.here(at)
	for i := range e.work.cut.Load().Of(agent) {
		f.Hears(fleet.Listener{Subscriber: i, At: since, Since: time.Unix(0, 0)}) // what it got, and had no time to tell, nobody knows
	}
}

// exchange takes what another agent's subscribers got.
func (a *Agent) exchange(_ context.Context, data []byte) ([]byte, error) {
	x, err := protocol.ReadExchanged(data)
	if err != nil {
		return nil, &bus.Error{Code: bus.Invalid, Text: err.Error()}
	}
	s, err := a.of(x.Run)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	w := s.work
	s.mu.Unlock()
	if w == nil || w.others == nil {
		return nil, errOrder
	}
	a.control.spend(func() { err = w.others.take(x) })
	return nil, err
}

// take takes what another agent tells, once.
func (e *exchange) take(x *protocol.Exchanged) error {
	f, p := e.fleet.Load(), e.peers[x.From]
	if f == nil || p == nil {
		return errOrder
	}
	e.taking.Lock()
	defer e.taking.Unlock()
	p.mu.Lock()
	known, next, lost := x.Number <= p.heard, x.Number == p.heard+1, p.lost
	p.mu.Unlock()
	switch {
	case known, lost:
		return nil
	case e.closed:
		return errTold
	case !next:
		return errOrder
	}
	owner := e.work.cut.Load().Owner
	theirs := func(subscriber int) bool {
		name, ok := owner(subscriber)
		return ok && name == p.name
	}
	unsure := x.Within
	for _, l := range x.Listeners {
		if theirs(l.Subscriber) {
			var within time.Duration
			l.At, within = e.work.times.here(l.At)
			unsure = max(unsure, x.Within+within)
			if !l.Until.IsZero() {
				l.Until, _ = e.work.times.here(l.Until)
			}
			f.Hears(l)
		}
	}
	for _, a := range x.Arrivals {
		if theirs(a.Subscriber) && e.work.mine(a.Publisher) {
			var within time.Duration
			a.At, within = e.work.times.here(a.At)
			unsure = max(unsure, x.Within+within)
			f.Reached(a)
		}
	}
	if unsure > mostUnsure {
		e.doubted(e.stage(), "times of deliveries are known to ±"+human.Duration(unsure)+", as the clocks of agents are")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard = x.Number
	return nil
}

// send tells another agent what there is for it, until ctx ends.
func (e *exchange) send(ctx context.Context, p *peer) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-p.news:
		case <-ctx.Done():
			return
		}
		pause.Reset(exchangeEvery)
		select {
		case <-pause.C:
		case <-p.urgent:
		case <-ctx.Done():
			return
		}
		if e.flush(ctx, p) != nil {
			return
		}
	}
}

// flush tells another agent all that there is for it, however often it must be told.
func (e *exchange) flush(ctx context.Context, p *peer) error {
	for {
		var left int
		var err error
		e.work.agent.control.spend(func() { left, err = e.batch(ctx, p) })
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && p.gone(err):
			e.untold(p)
			return nil
		case err != nil:
			e.work.agent.log.Debug("what subscribers got is not told yet", "to", p.name, "error", err)
			if err := wait.For(ctx, 2*exchangeEvery); err != nil {
				return err
			}
		case left == 0:
			return nil
		}
	}
}

// gone reports whether another agent that could not be told something, for an error, will hear no more: it has counted all that it knows.
func (p *peer) gone(why error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	var refused *bus.Error
	return p.stands.Over && (errors.Is(why, bus.ErrNobody) || errors.As(why, &refused) && refused.Code == bus.Conflict)
}

// untold notes that another agent will not hear of what there is for it, which is dropped.
func (e *exchange) untold(p *peer) {
	p.mu.Lock()
	from, some := p.stage, len(p.arrivals) > 0
	if x := p.telling; x != nil {
		if len(x.Arrivals) > 0 {
			from, some = p.told, true
		}
		p.number = x.Number // it may have been heard: no other has its number
	}
	some = some && !p.lost
	p.arrivals, p.listeners, p.telling = nil, nil, nil
	p.mu.Unlock()
	if some {
		e.doubted(from, "not all that subscribers got was told other agents"+mayCount+", and duplicates may be missing")
	}
}

// batch tells another agent the first of what there is for it, and how much is left.
func (e *exchange) batch(ctx context.Context, p *peer) (left int, err error) {
	select {
	case p.sending <- struct{}{}:
		defer func() { <-p.sending }()
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	x, stage, since := e.next(p)
	if x == nil {
		return 0, nil
	}
	asking, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	if _, err = e.work.agent.o.Bus.Ask(asking, p.name, protocol.Exchange, x.AppendTo(nil)); err != nil {
		return 0, err
	}
	if late := time.Since(since); late > lateExchange && !since.IsZero() {
		e.doubted(stage, "what subscribers got, or which of them had left, was told other agents "+human.Duration(late)+" late"+mayCount)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.number, p.telling = x.Number, nil
	return len(p.arrivals) + len(p.listeners), nil
}

// next is what another agent is to be told now, in which stage the first of it came, and since when it matters how late it is told; nil for nothing.
func (e *exchange) next(p *peer) (x *protocol.Exchanged, stage int, since time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lost { // nobody would know what to do with it
		p.arrivals, p.listeners, p.telling = nil, nil, nil
		return nil, 0, since
	}
	if p.telling != nil {
		return p.telling, p.told, p.since
	}
	most := min(mostExchanged, e.work.agent.o.Bus.MaxPayload()/128)
	arrivals, listeners := p.arrivals[:min(len(p.arrivals), most)], p.listeners[:min(len(p.listeners), most)]
	if len(arrivals)+len(listeners) == 0 {
		return nil, 0, since
	}
	p.since = time.Time{}
	x = &protocol.Exchanged{Run: e.work.session.id, From: e.work.agent.o.Name, Number: p.number + 1}
	told := func(at time.Time) time.Time {
		t, within := e.work.times.told(at)
		x.Within = max(x.Within, within)
		return t
	}
	for _, c := range listeners {
		l := c.Listener
		if !l.There || !l.Connected { // what others send to one that is there, and not known to be, is not expected to reach it
			p.matters(c.came)
		}
		l.At = told(l.At)
		if !l.Until.IsZero() {
			l.Until = told(l.Until)
		}
		x.Listeners = append(x.Listeners, l)
	}
	for _, a := range arrivals {
		p.matters(a.At)
		a.At = told(a.At)
		x.Arrivals = append(x.Arrivals, a)
	}
	p.told = p.stage
	if p.arrivals = p.arrivals[len(arrivals):]; len(p.arrivals) == 0 {
		p.arrivals = nil
	}
	if p.listeners = p.listeners[len(listeners):]; len(p.listeners) == 0 {
		p.listeners = nil
	}
	p.telling = x
	return x, p.told, p.since
}

// stage is the number of the stage that runs. It does not wait, and may be asked under any lock.
func (e *exchange) stage() int { return max(0, e.work.runner.Number()) }

// mayCount is what follows from what others have not been told in time.
const mayCount = ": deliveries may count as lost that were not"

// doubted notes why deliveries of the stages from one to that which runs may be measured wrong.
func (e *exchange) doubted(from int, why string) {
	now := e.stage()
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := from; i <= now; i++ {
		if name := e.work.sc.Stages[i].Name; e.doubts[name] == "" {
			e.doubts[name] = why
		}
	}
}

// doubt is why deliveries of a stage may be counted wrong; empty when they are not.
func (e *exchange) doubt(stage string) string {
	if e == nil {
		return ""
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.doubts[stage]
}

// over reports whether the devices have left, and all that their subscribers got was told.
func (e *exchange) over() bool { return e != nil && e.isOver.Load() }

// lastExchange is how much longer than a message may be on its way is waited for the others at the end.
const lastExchange = 3 * time.Second

// finish tells others the last of what subscribers got, and waits until they have told theirs. The devices have left.
func (e *exchange) finish(ctx context.Context) {
	if e == nil {
		return
	}
	patience := e.fleet.Load().Patience() + lastExchange
	if deadline, ok := ctx.Deadline(); ok { // they had to leave at once
		patience = min(patience, time.Until(deadline)/3)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	defer e.close()
	e.tellAll(ctx)
	e.isOver.Store(true)
	for {
		e.mu.Lock()
		changed := e.changed
		e.mu.Unlock()
		if e.allOver() {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
	b, err := json.Marshal(e.work.standing()) // nobody is to wait for this agent that has not heard it
	if err == nil {
		_ = e.work.agent.o.Bus.Publish(protocol.StatusSubject(e.work.session.id, e.work.agent.o.Name), b)
	}
}

// tellAll tells others all that there is for them. Who does not hear it before ctx ends does not wait for it any more.
func (e *exchange) tellAll(ctx context.Context) {
	var all sync.WaitGroup
	for _, p := range e.peers {
		all.Go(func() {
			if e.flush(ctx, p) != nil {
				e.untold(p)
			}
		})
	}
	all.Wait()
}

// close has nothing count that others may still tell.
func (e *exchange) close() {
	e.taking.Lock()
	defer e.taking.Unlock()
	e.closed = true
}

// allOver reports whether the other agents have told all.
func (e *exchange) allOver() bool {
	for _, p := range e.peers {
		p.mu.Lock()
		over := p.lost || p.stands.Over
		p.mu.Unlock()
		if !over {
			return false
		}
	}
	return true
}
