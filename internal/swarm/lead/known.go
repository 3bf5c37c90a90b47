package lead

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/swarm/bus"
	"github.com/twinfleet/twinfleet/internal/swarm/figures"
	"github.com/twinfleet/twinfleet/internal/swarm/protocol"
	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/agents"
)

// serve answers what agents ask.
func (l *Lead) serve() error {
	served, err := l.o.Bus.Serve(bus.Service{
		Name: protocol.CoordinatorService, Instance: "run-" + l.o.Run, Version: "1.0.0",
		Endpoints: map[string]func(context.Context, []byte) ([]byte, error){
			protocol.Time: func(context.Context, []byte) ([]byte, error) {
				return strconv.AppendInt(nil, time.Now().UnixNano(), 10), nil
			},
			protocol.Events: l.batch,
		},
	})
	if err != nil {
		return fmt.Errorf("serving the run's agents: %w", err)
	}
	l.ends = append(l.ends, served)
	return nil
}

// watch begins to follow the agents.
func (l *Lead) watch() error {
	l.work.Recorder.Register(func() []metrics.Figure { return agents.Expose(l.Figures()) })
	if measured(l.work.Scenario) != nil {
		l.work.Recorder.Register(func() []metrics.Figure { return fleet.DeliveryFigures(l.Deliveries()) })
	}
	standing, err := l.o.Bus.Subscribe(protocol.StatusSubject(l.o.Run, "*"), l.stands)
	if err != nil {
		return fmt.Errorf("listening to the agents: %w", err)
	}
	l.ends = append(l.ends, standing)
	echo, err := l.o.Bus.Subscribe(protocol.BeatSubject(l.o.Run), func(string, []byte) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.echo = time.Now()
	})
	if err != nil {
		return fmt.Errorf("listening to the agents: %w", err)
	}
	l.ends = append(l.ends, echo, l.o.Bus.States(func(s bus.State) {
		l.connected(s.Connected)
	}))
	l.mu.Lock()
	for _, a := range l.agents {
		if a.heard.IsZero() {
			a.heard = time.Now()
		}
	}
	l.mu.Unlock()
	l.going.Go(l.write)
	l.going.Go(func() {
		if err := l.store.Watch(l.ctx, protocol.PrefixFig, l.figures); err != nil && l.ctx.Err() == nil {
			l.log.Error("the agents' numbers cannot be read", "error", err)
			l.heed(err)
		}
	})
	led := 0
	if l.past != nil {
		led = l.past.run.Led
	}
	l.keeper = figures.New(protocol.Coordinator(led), l.pack, func(context.Context) (bus.Store, error) { return l.store, nil })
	l.going.Go(l.beat)
	l.going.Go(l.keep)
	l.going.Go(l.keepRecords)
	return nil
}

// connected notes whether there is a connection to the agents.
func (l *Lead) connected(is bool) {
	now := time.Now()
	l.mu.Lock()
	down := l.downAt
	switch {
	case !is:
		l.upSince = time.Time{}
		if down.IsZero() {
			l.downAt = now
		}
	case l.upSince.IsZero():
		l.upSince, l.downAt = now, time.Time{}
	}
	l.mu.Unlock()
	if is && !down.IsZero() && l.work.OnAway != nil {
		l.work.OnAway(down, now.Sub(down))
	}
}

// beatEvery is how often the coordinator says that it is there, and looks whether agents are.
const beatEvery = 250 * time.Millisecond

// beat says that the coordinator is there, and notes agents that are not.
func (l *Lead) beat() {
	for wait.For(l.ctx, beatEvery) == nil {
		_ = l.o.Bus.Publish(protocol.BeatSubject(l.o.Run), nil) // none arrives while there is no connection
		for _, name := range l.silent(time.Now()) {
			l.Lose(name, fmt.Sprintf("nothing was heard of it for %s", l.o.Silence))
		}
	}
}

// silent are the agents of which nothing was heard for too long, though this process hears itself. Stop gives up here when it does not.
func (l *Lead) silent(now time.Time) (names []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.upSince.IsZero() || now.Sub(l.echo) >= 4*beatEvery:
		l.hearing = time.Time{}
		if l.giveUp != nil && now.Sub(l.hears) > lastWord {
			l.giveUp(errDeaf)
		}
		return nil
	case l.hearing.IsZero(): // agents have as long as in the beginning: a process that stood still wakes before they can reach it
		l.hearing = now
	case now.Sub(l.upSince) > l.o.Silence && now.Sub(l.hearing) > l.o.Silence:
		for _, a := range l.agents {
			if !a.told() && now.Sub(a.heard) > l.o.Silence {
				names = append(names, a.name)
			}
		}
	}
	l.hears = now
	return names
}

// find is an agent by its name; nil when there is none. The caller holds the lock.
func (l *Lead) find(name string) *agent {
	for _, a := range l.agents {
		if a.name == name {
			return a
		}
	}
	return nil
}

// stands takes how an agent stands.
func (l *Lead) stands(subject string, data []byte) {
	var s protocol.Status
	if json.Unmarshal(data, &s) != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.agents {
		if !a.told() && protocol.StatusSubject(l.o.Run, a.name) == subject {
			a.status, a.heard = s, time.Now()
			if !l.leaving && a.lost == nil {
				a.connected = s.Counts[fleet.StateConnected]
			}
		}
	}
}

// figures takes an agent's numbers, which say that it is there.
func (l *Lead) figures(e bus.Entry) {
	if a := l.take(e); a != nil {
		l.mu.Lock()
		a.heard = time.Now()
		l.mu.Unlock()
		l.left(a)
	}
}

// rereading is how long the numbers of an agent that is no more may take to be read.
const rereading = 2 * time.Second

// reread takes the numbers that an agent has kept, and that may not have been told yet: it is no more, and will keep no others.
func (l *Lead) reread(name string) {
	l.mu.Lock()
	a := l.find(name)
	over := a == nil || a.told()
	l.mu.Unlock()
	if over {
		return
	}
	ctx, cancel := context.WithTimeout(l.ctx, rereading)
	defer cancel()
	if err := l.read(ctx, name); err != nil {
		l.log.Warn("the last numbers of an agent cannot be read", "agent", name, "error", err)
	}
	l.left(a)
}

// read takes the numbers that an agent has kept so far.
func (l *Lead) read(ctx context.Context, name string) error {
	keys, err := l.store.Keys(ctx, protocol.PrefixFig+"."+name)
	if err != nil {
		return fmt.Errorf("reading the numbers of agent %s: %w", name, err)
	}
	for _, key := range keys {
		e, err := l.store.Get(ctx, key)
		if err != nil {
			return fmt.Errorf("reading the numbers of agent %s: %w", name, err)
		}
		l.take(e)
	}
	return nil
}

// take takes an agent's numbers, unless there are newer ones, and gives the agent; nil when it took none.
func (l *Lead) take(e bus.Entry) *agent {
	name, stage, ok := protocol.FiguresOf(e.Key)
	if e.Kind != bus.Value || !ok {
		return nil
	}
	l.taking.Lock()
	defer l.taking.Unlock()
	l.mu.Lock()
	a := l.find(name)
	gone := a == nil || a.gone()
	l.mu.Unlock()
	if gone || a.taken[stage] >= e.Revision {
		return nil
	}
	a.taken[stage] = e.Revision
	if stage >= 0 {
		x := new(protocol.Numbers)
		if err := l.pack.Unpack(e.Value, x); err != nil {
			l.log.Error("numbers of an agent cannot be read", "agent", name, "error", err)
			return nil
		}
		a.part.SetStage(x.At, &x.Stage)
		return nil
	}
	var now protocol.Now
	if err := l.pack.Unpack(e.Value, &now); err != nil {
		l.log.Error("numbers of an agent cannot be read", "agent", name, "error", err)
		return nil
	}
	a.part.SetNow(&metrics.Contribution{At: now.At, Open: now.Open, Devices: now.Devices})
	l.mu.Lock()
	defer l.mu.Unlock()
	a.now = now
	l.changedLocked()
	return a
}

// batch takes what devices of an agent learnt.
func (l *Lead) batch(_ context.Context, data []byte) ([]byte, error) {
	var b protocol.Batch
	if err := l.pack.Unpack(data, &b); err != nil {
		return nil, &bus.Error{Code: bus.Invalid, Text: err.Error()}
	}
	l.judging.RLock()
	defer l.judging.RUnlock()
	l.mu.Lock()
	a := l.find(b.Agent)
	known := a != nil && b.Number <= a.batches
	gone := a == nil || a.gone()
	l.mu.Unlock()
	switch {
	case gone:
		return nil, &bus.Error{Code: bus.Refused, Text: "this agent is not, or no longer, part of the run"}
	case !known:
		for i := range b.Events {
			l.event(b.Agent, &b.Events[i])
		}
	}
	l.mu.Lock()
	a.batches, a.heard = max(a.batches, b.Number), time.Now()
	a.within.add(b.Within, a.heard)
	if !b.Until.IsZero() && b.Missed == 0 {
		a.until = b.Until
	}
	l.changedLocked()
	until, margin := l.known()
	l.mu.Unlock()
	if !until.IsZero() {
		l.work.OnKnown(until, margin)
	}
	return nil, nil
}

// known is until when all is known of what devices learnt, and by how much their times, as they were told lately, may be wrong; zero while some
// agent has told nothing.
// The caller holds the lock.
func (l *Lead) known() (until time.Time, margin time.Duration) {
	now, first := time.Now(), true
	for _, a := range l.agents {
		margin = max(margin, a.within.most(now)) // what an agent told that is lost is judged too
		if a.told() {
			continue
		}
		if first || a.until.Before(until) {
			until, first = a.until, false
		}
	}
	return until, margin
}

// lately is for how long it matters by how much the times of what an agent told may be wrong: results are judged by what was told before, too.
const lately = time.Minute

// margins are by how much an agent's times may be wrong: the most that was told within lately or up to twice as long.
type margins struct {
	since       time.Time // of now
	now, before time.Duration
}

func (m *margins) add(within time.Duration, at time.Time) {
	if at.Sub(m.since) >= lately {
		m.since, m.now, m.before = at, 0, m.now
	}
	m.now = max(m.now, within)
}

// most is what matters at a time, which is no earlier than the last that was added.
func (m *margins) most(at time.Time) time.Duration {
	switch age := at.Sub(m.since); {
	case age >= 2*lately:
		return 0
	case age >= lately:
		return m.now
	}
	return max(m.now, m.before)
}

// event hands on what a device learnt, or its agent.
func (l *Lead) event(agent string, e *protocol.Event) {
	w := &l.work
	switch {
	case e.Reporting != nil:
		w.OnReporting(e.Reporting.Index, e.Reporting.Sent)
	case e.Reported != nil:
		w.OnReported(*e.Reported)
	case e.Desired != nil:
		w.OnDesired(*e.Desired)
	case e.Contradiction != nil:
		w.OnContradiction(*e.Contradiction)
	case e.Raw != nil:
		w.OnRaw(agent, e.Raw.Text, e.Raw.Broken)
	case e.Account != nil:
		l.mu.Lock()
		defer l.mu.Unlock()
		l.accounts[e.Account.Index] = e.Account.Account
	}
}

// Change changes the load of the stage that runs.
func (l *Lead) Change(change report.LoadChange, at time.Time) {
	l.say(protocol.Order{Kind: protocol.ChangeAt, Change: &change, At: at})
}

// Pause stops what devices do by themselves, or lets it go on.
func (l *Lead) Pause(paused bool, at time.Time) {
	l.say(protocol.Order{Kind: protocol.PauseAt, Paused: paused, At: at})
}
