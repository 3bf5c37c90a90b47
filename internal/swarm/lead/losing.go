package lead

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/swarm/bus"
	"github.com/twinfleet/twinfleet/internal/swarm/protocol"
	"github.com/twinfleet/twinfleet/report/human"
)

// loss is how an agent was lost.
type loss struct {
	at      time.Time // when it was last heard of
	known   time.Time // when that was noted
	stage   string    // that ran at; empty before the first
	why     string
	devices int             // that it had
	status  protocol.Status // how it stood when it was last heard of
	here    bool            // its devices left by themselves, and it still tells what they measured
}

// lossError says of an agent that it was lost. It is ErrLost.
type lossError struct{ name, why string }

func (e *lossError) Error() string { return "agent " + e.name + " was lost: " + e.why }

func (e *lossError) Is(target error) bool { return target == ErrLost }

// lostText is why what is under way of a lost agent has no answer.
const lostText = "the agent was lost"

// gone reports whether an agent is there no more. The caller holds the lock.
func (a *agent) gone() bool { return a.lost != nil && !a.lost.here }

// told reports whether nothing more is to be heard of an agent. The caller holds the lock.
func (a *agent) told() bool { return a.now.Final || a.gone() }

// Lose says that an agent is no more: its process has ended, or nothing is heard of it. Only the first time that it is told of one counts. A run
// that waits for its agents still does not wait any longer.
func (l *Lead) Lose(name, why string) {
	l.reread(name) // perhaps it has ended because it had nothing more to do
	if over := l.lose(name, why); over != nil {
		over()
	}
}

// lose notes that an agent is no more, and gives what is to be done then; nil for nothing.
func (l *Lead) lose(name, why string) (then func()) {
	l.judging.Lock()
	defer l.judging.Unlock()
	l.taking.Lock() // numbers that are taken after the last are not the last
	l.mu.Lock()
	a := l.find(name)
	if a == nil || a.told() {
		if len(l.agents) == 0 { // the run waits for it still
			l.ended[name] = why
		}
		l.mu.Unlock()
		l.taking.Unlock()
		return nil
	}
	at, before := a.heard, a.lost != nil
	if before { // without its devices
		a.lost.here = false
	} else {
		a.lost = l.lossLocked(a, at, why)
	}
	l.changedLocked()
	l.mu.Unlock()
	a.part.End(at, lostText)
	l.taking.Unlock()
	if before {
		return nil
	}
	return l.without(a)
}

// lossLocked is the loss of an agent. The caller holds the lock.
func (l *Lead) lossLocked(a *agent, at time.Time, why string) *loss {
	return &loss{at: at, known: time.Now(), stage: l.stageAt(at), why: why, devices: l.cut.Count(a.name), status: a.status}
}

// without has the run do without an agent that was lost, or end, and gives what has others take its devices over.
func (l *Lead) without(a *agent) (then func()) {
	l.mu.Lock()
	x, failed := a.lost, error(nil)
	next, err := l.cut.Without(a.name)
	switch l.o.OnLoss {
	case Redistribute:
		if next, err = l.cut.Redistribute(a.name); err != nil {
			failed = fmt.Errorf("%w; the others cannot take its devices over: %w", &lossError{a.name, x.why}, err)
		}
	case Fail:
		failed = &lossError{a.name, x.why}
	}
	if l.loss == nil {
		l.loss = failed
	}
	if err == nil {
		l.cut = next
	}
	heirs := slices.DeleteFunc(slices.Clone(l.agents), func(o *agent) bool { return o.lost != nil })
	over := l.loss != nil
	l.mu.Unlock()
	l.work.OnLoss(a.name, x.why, x.devices, x.at)
	order := protocol.Order{Kind: protocol.Lost, At: x.at, Known: x.known, Agent: a.name, Devices: x.devices, Status: &x.status, Why: x.why}
	return func() {
		if l.o.OnLoss == Redistribute && !over {
			err := each(l.ctx, heirs, func(ctx context.Context, o *agent) error { return l.prove(ctx, o, next, next.Epoch()-1) })
			if err == nil {
				order.Cut, err = marshal(next)
			}
			if err != nil {
				l.log.Error("devices of a lost agent are not taken over", "agent", a.name, "error", err)
			}
		}
		l.say(order)
	}
}

// left notes an agent whose devices have left by themselves, as it says: the run has lost them. What they measured is still told.
func (l *Lead) left(a *agent) {
	l.judging.Lock()
	defer l.judging.Unlock()
	l.mu.Lock()
	s := a.now.Stopped
	if s == nil || a.lost != nil {
		l.mu.Unlock()
		return
	}
	x := l.lossLocked(a, s.At, "its devices left: "+s.Why)
	x.here = true
	a.lost = x
	if l.loss == nil && l.o.OnLoss == Fail {
		l.loss = &lossError{a.name, x.why}
	}
	l.changedLocked()
	l.mu.Unlock()
	l.work.OnLoss(a.name, x.why, x.devices, x.at)
}

// lastWord is how long Stop waits for what agents know without hearing even itself: longer than a NATS server takes to be started anew.
const lastWord = time.Minute

// errDeaf is why Stop gives up.
var errDeaf = errors.New("there was no connection to it for " + human.Duration(lastWord))

// missing notes that the last figures of agents are missing, and gives up on them: what is known of them is as it was when they were last heard of.
func (l *Lead) missing(why string) {
	l.judging.Lock()
	defer l.judging.Unlock()
	l.taking.Lock()
	l.mu.Lock()
	var all []*agent
	var names []string
	for _, a := range l.agents {
		if a.told() {
			continue
		}
		all, names = append(all, a), append(names, a.name)
		if a.lost == nil {
			a.lost = l.lossLocked(a, a.heard, "its last figures are missing: "+why)
		}
		a.lost.here = false
	}
	if l.loss == nil && len(all) > 0 {
		l.loss = fmt.Errorf("%w: %s: %s", ErrMissing, listed(names), why)
	}
	l.changedLocked()
	l.mu.Unlock()
	for _, a := range all {
		a.part.End(a.lost.at, lostText)
	}
	l.taking.Unlock()
	for _, a := range all {
		l.work.OnLoss(a.name, a.lost.why, a.lost.devices, a.lost.at)
	}
}

// heed ends the run when what is kept of it is gone, as an error says: what agents measure since cannot be told, nor they what to do.
func (l *Lead) heed(err error) {
	if errors.Is(err, bus.ErrNoStore) {
		l.missing("what NATS kept of the run is gone; was its store removed, or the server started without its data?")
	}
}

// mostListed is how many are named one by one.
const mostListed = 5

// listed names agents, the first of them when they are many.
func listed(names []string) string {
	if n := len(names) - mostListed; n > 1 {
		return strings.Join(names[:mostListed], ", ") + " and " + human.Number(n, "other")
	}
	return strings.Join(names, ", ")
}

// stageAt is the stage that ran at a time: as it was told, and after that as it is planned; empty before the first. The caller holds the lock.
func (l *Lead) stageAt(at time.Time) string {
	stages := l.work.Scenario.Stages
	name, end := "", time.Time{}
	for i := range stages {
		began, ok := l.begins[i]
		if !ok {
			began, ok = end, !end.IsZero()
		}
		if !ok || began.After(at) {
			break
		}
		name, end = stages[i].Name, time.Time{}
		if d := stages[i].Duration; d > 0 {
			end = began.Add(d)
		}
	}
	return name
}

// number is which stage has a name; -1 when none has.
func (l *Lead) number(stage string) int {
	for i := range l.work.Scenario.Stages {
		if l.work.Scenario.Stages[i].Name == stage {
			return i
		}
	}
	return -1
}

// spoils reports whether a stage was not as asked for because of a loss: one in which devices were missing. The caller holds the lock.
func (l *Lead) spoils(x *loss, stage string) bool {
	n := l.number(stage)
	if n < 0 || n < l.number(x.stage) {
		return false
	}
	return x.here || l.o.OnLoss != Redistribute || n <= l.number(l.stageAt(x.known))
}
