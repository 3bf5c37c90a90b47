package findings

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
)

// shownAgents is how many agents are told of one by one, of each kind of trouble: there may be a thousand.
const shownAgents = 3

// Agents say which agents of a run were lost, which were the bottleneck, and whose clocks make times uncertain. They are among what Of says.
func Agents(r *report.Run) (all []Finding) {
	add := func(m Mark, format string, a ...any) {
		all = append(all, Finding{Mark: m, Text: fmt.Sprintf(format, a...), Agent: true})
	}
	lost, slow, taken := 0, 0, takenOver(r.Agents)
	var unsure []*report.Agent
	for i := range r.Agents {
		a := &r.Agents[i]
		if a.Lost != nil {
			if lost++; lost <= shownAgents {
				add(Bad, "%s", loss(r, a, taken[i]))
			}
		}
		if h := a.Generator; h != nil && h.Saturated {
			if slow++; slow <= shownAgents {
				add(Bad, "agent %s was the bottleneck, its figures speak of it and not of the target: %s", a.Name, strings.Join(h.Reasons, "; "))
			}
		}
		if a.Clock.Unsure() {
			unsure = append(unsure, a)
		}
	}
	if more := lost - shownAgents; more > 0 {
		add(Bad, "%s lost; summary.json has all", were(more, "more agent"))
	}
	if more := slow - shownAgents; more > 0 {
		add(Bad, "%s the bottleneck; summary.json has all", were(more, "more agent"))
	}
	if len(unsure) > 0 {
		add(Warn, "%s", clocks(r, unsure))
	}
	return all
}

// takenOver says whose devices others took over when they were lost. Once there is nobody who can, the run ends: whom nobody took over were the
// last that were lost.
func takenOver(all []report.Agent) []bool {
	var lost []int
	n, taken := 0, make([]bool, len(all))
	for i := range all {
		if n += all[i].TookOver; all[i].Lost != nil && all[i].Lost.Choice == "redistribute" {
			lost = append(lost, i)
		}
	}
	slices.SortStableFunc(lost, func(a, b int) int { return all[a].Lost.At.Compare(all[b].Lost.At) })
	for _, i := range lost {
		if n -= all[i].Lost.Devices; n < 0 {
			break
		}
		taken[i] = true
	}
	return taken
}

// untaken says why nobody took over the devices of an agent that was lost.
func untaken(all []report.Agent, of *report.Agent) string {
	if slices.ContainsFunc(all, func(a report.Agent) bool { return a.Lost == nil || a.Lost.At.After(of.Lost.At) }) {
		return "no other agent has taken them over"
	}
	return "nobody was left to take them over"
}

// loss is how an agent was lost, and what the run did; taken says that others took over its devices.
func loss(r *report.Run, a *report.Agent, taken bool) string {
	x := a.Lost
	text := "agent " + a.Name + " was lost"
	if !x.At.IsZero() && x.At.After(r.Started) {
		text += " at " + human.Duration(x.At.Sub(r.Started).Round(100*time.Millisecond))
	}
	if x.Stage != "" {
		text += " in stage " + x.Stage
	}
	text += fmt.Sprintf(" with %s: %s", human.Number(x.Devices, "device"), x.Why)
	switch x.Choice {
	case "continue":
		text += "; the run went on without them"
	case "redistribute":
		if taken {
			text += "; other agents took them over"
		} else {
			text += "; " + untaken(r.Agents, a)
		}
	case "fail":
		text += "; the run ended"
	}
	return text
}

// clocks says by how much times are uncertain.
func clocks(r *report.Run, unsure []*report.Agent) string {
	worst, steps := unsure[0], 0
	for _, a := range unsure {
		steps += a.Clock.Steps
		if a.Clock.Uncertainty > worst.Clock.Uncertainty {
			worst = a
		}
	}
	clock := "the clocks of %s of %s are"
	if len(unsure) == 1 {
		clock = "the clock of %s of %s is"
	}
	text := fmt.Sprintf(clock+" not well known: that of %s to ±%s", human.Count(len(unsure)), human.Number(len(r.Agents), "agent"), worst.Name,
		human.Duration(worst.Clock.Uncertainty))
	if steps > 0 {
		text += ", and one was set " + times(steps) + " while the run went on"
	}
	if r.Freshness != nil {
		return text + "; freshness of what their devices reported is uncertain by as much"
	}
	if r.Deliveries != nil {
		return text + "; how long messages took from their devices, and to them, is uncertain by as much"
	}
	return text + "; times of what their devices did are uncertain by as much, latencies are not"
}
