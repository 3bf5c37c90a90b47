package lead

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/swarm/protocol"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
)

// sum adds up a number of all agents that are there.
func (l *Lead) sum(of func(*agent) int) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.agents {
		if a.lost == nil {
			n += of(a)
		}
	}
	return n
}

// Counts is how many devices are in each state.
func (l *Lead) Counts() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[string]int)
	for _, a := range l.agents {
		if a.lost != nil {
			continue
		}
		for state, n := range a.status.Counts {
			out[state] += n
		}
	}
	return out
}

// all adds up a number of all agents, of those that were lost as it was when they were.
func (l *Lead) all(of func(*protocol.Status) int) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.agents {
		n += of(a.stood())
	}
	return n
}

// stood is how an agent stands, or stood when it was lost. The caller holds the lock.
func (a *agent) stood() *protocol.Status {
	if a.lost != nil {
		return &a.lost.status
	}
	return &a.status
}

// fate is what became of devices that went with lost agents.
type fate struct {
	cut  int // were connected then
	back int // are connected at others, or were
	left int // were to stop before they were
	away int // are none of these
}

// fates is what became of the devices of all agents that were lost.
func (l *Lead) fates() (sum fate) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.agents {
		if a.lost == nil {
			continue
		}
		x := l.fateLocked(a)
		sum.cut, sum.back, sum.left, sum.away = sum.cut+x.cut, sum.back+x.back, sum.left+x.left, sum.away+x.away
	}
	return sum
}

// fateLocked is what became of the devices of a lost agent, as those say that took them over. It does not know which of those that run now had
// been connected, or had lost their connections: as many as had not are the first of those that others say are connected. The caller holds the lock.
func (l *Lead) fateLocked(a *agent) fate {
	s := &a.lost.status
	cut, gone := s.Counts[fleet.StateConnected], s.Counts[fleet.StateConnected]+s.Lost
	for _, x := range s.Adopted { // and what it was to bring back of others
		gone += x.Active - x.Back - x.Left
	}
	var sum protocol.Adopted
	moved, all := 0, true
	for _, o := range l.agents {
		x, ok := o.stood().Adopted[a.name]
		switch {
		case o == a:
			continue
		case !ok:
			all = all && o.lost != nil && !o.lost.known.After(a.lost.known) // nobody asked that one
			continue
		case o.lost != nil: // it was lost with them: they are among its own
			moved += x.Active - x.Back - x.Left
		}
		sum.Active, sum.Back, sum.Left = sum.Active+x.Active, sum.Back+x.Back, sum.Left+x.Left
	}
	others := max(0, sum.Active-gone) // which were not missing
	left := 0
	if all { // some were to stop before anybody took them over
		left = max(0, gone-sum.Active)
	}
	back := max(0, sum.Back-others)
	others -= sum.Back - back
	gone -= back + moved
	stopped := min(gone, left+max(0, sum.Left-others))
	return fate{cut: cut, back: back, left: stopped, away: max(0, gone-stopped)}
}

// Lost are those that lost their connections unasked and are not back, those of lost agents among them.
func (l *Lead) Lost() int {
	return l.sum(func(a *agent) int { return a.status.Lost }) + l.fates().away
}

// Losses is how many connections were lost unasked so far, those that lost agents had among them.
func (l *Lead) Losses() int {
	return l.all(func(s *protocol.Status) int { return s.Losses }) + l.fates().cut
}

// LossReasons is how many connections were lost so far by reason, those of lost agents among them, as they said last. Those that went with an agent have none.
func (l *Lead) LossReasons() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make(map[string]int)
	for _, a := range l.agents {
		for why, n := range a.stood().Reasons {
			all[why] += n
		}
	}
	return all
}

// Returns is how many devices that had lost their connections were back so far, those of lost agents among them that others have connected.
func (l *Lead) Returns() int {
	return l.all(func(s *protocol.Status) int { return s.Returns }) + l.fates().back
}

// Left is how many devices so far were stopped while their connections were lost.
func (l *Lead) Left() int {
	return l.all(func(s *protocol.Status) int { return s.Left }) + l.fates().left
}

// Reporters is how many devices have had a report acknowledged, and of a single one what it said last. A device that was taken over counts once;
// where it is not known whether it is the same one, it is held to be.
func (l *Lead) Reporters() (n int, last string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.agents {
		s := a.stood()
		own := s.Reporters
		if a.lost != nil {
			for _, o := range l.agents {
				own -= o.stood().Adopted[a.name].Reporters
			}
		}
		n += max(0, own)
		if s.Reporters > 0 && (last == "" || a.lost == nil) {
			last = s.Last
		}
	}
	if n != 1 {
		last = ""
	}
	return n, last
}

// Account is what a device's reported properties must be like.
func (l *Lead) Account(index int) fleet.Account {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.accounts[index]
}

// Reach is how far the devices of each group came. A device that was taken over counts once, as Reporters says.
func (l *Lead) Reach() (all []fleet.Reach) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.agents {
		for i, r := range a.now.Reach { // all have the same groups
			if i == len(all) {
				all = append(all, fleet.Reach{Group: r.Group, Provisions: r.Provisions})
			}
			if a.lost != nil {
				for _, o := range l.agents {
					if again := o.now.Adopted[a.name]; i < len(again) {
						r.Devices, r.Assigned = r.Devices-again[i].Devices, r.Assigned-again[i].Assigned
						r.Tried, r.Connected = r.Tried-again[i].Tried, r.Connected-again[i].Connected
					}
				}
			}
			x := &all[i]
			x.Devices, x.Assigned, x.Repeated = x.Devices+max(0, r.Devices), x.Assigned+max(0, r.Assigned), x.Repeated+r.Repeated
			x.Tried, x.Connected = x.Tried+max(0, r.Tried), x.Connected+max(0, r.Connected)
			x.Inherited += r.Inherited // which who is taken over does not count
		}
	}
	return all
}

// Deliveries are those of all agents together, of lost ones as far as they told.
func (l *Lead) Deliveries() (all []fleet.Deliveries) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.agents {
		for i, x := range a.now.Deliveries { // all have the same groups
			if i == len(all) {
				all = append(all, fleet.Deliveries{Group: x.Group})
			}
			d := &all[i]
			d.Duplicates, d.Late = d.Duplicates+x.Duplicates, d.Late+x.Late
			d.Missing, d.OutOfOrder, d.Retained = d.Missing+x.Missing, d.OutOfOrder+x.OutOfOrder, d.Retained+x.Retained
		}
	}
	return all
}

// Kept is how many sessions are left at the target when all devices have left, as far as agents told.
func (l *Lead) Kept() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.agents {
		n += a.now.Kept
	}
	return n
}

// Delivered has nothing to do: the subscribers are devices.
func (l *Lead) Delivered([]byte, time.Time) {}

// Listening has nothing to do: the subscribers are devices.
func (l *Lead) Listening(bool) {}

// Doubt is why the load of a stage was not the one that was asked for: what happened first, losses before lateness that may follow from them.
func (l *Lead) Doubt(stage string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var lost, late []string
	for _, a := range l.agents {
		if x := a.lost; x != nil && l.spoils(x, stage) {
			lost = append(lost, fmt.Sprintf("agent %s was lost with %s: %s", a.name, human.Number(x.devices, "device"), x.why))
		}
		if why := a.now.Doubts[stage]; why != "" {
			late = append(late, fmt.Sprintf("agent %s: %s", a.name, why))
		}
	}
	all := append(lost, late...)
	if n := len(all) - mostDoubts; n > 0 {
		all = append(all[:mostDoubts:mostDoubts], fmt.Sprintf("and %d more", n))
	}
	return strings.Join(all, "; ")
}

// mostDoubts is how many reasons are told one by one.
const mostDoubts = 3

// Figures are what is known of each agent, a copy.
func (l *Lead) Figures() (all []report.Agent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.agents {
		x := report.Agent{
			Name: a.name, Version: a.hello.Program, Machine: a.hello.Machine, Devices: a.now.Own, Clock: a.now.Clock, Control: a.now.Control, Generator: copied(a.now.Health),
			Totals: account(a), Connected: a.connected, CPU: a.now.CPU, Lag: a.now.Lag, States: maps.Clone(a.status.Counts),
		}
		if a.lost != nil {
			x.Devices, x.Connected, x.CPU, x.Lag, x.States = a.lost.devices, 0, 0, 0, nil
			x.Lost = &report.AgentLoss{Stage: a.lost.stage, Devices: a.lost.devices, Why: a.lost.why, Choice: l.o.OnLoss, At: a.lost.at}
		}
		x.TookOver = max(0, x.Devices-a.first)
		all = append(all, x)
	}
	return all
}

// copied is a copy that shares nothing: whoever is given it cleans its texts in place.
func copied(h *report.Health) *report.Health {
	if h == nil {
		return nil
	}
	out := *h
	out.Reasons, out.Unmeasured, out.Stages = slices.Clone(h.Reasons), slices.Clone(h.Unmeasured), slices.Clone(h.Stages)
	for i := range out.Stages {
		out.Stages[i].Causes = slices.Clone(out.Stages[i].Causes)
	}
	return &out
}

// account is what became of the operations of an agent.
func account(a *agent) *report.Account {
	t := a.part.Totals()
	return &report.Account{Scheduled: t.Scheduled, Started: t.Started, OK: t.OK, Dropped: t.Dropped, Errors: t.Failed, InFlight: t.InFlight()}
}
