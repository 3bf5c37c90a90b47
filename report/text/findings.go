package text

import (
	"fmt"
	"slices"
	"strings"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/agents"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/findings"
	"github.com/twinfleet/twinfleet/report/human"
)

// writeFindings writes the findings, a line each.
func writeFindings(b *strings.Builder, r *report.Run, style color.Style) {
	for _, f := range findings.Of(r) {
		switch f.Mark {
		case findings.None:
			fmt.Fprintf(b, "  %s\n", f.Text)
		case findings.Warn:
			fmt.Fprintf(b, "  %s %s\n", style.Warning(), f.Text)
		default:
			fmt.Fprintf(b, "  %s %s\n", style.Mark(f.Mark == findings.Good), f.Text)
		}
	}
}

func writeGenerator(b *strings.Builder, r *report.Run, style color.Style) {
	switch {
	case r.Generator == nil:
	case r.Generator.Saturated:
		for _, line := range r.GeneratorLines() {
			fmt.Fprintf(b, "  %s generator: %s\n", style.Mark(false), line)
		}
	default:
		fmt.Fprintf(b, "  generator: %s\n", r.GeneratorLine())
	}
}

// mostAgents is how many agents are shown: those in trouble first.
const mostAgents = 6

// mostWrong is how many letters say what is wrong with one.
const mostWrong = 50

// writeAgents says how the agents of a run on many machines were, a line each.
func writeAgents(b *strings.Builder, r *report.Run, style color.Style) {
	if len(r.Agents) == 0 {
		return
	}
	fmt.Fprintf(b, "  agents: %s\n", agents.Headline(r.Agents))
	rows, more := agents.Worst(r.Agents, mostAgents)
	last := len(agents.Columns()) - 1
	lines := [][]string{agents.Columns()}
	for _, x := range rows {
		cells := slices.Clone(x.Cells)
		if wrong := []rune(cells[last]); len(wrong) > mostWrong { // the findings have it whole
			cells[last] = string(wrong[:mostWrong-1]) + "…"
		}
		lines = append(lines, cells)
	}
	for i, line := range human.Columns(lines, func(column int) bool { return column > 0 && column < last }) {
		mark := " "
		switch {
		case i == 0:
			line = style.Faint(line)
		case rows[i-1].State == agents.Unsure:
			mark = style.Warning()
		case rows[i-1].State != agents.Well:
			mark = style.Mark(false)
		}
		fmt.Fprintf(b, "  %s %s\n", mark, line)
	}
	if more != "" {
		fmt.Fprintf(b, "    %s; summary.json has all\n", more)
	}
}
