package lead

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/swarm/bus"
	"github.com/twinfleet/twinfleet/internal/swarm/cut"
	"github.com/twinfleet/twinfleet/internal/swarm/protocol"
	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

// ErrTakeover is the class of errors of a run that cannot be taken over.
var ErrTakeover = errors.New("the run cannot be taken over")

// past is what is known of a run that another coordinator led.
type past struct {
	run        protocol.Run
	start      time.Time
	stages     []time.Time // when they began that were told to
	first, cut *cut.Cut    // the first, and the last
	lost       map[string]protocol.Order
}

// checksum tells one scenario from another.
func checksum(sc *scenario.Scenario) string {
	sum := sha256.Sum256(sc.Source)
	return hex.EncodeToString(sum[:])
}

// Takeover reads what is known of the run, whose coordinator is gone: Prepare will take it over. Errors match ErrTakeover, or are those of the bus.
func (l *Lead) Takeover(ctx context.Context, sc *scenario.Scenario) (*engine.Resume, error) {
	refuse := func(format string, a ...any) (*engine.Resume, error) {
		return nil, fmt.Errorf("%w: "+format, append([]any{ErrTakeover}, a...)...)
	}
	store, err := l.o.Bus.Store(ctx, protocol.StoreName(l.o.Run), false)
	switch {
	case errors.Is(err, bus.ErrNoStore):
		return refuse("there is no run %s", l.o.Run)
	case err != nil:
		return nil, fmt.Errorf("opening the store of the run: %w", err)
	}
	p := &past{lost: make(map[string]protocol.Order)}
	e, err := store.Get(ctx, protocol.KeyRun)
	if err == nil {
		err = json.Unmarshal(e.Value, &p.run)
	}
	switch {
	case errors.Is(err, bus.ErrNoKey):
		return refuse("it had not begun when its coordinator was lost")
	case err != nil:
		return nil, fmt.Errorf("reading what is known of the run: %w", err)
	case p.run.Version != protocol.Version:
		return refuse("another version of the program began it")
	case p.run.Scenario != checksum(sc):
		return refuse("it runs another scenario; give the one that it was begun with, with the same --set")
	case l.o.Agents != len(p.run.Agents):
		return refuse("it was begun with %s, not with %s", human.Number(len(p.run.Agents), "agent"), human.Count(l.o.Agents))
	}
	x := &engine.Resume{Record: &report.Run{}, Away: p.run.Started, Made: made(p.run.Made)}
	for _, g := range p.run.Unled {
		x.Earlier = append(x.Earlier, engine.Unled(g))
	}
	if err := l.readPlan(ctx, store, p, x); err != nil {
		return nil, err
	}
	if e, err := store.Get(ctx, protocol.KeyRecord); err == nil {
		if err := l.pack.Unpack(e.Value, x.Record); err != nil {
			return nil, fmt.Errorf("reading the record of the run: %w", err)
		}
	}
	x.Record.Started = p.run.Started
	if now, err := l.now(ctx, store, protocol.Coordinator(p.run.Led)); err == nil {
		x.Away = now.At
	}
	p.run.Led++
	p.run.Unled = append(p.run.Unled, protocol.Unled{From: x.Away, To: time.Now()})
	text, err := marshal(&p.run)
	if err != nil {
		return nil, err
	}
	if _, err := store.Update(ctx, protocol.KeyRun, text, e.Revision); errors.Is(err, bus.ErrConflict) {
		return refuse("another process takes it over")
	} else if err != nil {
		return nil, fmt.Errorf("taking the run over: %w", err)
	}
	l.past, l.store = p, store
	return x, nil
}

// readPlan reads the orders that were given.
func (l *Lead) readPlan(ctx context.Context, store bus.Store, p *past, x *engine.Resume) error {
	keys, err := store.Keys(ctx, protocol.PrefixPlan)
	if err != nil {
		return fmt.Errorf("reading the plan of the run: %w", err)
	}
	stages := make(map[int]time.Time)
	latest := p.run.Cut
	epoch := -1
	for _, key := range keys {
		e, err := store.Get(ctx, key)
		var o protocol.Order
		if err == nil {
			err = json.Unmarshal(e.Value, &o)
		}
		if err != nil {
			return fmt.Errorf("reading the plan of the run: %w", err)
		}
		switch o.Kind {
		case protocol.Start:
			p.start = o.At
		case protocol.StageAt:
			stages[o.Stage] = o.At
		case protocol.EndAt:
			x.Ends = o.At
		case protocol.Leave, protocol.Kill:
			return fmt.Errorf("%w: it was over, and its devices were told to leave", ErrTakeover)
		case protocol.Lost:
			p.lost[o.Agent] = o
			c := new(cut.Cut)
			if len(o.Cut) > 0 && json.Unmarshal(o.Cut, c) == nil && c.Epoch() > epoch {
				epoch, latest = c.Epoch(), o.Cut
			}
		case protocol.PauseAt, protocol.ChangeAt:
		}
	}
	for n := 0; ; n++ {
		at, ok := stages[n]
		if !ok {
			break
		}
		x.Stages = append(x.Stages, at)
	}
	p.first, p.cut, p.stages = new(cut.Cut), new(cut.Cut), x.Stages
	if err := errors.Join(json.Unmarshal(p.run.Cut, p.first), json.Unmarshal(latest, p.cut)); err != nil {
		return fmt.Errorf("reading the cut of the run: %w", err)
	}
	if p.start.IsZero() {
		return fmt.Errorf("%w: it had not begun when its coordinator was lost", ErrTakeover)
	}
	return nil
}

// now is what a process last said of itself.
func (l *Lead) now(ctx context.Context, store bus.Store, name string) (now protocol.Now, err error) {
	e, err := store.Get(ctx, protocol.NowKey(name))
	if err == nil {
		err = l.pack.Unpack(e.Value, &now)
	}
	return now, err
}

// inherit takes up the numbers of the coordinators before this one.
func (l *Lead) inherit(ctx context.Context) error {
	for n := range l.past.run.Led {
		name := protocol.Coordinator(n)
		part := l.work.Recorder.Join()
		keys, err := l.store.Keys(ctx, protocol.PrefixFig+"."+name)
		if err != nil {
			return fmt.Errorf("reading the numbers of the coordinator before: %w", err)
		}
		for _, key := range keys {
			e, err := l.store.Get(ctx, key)
			if err != nil {
				return fmt.Errorf("reading the numbers of the coordinator before: %w", err)
			}
			if strings.HasSuffix(key, ".now") {
				var now protocol.Now
				if err := l.pack.Unpack(e.Value, &now); err != nil {
					return err
				}
				part.SetNow(&metrics.Contribution{At: now.At, Queries: now.Queries})
				continue
			}
			x := new(protocol.Numbers)
			if err := l.pack.Unpack(e.Value, x); err != nil {
				return err
			}
			part.SetStage(x.At, &x.Stage)
		}
		part.End(time.Now(), "the coordinator was lost")
	}
	return nil
}

// takeOver finds the agents of the run that is taken over.
func (l *Lead) takeOver(ctx context.Context) (start time.Time, err error) {
	p := l.past
	l.cut = p.cut
	if err := l.serve(); err != nil {
		return start, err
	}
	if err := l.inherit(ctx); err != nil {
		return start, err
	}
	l.mu.Lock()
	for i, at := range p.stages {
		l.begins[i] = at
	}
	l.mu.Unlock()
	for _, m := range p.run.Agents {
		a := &agent{name: m.Name, first: p.first.Count(m.Name), part: l.work.Recorder.Join(), taken: make(map[int]uint64)}
		a.hello.Program, a.hello.Machine = m.Program, m.Machine
		l.mu.Lock()
		l.agents = append(l.agents, a)
		l.mu.Unlock()
		if err := l.read(ctx, a.name); err != nil { // also of one that is lost: nothing that was measured is
			return start, err
		}
		if o, ok := p.lost[m.Name]; ok {
			l.lostBefore(a, &o)
		} else {
			l.left(a)
		}
	}
	waiting, cancel := context.WithTimeout(ctx, l.o.Wait)
	defer cancel()
	deadline := time.Now().Add(l.o.Patient) // of all: they are asked a few at a time, and who has ended holds nobody up
	var gone []*agent
	_ = each(waiting, l.agents, func(ctx context.Context, a *agent) error {
		there := l.rejoin(ctx, a, deadline)
		l.mu.Lock()
		defer l.mu.Unlock()
		if !there && !a.told() {
			a.heard = a.now.At
			gone = append(gone, a)
		}
		return nil
	})
	if err := l.watch(); err != nil {
		return start, err
	}
	for _, a := range gone {
		l.Lose(a.name, "it did not answer when the run was taken over")
	}
	return p.start, nil
}

// lostBefore notes an agent that was lost to a coordinator before this one, whose numbers are read.
func (l *Lead) lostBefore(a *agent, o *protocol.Order) {
	l.mu.Lock()
	a.lost = &loss{at: o.At, known: o.Known, stage: l.stageAt(o.At), why: o.Why, devices: o.Devices}
	if o.Status != nil {
		a.lost.status = *o.Status
	}
	failed := l.o.OnLoss == Fail
	if failed && l.loss == nil {
		l.loss = &lossError{a.name, o.Why}
	}
	l.mu.Unlock()
	a.part.End(o.At, lostText)
	if failed { // the coordinator before was about to end the run for it
		l.work.OnLoss(a.name, o.Why, o.Devices, o.At)
	}
}

// rejoin joins an agent of the run, which may be looking for its coordinator until the deadline; false when it cannot, or need not: one that was done
// needs none. It is asked once at least.
func (l *Lead) rejoin(ctx context.Context, a *agent, deadline time.Time) bool {
	for {
		l.mu.Lock()
		told := a.told()
		l.mu.Unlock()
		if told {
			return false
		}
		found, _, err := l.join(ctx, a.name)
		if err == nil {
			l.mu.Lock()
			a.hello = found.hello
			l.mu.Unlock()
			return true
		}
		if time.Now().After(deadline) || wait.For(ctx, lookEvery) != nil {
			return false
		}
		l.reread(a.name) // perhaps it has handed on what it knew meanwhile, and has ended
	}
}

// spans are the devices of which something is so: from, to, from, to, each to the one before.
func spans(n int, is func(int) bool) (all []int) {
	for i := range n {
		if is(i) != (len(all)%2 == 1) {
			all = append(all, i)
		}
	}
	if len(all)%2 == 1 {
		all = append(all, n)
	}
	return all
}

// made is spans as a question.
func made(all []int) func(int) bool {
	return func(index int) bool {
		for i := 0; i+1 < len(all); i += 2 {
			if index >= all[i] && index < all[i+1] {
				return true
			}
		}
		return false
	}
}

// keepEvery is how often the coordinator's own numbers are kept.
const keepEvery = time.Second

const (
	// keepWithin is how long one attempt may take.
	keepWithin = 10 * time.Second
	// unkeptFor is for how long a server that can be heard may keep nothing of what it is told before the run ends: its disk is full, perhaps.
	unkeptFor = 30 * time.Second
)

// keep keeps this process' own numbers, for one that takes the run over. It ends the run when nothing is kept any more: agents cannot tell theirs
// either, nor be told the plan.
func (l *Lead) keep() {
	for kept := time.Now(); wait.For(l.ctx, keepEvery) == nil; {
		c := l.work.Recorder.Contribution()
		ctx, cancel := context.WithTimeout(l.ctx, keepWithin)
		err := l.keeper.Keep(ctx, c, &protocol.Now{At: c.At})
		cancel()
		if err == nil || l.ctx.Err() != nil || !l.listens() {
			kept = time.Now()
			continue
		}
		l.log.Debug("the coordinator's numbers are not kept yet", "error", err)
		l.heed(err)
		if time.Since(kept) > unkeptFor {
			l.missing(fmt.Sprintf("NATS has kept nothing for %s: %s", human.Duration(unkeptFor), err))
		}
	}
}

// listens reports whether this process hears itself over the server, and has for as long as one attempt to keep something takes.
func (l *Lead) listens() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.hearing.IsZero() && time.Since(l.hearing) > keepWithin
}

// Known keeps the record as it is known so far: see report.Follower.
func (l *Lead) Known(r *report.Run) {
	l.mu.Lock()
	store := l.store
	l.mu.Unlock()
	if store == nil {
		return
	}
	short := *r
	short.Totals, short.Stages = nil, nil
	b, err := l.pack.Pack(&short)
	if err != nil {
		return
	}
	select { // one at a time: the next comes soon
	case l.records <- b:
	default:
	}
}

// keepRecords keeps what Known was told.
func (l *Lead) keepRecords() {
	for {
		select {
		case b := <-l.records:
			if _, err := l.store.Put(l.ctx, protocol.KeyRecord, b); err != nil && l.ctx.Err() == nil {
				l.log.Debug("the record is not kept yet", "error", err)
			}
		case <-l.ctx.Done():
			return
		}
	}
}

// Begin, Event, Sample and End are of report.Observer; there is nothing to do.
func (*Lead) Begin(*report.Run) error { return nil }

// Event does nothing: see Begin.
func (*Lead) Event(report.Event) {}

// Sample does nothing: see Begin.
func (*Lead) Sample(report.Sample) {}

// Observer has the record kept as it is known.
func (l *Lead) Observer() report.Observer { return watcher{l} }

// watcher is a Lead that watches its run.
type watcher struct{ *Lead }

// End does nothing: see Lead.Begin.
func (watcher) End(*report.Run) error { return nil }
