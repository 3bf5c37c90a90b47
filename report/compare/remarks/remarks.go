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
	if g := r.Generator; r.Outcome == report.Saturated && (g == nil || len(g.Stages) == 0) {
		c.Unfit = append(c.Unfit, "in the "+Which(i)+" run the generator was the bottleneck: its figures are not the target's")
	}
}

// NotAsAsked says why the figures of a stage are not the target's; empty when they are.
func NotAsAsked(before, after *report.Run, stage string) string {
	for i, r := range []*report.Run{before, after} {
		if r.Generator == nil {
			continue
		}
		for n := range r.Generator.Stages {
			if x := &r.Generator.Stages[n]; x.Name == stage && !x.AsAsked {
				return fmt.Sprintf("in the %s run the load was not as asked, in %s", Which(i), x)
			}
		}
	}
	return ""
}

func machine(m report.Machine) string {
	return fmt.Sprintf("%s/%s, %s, %s", m.OS, m.Arch, human.Number(m.CPUs, "processor"), m.Go)
}
