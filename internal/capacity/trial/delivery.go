package trial

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
)

// Use is what one process that ran devices took while the load of a trial was made.
type Use struct {
	Agent      string  `json:"agent,omitempty"`   // its name; empty for the process of the search
	Devices    int     `json:"devices"`           // that it had
	Operations float64 `json:"operations"`        // that it started a second, of all kinds
	Due        float64 `json:"due"`               // that it was to start a second
	Processors float64 `json:"processors"`        // in use by it, on average
	Machine    float64 `json:"machine,omitempty"` // in use by all programs of its machine, the mean of each second's busiest quarter; 0 when the kernel does not tell
	Cores      int     `json:"cores"`             // processors that there are for it
	// Short is what it was short of, in this stage; empty when it delivered what was asked for.
	Short []report.CauseKind `json:"short,omitempty"`
	// What it may use: files, local ports of all source addresses, bytes of memory; 0 where there is no limit, or none that is known.
	Descriptors int    `json:"descriptors,omitempty"`
	Ports       int    `json:"ports,omitempty"`  // see Descriptors
	Memory      uint64 `json:"memory,omitempty"` // see Descriptors
}

// Undelivered says why the load of a run was not made in some of its stages; "" when it was. A run that lost an agent did not make it, whenever
// that was.
func Undelivered(run *report.Run, stages ...string) string {
	if why := Lost(run); why != "" {
		return why
	}
	for _, h := range generators(run) {
		if h.health == nil {
			continue
		}
		for i := range h.health.Stages {
			s := &h.health.Stages[i]
			if s.AsAsked || !slices.Contains(stages, s.Name) {
				continue
			}
			if h.agent != "" {
				return "agent " + h.agent + ": " + s.String()
			}
			return s.String()
		}
	}
	return ""
}

// Lost says which agent a run lost; "" for none.
func Lost(run *report.Run) string {
	for i := range run.Agents {
		if a := &run.Agents[i]; a.Lost != nil {
			return fmt.Sprintf("agent %s was lost with %s: %s", a.Name, human.Number(a.Lost.Devices, "device"), a.Lost.Why)
		}
	}
	return ""
}

// Untold says why nothing can be said of a run whose load was made, or of a threshold of it; "" for nothing. rules are those that were judged, in
// their order. What is asked of a stage that only prepares is left alone when that stage, or the one before it, was not made as asked: the load is
// not about it.
func Untold(run *report.Run, rules []threshold.Threshold, preparing []string) string {
	if run.Suspicion != "" {
		return run.Suspicion
	}
	for i := range run.Thresholds {
		v := &run.Thresholds[i]
		if !v.CannotSay {
			continue
		}
		if i < len(rules) && slices.Contains(preparing, rules[i].Scope.Stage) && !madeUpTo(run.Generator, rules[i].Scope.Stage) {
			continue
		}
		return v.Threshold + ": " + v.Why
	}
	return ""
}

// madeUpTo reports whether a stage and the one before it, which may end late, were made as asked.
func madeUpTo(h *report.Health, stage string) bool {
	if h == nil {
		return true
	}
	for i := range h.Stages {
		if h.Stages[i].Name == stage {
			return h.Stages[i].AsAsked && (i == 0 || h.Stages[i-1].AsAsked)
		}
	}
	return true
}

// generator is a process that made a part of the load.
type generator struct {
	agent   string
	devices int
	health  *report.Health
}

// generators are the process of the run and its agents.
func generators(run *report.Run) []generator {
	all := []generator{{devices: run.Devices, health: run.Generator}}
	for i := range run.Agents {
		a := &run.Agents[i]
		all = append(all, generator{a.Name, a.Devices, a.Generator})
	}
	return all
}

// Uses is what those took that ran devices, in the last of some stages that was measured; nil when none was. A process that gave its devices to
// agents is not among them.
func Uses(run *report.Run, stages ...string) (all []Use) {
	for i, g := range generators(run) {
		if g.health == nil || i == 0 && len(run.Agents) > 0 {
			continue
		}
		var at *report.StageHealth
		for _, name := range stages {
			for i := range g.health.Stages {
				if s := &g.health.Stages[i]; s.Name == name && s.Measured > 0 {
					at = s
				}
			}
		}
		if at == nil {
			continue
		}
		h := g.health
		u := Use{
			Agent: g.agent, Devices: g.devices, Operations: float64(at.Started) / at.Measured.Seconds(), Due: float64(at.Asked) / at.Measured.Seconds(),
			Processors: at.CPU, Machine: at.Machine, Cores: h.Cores,
			Descriptors: h.MaxDescriptors, Ports: h.MaxPorts, Memory: h.MemoryLimit,
		}
		for _, c := range at.Causes {
			u.Short = append(u.Short, c.Kind)
		}
		all = append(all, u)
	}
	slices.SortFunc(all, func(a, b Use) int { return cmp.Compare(a.Agent, b.Agent) })
	return all
}

// Unmade is why an engine could not make the load of a trial at all, for want of agents that run the devices; nil when it could. Engines that may be
// so have a method Unmade. final says that the agents were there and hold too few devices, however often it is tried; else they were not there.
func Unmade(eng Engine) (why error, final bool) {
	u, ok := eng.(interface{ Unmade() (error, bool) })
	if !ok {
		return nil, false
	}
	return u.Unmade()
}

// unmade notes that the load was not made.
func (r *Record) unmade(why string, final bool) {
	r.Verdict, r.Limit, r.Why, r.Final = search.Undelivered, ByGenerator, why, final
}
