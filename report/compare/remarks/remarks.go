// Package remarks is what must be said of two runs beside their figures: what makes them hard to compare.
package remarks

import (
	"fmt"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/linediff"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
)

// Remarks are lines for the reader of a comparison. The zero value has none.
type Remarks struct {
	Unfit  []string // why nothing can be said of the target; empty when something can
	Doubts []string // why "not worse" cannot be said, whatever the figures say
	Notes  []string // what else a reader must know
}

// Doubt adds a reason why "not worse" cannot be said.
func (c *Remarks) Doubt(text string) { c.Doubts = append(c.Doubts, text) }

// Note adds what else a reader must know.
func (c *Remarks) Note(text string) { c.Notes = append(c.Notes, text) }

// Add adds the remarks of somebody else.
func (c *Remarks) Add(o Remarks) {
	c.Unfit, c.Doubts, c.Notes = append(c.Unfit, o.Unfit...), append(c.Doubts, o.Doubts...), append(c.Notes, o.Notes...)
}

// Which is what texts call a run: the first or the second.
func Which(run int) string { return [2]string{"first", "second"}[run] }

// Of says what makes two runs hard to compare. What is empty is not known: a record that was cut knows less, and scenarios may not have
// been kept.
func Of(before, after *report.History, scenarios [2]string) Remarks {
	var c Remarks
	a, b := before.Run, after.Run
	for i, h := range []*report.History{before, after} {
		c.state(i, h)
	}
	if a.Name != b.Name {
		c.Doubt("the runs are of different scenarios: " + a.Name + " and " + b.Name)
	}
	if a.Devices != b.Devices && a.Devices > 0 && b.Devices > 0 {
		c.Doubt(fmt.Sprintf("the fleets differ in size: %s and %s", human.Count(a.Devices), human.Number(b.Devices, "device")))
	}
	if a.Target != b.Target && a.Target != "" && b.Target != "" {
		c.Note("the targets differ: " + a.Target + " and " + b.Target)
	}
	if a.Client != b.Client && a.Client != "" && b.Client != "" {
		c.Note("the clients that drove the devices differ: " + a.Client + " and " + b.Client)
	}
	if a.Seed != b.Seed {
		c.Note(fmt.Sprintf("the seeds differ: %d and %d", a.Seed, b.Seed))
	}
	if a.Version != b.Version {
		c.Note("the versions differ: " + a.Version + " and " + b.Version)
	}
	if a.Machine != b.Machine {
		c.Note(fmt.Sprintf("the machines differ: %s and %s", machine(a.Machine), machine(b.Machine)))
	}
	if len(a.Agents) != len(b.Agents) {
		c.Note("the devices ran " + where(a) + " and " + where(b))
	}
	if lines := linediff.Lines(scenarios[0], scenarios[1]); len(lines) > 0 {
		c.Note("the scenarios differ:\n" + strings.Join(lines, "\n"))
	}
	return c
}

// state says of one run why its figures may not be all there is to know.
func (c *Remarks) state(i int, h *report.History) {
	r := h.Run
	switch {
	case !h.Whole && len(h.Samples) == 0:
		c.Doubt("the record of the " + Which(i) + " run has a beginning and no figures")
	case !h.Whole:
		c.Doubt(fmt.Sprintf("the record of the %s run is cut after %s: what came then is not known", Which(i), human.Duration(r.Duration().Round(time.Second))))
	case r.Outcome == report.Failed || r.Outcome == report.Interrupted:
		text := fmt.Sprintf("the %s run %s", Which(i), map[report.Outcome]string{report.Failed: "failed", report.Interrupted: "was interrupted"}[r.Outcome])
		if r.Reason != "" {
			text += ": " + r.Reason
		}
		c.Doubt(text)
	}
	if what := clocked(r); what != "" {
		for n := range r.Agents {
			if a := &r.Agents[n]; a.Clock.Unsure() {
				c.Doubt(fmt.Sprintf("in the %s run the clock of agent %s is known to ±%s: %s uncertain by as much", Which(i), a.Name, human.Duration(a.Clock.Uncertainty), what))
				break
			}
		}
	}
	if r.Suspicion != "" {
		c.Unfit = append(c.Unfit, "in the "+Which(i)+" run "+r.Suspicion)
	}
	if g := r.Generator; r.Outcome == report.Saturated && r.Suspicion == "" && (g == nil || len(g.Stages) == 0) {
		c.Unfit = append(c.Unfit, "in the "+Which(i)+" run the generator was the bottleneck: its figures are not the target's")
	}
}

// clocked is what of a run was measured by the clocks of several agents, with its verb; empty when nothing was.
func clocked(r *report.Run) string {
	switch {
	case r.Freshness != nil && r.Deliveries != nil:
		return "freshness and deliveries are"
	case r.Freshness != nil:
		return "freshness is"
	case r.Deliveries != nil:
		return "deliveries are"
	}
	return ""
}

// NotAsAsked says why the figures of a stage are not the target's; empty when they are.
func NotAsAsked(before, after *report.Run, stage string) string {
	for i, r := range []*report.Run{before, after} {
		if x := notAsAsked(r.Generator, stage); x != nil {
			return fmt.Sprintf("in the %s run the load was not as asked, in %s", Which(i), x)
		}
		for n := range r.Agents {
			a := &r.Agents[n]
			if x := notAsAsked(a.Generator, stage); x != nil {
				return fmt.Sprintf("in the %s run the load was not as asked, by agent %s, in %s", Which(i), a.Name, x)
			}
			if missed(r, a.Lost, stage) {
				return fmt.Sprintf("in the %s run agent %s was lost with %s: stage %s had less load than was asked", Which(i), a.Name,
					human.Number(a.Lost.Devices, "device"), stage)
			}
		}
	}
	return ""
}

// notAsAsked is a stage that a generator did not deliver as asked; nil when it did.
func notAsAsked(g *report.Health, stage string) *report.StageHealth {
	if g == nil {
		return nil
	}
	for n := range g.Stages {
		if x := &g.Stages[n]; x.Name == stage && !x.AsAsked {
			return x
		}
	}
	return nil
}

// missed reports whether a stage missed an agent: the one in which it was lost, and those after it unless others took its devices over.
func missed(r *report.Run, loss *report.AgentLoss, stage string) bool {
	if loss == nil {
		return false
	}
	gone := loss.Stage == ""
	for i := range r.Stages {
		name := r.Stages[i].Name
		if name == loss.Stage {
			gone = true
		}
		if name == stage {
			return gone && (stage == loss.Stage || loss.Choice != "redistribute" && !loss.At.After(r.Started.Add(r.Stages[i].To)))
		}
	}
	return false
}

// where is where the devices of a run were.
func where(r *report.Run) string {
	if len(r.Agents) == 0 {
		return "in one process"
	}
	return "on " + human.Number(len(r.Agents), "agent")
}

func machine(m report.Machine) string {
	return fmt.Sprintf("%s/%s, %s, %s", m.OS, m.Arch, human.Number(m.CPUs, "processor"), m.Go)
}
