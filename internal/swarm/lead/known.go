package lead

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/swarm/bus"
	"github.com/twinfleet/twinfleet/internal/swarm/figures"
	"github.com/twinfleet/twinfleet/internal/swarm/protocol"
	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
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
		l.mu.Lock()
		defer l.mu.Unlock()
		switch {
		case !s.Connected:
			l.upSince = time.Time{}
		case l.upSince.IsZero():
			l.upSince = time.Now()
		}
	}))
	l.mu.Lock()
	for _, a := range l.agents {
		a.heard = time.Now()
	}
	l.mu.Unlock()
	l.going.Go(l.write)
	l.going.Go(func() {
		if err := l.store.Watch(l.ctx, protocol.PrefixFig, l.figures); err != nil && l.ctx.Err() == nil {
			l.log.Error("the agents' numbers cannot be read", "error", err)
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

// beatEvery is how often the coordinator says that it is there, and looks whether agents are.
const beatEvery = 250 * time.Millisecond

// beat says that the coordinator is there, and notes agents that are not.
func (l *Lead) beat() {
	for wait.For(l.ctx, beatEvery) == nil {
		_ = l.o.Bus.Publish(protocol.BeatSubject(l.o.Run), nil) // none arrives while there is no connection
		l.mu.Lock()
		var silent []string
		now := time.Now()
		if !l.upSince.IsZero() && now.Sub(l.upSince) > l.o.Silence && now.Sub(l.echo) < 4*beatEvery {
			for _, a := range l.agents {
				if a.lost == nil && !a.now.Final && now.Sub(a.heard) > l.o.Silence {
					silent = append(silent, a.name)
				}
			}
		}
		l.mu.Unlock()
		for _, name := range silent {
			l.Lose(name, fmt.Sprintf("nothing was heard of it for %s", l.o.Silence))
		}
	}
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
		if a.lost == nil && protocol.StatusSubject(l.o.Run, a.name) == subject {
			a.status, a.heard = s, time.Now()
		}
	}
}

// figures takes an agent's numbers.
func (l *Lead) figures(e bus.Entry) {
	name, stage, ok := protocol.FiguresOf(e.Key)
	if e.Kind != bus.Value || !ok {
		return
	}
	l.mu.Lock()
	a := l.find(name)
	gone := a == nil || a.lost != nil
	l.mu.Unlock()
	if gone {
		return
	}
	if stage >= 0 {
		x := new(protocol.Numbers)
		if err := l.pack.Unpack(e.Value, x); err != nil {
			l.log.Error("numbers of an agent cannot be read", "agent", name, "error", err)
			return
		}
		a.part.SetStage(x.At, &x.Stage)
		return
	}
	var now protocol.Now
	if err := l.pack.Unpack(e.Value, &now); err != nil {
		l.log.Error("numbers of an agent cannot be read", "agent", name, "error", err)
		return
	}
	a.part.SetNow(&metrics.Contribution{At: now.At, Open: now.Open, Devices: now.Devices})
	l.mu.Lock()
	defer l.mu.Unlock()
	a.now, a.heard = now, time.Now()
	l.changedLocked()
}

// batch takes what devices of an agent learnt.
func (l *Lead) batch(_ context.Context, data []byte) ([]byte, error) {
	var b protocol.Batch
	if err := l.pack.Unpack(data, &b); err != nil {
		return nil, &bus.Error{Code: bus.Invalid, Text: err.Error()}
	}
	l.mu.Lock()
	a := l.find(b.Agent)
	known := a != nil && b.Number <= a.batches
	gone := a == nil || a.lost != nil
	l.mu.Unlock()
	switch {
	case gone:
		return nil, &bus.Error{Code: bus.Refused, Text: "this agent is not, or no longer, part of the run"}
	case !known:
		for i := range b.Events {
			l.event(&b.Events[i])
		}
	}
	l.mu.Lock()
	a.batches, a.heard = max(a.batches, b.Number), time.Now()
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

// known is until when all is known of what devices learnt, and by how much their times may be wrong; zero while some agent has told nothing.
// The caller holds the lock.
func (l *Lead) known() (until time.Time, margin time.Duration) {
	first := true
	for _, a := range l.agents {
		if a.lost != nil || a.now.Final {
			continue
		}
		if first || a.until.Before(until) {
			until, first = a.until, false
		}
		margin = max(margin, a.status.Clock.Uncertainty)
	}
	return until, margin
}

// event hands on what a device learnt.
func (l *Lead) event(e *protocol.Event) {
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
	case e.Account != nil:
		l.mu.Lock()
		defer l.mu.Unlock()
		l.accounts[e.Account.Index] = e.Account.Account
	}
}

// Lose says that an agent is no more: its process has ended, or nothing is heard of it. Only the first time that it is told of one counts.
func (l *Lead) Lose(name, why string) {
	l.mu.Lock()
	a := l.find(name)
	if a == nil || a.lost != nil || a.now.Final {
		l.mu.Unlock()
		return
	}
	x := &loss{at: a.heard, stage: l.stage, why: why, devices: l.cut.Count(name), connected: a.status.Counts[fleet.StateConnected]}
	a.lost = x
	for _, o := range l.agents {
		if o.lost == nil {
			x.others += o.status.Counts[fleet.StateConnected]
		}
	}
	order := protocol.Order{Kind: protocol.Lost, At: x.at, Agent: name, Devices: x.devices, Why: why}
	next, err := l.cut.Without(name)
	if l.o.OnLoss == Redistribute {
		if next, err = l.cut.Redistribute(name); err != nil {
			l.loss = fmt.Errorf("%w: agent %s: %s; the others cannot take its devices over: %w", ErrLost, name, why, err)
		}
	}
	if l.o.OnLoss == Fail {
		l.loss = fmt.Errorf("%w: agent %s: %s", ErrLost, name, why)
	}
	if err == nil {
		l.cut = next
	}
	heirs := slices.DeleteFunc(slices.Clone(l.agents), func(o *agent) bool { return o.lost != nil })
	failed := l.loss != nil
	l.changedLocked()
	l.mu.Unlock()
	a.part.End(x.at, "the agent was lost")
	l.work.OnLoss(name, why, x.devices, x.at)
	if l.o.OnLoss == Redistribute && !failed {
		err := each(l.ctx, heirs, func(ctx context.Context, o *agent) error { return l.prove(ctx, o, next, next.Epoch()-1) })
		if err == nil {
			order.Cut, err = marshal(next)
		}
		if err != nil {
			l.log.Error("devices of a lost agent are not taken over", "agent", name, "error", err)
		}
	}
	l.say(order)
}

// Change changes the load of the stage that runs.
func (l *Lead) Change(change report.LoadChange, at time.Time) {
	l.say(protocol.Order{Kind: protocol.ChangeAt, Change: &change, At: at})
}

// Pause stops what devices do by themselves, or lets it go on.
func (l *Lead) Pause(paused bool, at time.Time) {
	l.say(protocol.Order{Kind: protocol.PauseAt, Paused: paused, At: at})
}
