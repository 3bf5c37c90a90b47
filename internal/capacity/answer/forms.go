package answer

import (
	"fmt"
	"io"
	"strings"

	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/report/clean"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/human"
)

// Well reports whether the search has an answer.
func (a *Answer) Well() bool { return a.End == search.Found || a.End == search.AtLeast }

// Text writes the answer for a terminal.
func (a *Answer) Text(w io.Writer, style color.Style) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s\n", style.Headline("CAPACITY", a.Well(), a.Held > 0), a.about())
	fmt.Fprintf(&b, "\n  %s\n", style.Bold(a.Headline()))
	for _, line := range a.Lines() {
		human.Wrap(&b, "  ", "    ", line)
	}
	if rows := a.Rows(); len(rows) > 0 {
		b.WriteString("\n")
		for i, line := range human.Columns(append([][]string{Columns()}, rows...), func(column int) bool { return column != 1 }) {
			if i == 0 {
				line = style.Faint(line)
			}
			fmt.Fprintf(&b, "  %s\n", line)
		}
	}
	if len(a.Notes) > 0 {
		b.WriteString("\n")
	}
	for _, n := range a.Notes {
		human.Wrap(&b, "  note: ", "    ", n)
	}
	fmt.Fprintf(&b, "\n  %s", human.Number(len(a.Trials), "trial"))
	if a.Seconds > 0 {
		fmt.Fprintf(&b, " in %s", roughly(a.Seconds))
	}
	if a.Dir != "" {
		fmt.Fprintf(&b, " · records and reports in %s", a.Dir)
	}
	b.WriteString("\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// about says of what the answer is.
func (a *Answer) about() string {
	parts := []string{a.Scenario, a.Target}
	if a.Tier != "" && !strings.Contains(a.Target, a.Tier) {
		parts = append(parts, a.Tier)
	}
	if a.Agents > 0 {
		parts = append(parts, human.Number(a.Agents, "agent"))
	}
	return strings.Join(append(parts, "varying "+string(a.Vary), fmt.Sprintf("seed %d", a.Seed)), " · ")
}

// Markdown writes the answer for a comment, or a page that is kept.
func (a *Answer) Markdown(w io.Writer) error {
	var b strings.Builder
	mark := "❌"
	switch {
	case a.Well():
		mark = "✅"
	case a.Held > 0:
		mark = "⚠️"
	}
	fmt.Fprintf(&b, "## %s Capacity of %s\n\n%s\n\n**%s**\n\n", mark, escape(a.Scenario), escape(a.about()), escape(a.Headline()))
	for _, line := range a.Lines() {
		fmt.Fprintf(&b, "- %s\n", escape(line))
	}
	if rows := a.Rows(); len(rows) > 0 {
		fmt.Fprintf(&b, "\n| %s |\n|%s\n", strings.Join(Columns(), " | "), strings.Repeat("---|", len(Columns())))
		for _, r := range rows {
			fmt.Fprintf(&b, "| %s |\n", strings.Join(clean.MarkdownCells(r), " | "))
		}
	}
	b.WriteString("\nA load is held when:\n\n")
	for _, t := range a.Thresholds {
		fmt.Fprintf(&b, "- %s\n", clean.MarkdownCode(t))
	}
	for _, n := range a.Notes {
		fmt.Fprintf(&b, "\n> %s\n", escape(n))
	}
	fmt.Fprintf(&b, "\n%s in %s · twinfleet %s\n", human.Number(len(a.Trials), "trial"), roughly(a.Seconds), escape(a.Version))
	_, err := io.WriteString(w, b.String())
	return err
}

// escape keeps text from being markup.
func escape(s string) string {
	return strings.ReplaceAll(clean.Markdown(s), "_", `\_`)
}
