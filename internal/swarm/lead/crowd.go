package lead

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
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

// gone is how many devices were connected that lost agents had, and how many of those are not back: others have taken them over, or not.
func (l *Lead) gone() (all, still int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	connected := 0
	for _, a := range l.agents {
		if a.lost == nil {
			connected += a.status.Counts[fleet.StateConnected]
		}
	}
	for _, a := range l.agents {
		if x := a.lost; x != nil {
			all += x.connected
			back := 0
			if l.o.OnLoss == Redistribute {
				back = max(0, connected-x.others)
			}
			still += max(0, x.connected-back)
		}
	}
	return all, still
}

// Lost are those that lost their connections unasked and are not back, those of lost agents among them.
func (l *Lead) Lost() int {
	_, still := l.gone()
	return l.sum(func(a *agent) int { return a.status.Lost }) + still
}

// Losses is how many connections were lost unasked so far.
func (l *Lead) Losses() int {
	all, _ := l.gone()
	return l.sum(func(a *agent) int { return a.status.Losses }) + all
}

// Returns is how many devices that had lost their connections were back so far.
func (l *Lead) Returns() int {
	all, still := l.gone()
	return l.sum(func(a *agent) int { return a.status.Returns }) + all - still
}

// Left is how many devices so far were stopped while their connections were lost.
func (l *Lead) Left() int { return l.sum(func(a *agent) int { return a.status.Left }) }

// Reporters is how many devices have had a report acknowledged, and of a single one what it said last.
func (l *Lead) Reporters() (n int, last string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.agents {
		n += a.status.Reporters
		if a.status.Reporters > 0 {
			last = a.status.Last
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

// Provisioned is what became of the devices of each group that have a hub assigned.
func (l *Lead) Provisioned() (all []fleet.Provisioned) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.agents {
		for i, p := range a.now.Provisioned {
			if i == len(all) {
				all = append(all, fleet.Provisioned{Group: p.Group})
			}
			x := &all[i]
			x.Devices, x.Assigned, x.Connected, x.Repeated = x.Devices+p.Devices, x.Assigned+p.Assigned, x.Connected+p.Connected, x.Repeated+p.Repeated
		}
	}
	return all
}

// Deliveries are none: agents measure none.
func (l *Lead) Deliveries() []fleet.Deliveries { return nil }

// Delivered has nothing to do: agents measure no deliveries.
func (l *Lead) Delivered([]byte, time.Time) {}

// Listening has nothing to do: agents measure no deliveries.
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
