package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/twinfleet/twinfleet/report/clean"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/human"
)

// about says of what the answer is.
func (a *Answer) about() string {
	parts := []string{a.Scenario, a.Target}
	if a.Tier != "" && !strings.Contains(a.Target, a.Tier) {
		parts = append(parts, a.Tier)
	}
	if a.Agents > 0 {
		parts = append(parts, human.Number(a.Agents, "agent"))
	}
	return strings.Join(append(parts, human.Number(a.Devices, "device"), fmt.Sprintf("seed %d", a.Seed)), " · ")
}

// Text writes the answer for a terminal of a hundred columns.
func (a *Answer) Text(w io.Writer, style color.Style) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s\n\n", style.Headline("ROLLOUT", a.Well(), a.BringUp.Held > 0), a.about())
	wrapped(&b, "  ", a.Headline(), style.Bold)
	plain := func(s string) string { return s }
	for _, line := range a.Lines() {
		wrapped(&b, "  ", line, plain)
	}
	if lines := a.BringUpLines(); len(lines) > 0 {
		b.WriteString("\n  bringing up\n")
		for _, line := range lines {
			wrapped(&b, "    ", line, plain)
		}
	}
	grid := func(title string, columns []string, rows [][]string) {
		if len(rows) == 0 {
			return
		}
		fmt.Fprintf(&b, "\n  %s\n", title)
		for i, line := range human.Columns(append([][]string{columns}, rows...), func(column int) bool { return column > 0 }) {
			if i == 0 {
				line = style.Faint(line)
			}
			fmt.Fprintf(&b, "    %s\n", strings.TrimRight(line, " "))
		}
	}
	grid("reconnect storm: all connections cut at once", StormColumns(), a.StormRows())
	if len(a.Storms) > 0 {
		wrapped(&b, "    ", a.Legend(), plain)
	}
	grid("back-off at the whole fleet", BackoffColumns(), a.BackoffRows())
	for _, line := range a.AdviceLines() {
		wrapped(&b, "    ", line, plain)
	}
	if len(a.Notes) > 0 {
		b.WriteString("\n")
	}
	for _, n := range a.Notes {
		wrapped(&b, "  ", "note: "+n, plain)
	}
	if len(a.Trials) > 0 {
		fmt.Fprintf(&b, "\n  %s in %s", human.Number(len(a.Trials), "trial"), roughly(a.Seconds))
	}
	if len(a.Trials) > 0 && a.Dir != "" {
		fmt.Fprintf(&b, " · records and reports in %s", a.Dir)
	}
	b.WriteString("\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// wrapped writes a text in lines of at most a hundred columns; what follows the first is indented further.
func wrapped(b *strings.Builder, indent, text string, paint func(string) string) {
	const most = 100
	line, first := "", true
	flush := func() {
		if line == "" {
			return
		}
		b.WriteString(indent)
		if !first {
			b.WriteString("  ")
		}
		b.WriteString(paint(line) + "\n")
		line, first = "", false
	}
	for _, word := range strings.Fields(text) {
		if line != "" && len(indent)+2+len([]rune(line))+1+len([]rune(word)) > most {
			flush()
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	flush()
}

// Markdown writes the answer for a comment, or a page that is kept.
func (a *Answer) Markdown(w io.Writer) error {
	var b strings.Builder
	mark := "✅"
	if !a.Well() {
		mark = "❌"
	}
	fmt.Fprintf(&b, "## %s Rollout of %s\n\n%s\n\n**%s**\n\n", mark, escape(a.Scenario), escape(a.about()), escape(a.Headline()))
	for _, line := range append(a.Lines(), a.BringUpLines()...) {
		fmt.Fprintf(&b, "- %s\n", escape(line))
	}
	grid := func(title string, columns []string, rows [][]string) {
		if len(rows) == 0 {
			return
		}
		fmt.Fprintf(&b, "\n### %s\n\n| %s |\n|%s\n", title, strings.Join(columns, " | "), "---|"+strings.Repeat("--:|", len(columns)-1))
		for _, r := range rows {
			fmt.Fprintf(&b, "| %s |\n", strings.Join(clean.MarkdownCells(r), " | "))
		}
	}
	grid("Reconnect storm: all connections cut at once", StormColumns(), a.StormRows())
	if len(a.Storms) > 0 {
		fmt.Fprintf(&b, "\n%s\n", escape(a.Legend()))
	}
	grid("Back-off at the whole fleet", BackoffColumns(), a.BackoffRows())
	if lines := a.AdviceLines(); len(lines) > 0 {
		b.WriteString("\n")
		for _, line := range lines {
			fmt.Fprintf(&b, "- %s\n", escape(line))
		}
	}
	if len(a.Thresholds) > 0 {
		b.WriteString("\nTrials were judged by:\n\n")
		for _, t := range a.Thresholds {
			fmt.Fprintf(&b, "- %s\n", clean.MarkdownCode(t))
		}
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
