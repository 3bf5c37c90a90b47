package compare

import (
	"fmt"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/linediff"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/compare/align"
	"github.com/twinfleet/twinfleet/report/human"
)

// differences says what makes two runs hard to compare. What is empty is not known: a record that was cut knows less.
func (c *Comparison) differences(before, after *report.History, scenarios [2]string) {
	a, b := before.Run, after.Run
	for i, h := range []*report.History{before, after} {
		c.state(i, h)
	}
	if a.Name != b.Name {
		c.doubt("the runs are of different scenarios: " + a.Name + " and " + b.Name)
	}
	if a.Devices != b.Devices && a.Devices > 0 && b.Devices > 0 {
		c.doubt(fmt.Sprintf("the fleets differ in size: %s and %s devices", human.Count(a.Devices), human.Count(b.Devices)))
	}
	if a.Target != b.Target && a.Target != "" && b.Target != "" {
		c.note("the targets differ: " + a.Target + " and " + b.Target)
	}
	if a.Seed != b.Seed {
		c.note(fmt.Sprintf("the seeds differ: %d and %d", a.Seed, b.Seed))
	}
	if a.Version != b.Version {
		c.note("the versions differ: " + a.Version + " and " + b.Version)
	}
	if a.Machine != b.Machine {
		c.note(fmt.Sprintf("the machines differ: %s and %s", machine(a.Machine), machine(b.Machine)))
	}
	if lines := linediff.Lines(scenarios[0], scenarios[1]); len(lines) > 0 {
		c.note("the scenarios differ:\n" + strings.Join(lines, "\n"))
	}
}

// state says of one run why its figures may not be all there is to know.
func (c *Comparison) state(i int, h *report.History) {
	r := h.Run
	switch {
	case !h.Whole && len(h.Samples) == 0:
		c.doubt("the record of the " + align.Which(i) + " run has a beginning and no figures")
	case !h.Whole:
		c.doubt(fmt.Sprintf("the record of the %s run is cut after %s: what came then is not known", align.Which(i), human.Duration(r.Duration().Round(time.Second))))
	case r.Outcome == report.Failed || r.Outcome == report.Interrupted:
		text := fmt.Sprintf("the %s run %s", align.Which(i), map[report.Outcome]string{report.Failed: "failed", report.Interrupted: "was interrupted"}[r.Outcome])
		if r.Reason != "" {
			text += ": " + r.Reason
		}
		c.doubt(text)
	}
	if g := r.Generator; r.Outcome == report.Saturated && (g == nil || len(g.Stages) == 0) {
		c.Unfit = append(c.Unfit, "in the "+align.Which(i)+" run the generator was the bottleneck: its figures are not the target's")
	}
}

// notAsAsked says why the figures of a stage are not the target's; empty when they are.
func (c *Comparison) notAsAsked(stage string) string {
	for i, r := range []*report.Run{c.Before, c.After} {
		if r.Generator == nil {
			continue
		}
		for n := range r.Generator.Stages {
			if x := &r.Generator.Stages[n]; x.Name == stage && !x.AsAsked {
				return fmt.Sprintf("in the %s run the load was not as asked, in %s", align.Which(i), x)
			}
		}
	}
	return ""
}

func machine(m report.Machine) string {
	return fmt.Sprintf("%s/%s, %s, %s", m.OS, m.Arch, human.Number(m.CPUs, "processor"), m.Go)
}
