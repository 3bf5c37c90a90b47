// Package text writes the end of a run for people, on one screen.
package text

import (
	"fmt"
	"io"
	"strings"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/account"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/findings"
	"github.com/twinfleet/twinfleet/report/human"
)

// Write writes the end of a run on one screen: the verdict, the thresholds, the
// operations, the queries, and what a reader must know to trust the figures.
func Write(w io.Writer, r *report.Run, style color.Style) error {
	return WriteWith(w, r, style, nil)
}

// WriteWith is Write with percentiles of one's choice.
func WriteWith(w io.Writer, r *report.Run, style color.Style, p account.Percentiles) error {
	b := &strings.Builder{}
	b.WriteString("\n")
	writeHeadline(b, r, style)
	writeSteps(b, r, style)
	writeThresholds(b, r, style)
	writeOperations(b, r, style, p)
	writeQueries(b, r, style)
	writeFindings(b, r, style)
	writeOutages(b, r, style)
	writeGenerator(b, r, style)
	writeAgents(b, r, style)
	for _, n := range r.Notes {
		fmt.Fprintf(b, "  %s %s\n", style.Warning(), n)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeHeadline(b *strings.Builder, r *report.Run, style color.Style) {
	target := ""
	if r.Target != "" { // it was not opened
		target = " · " + r.Target
	}
	if r.Client != "" {
		target += " · client " + r.Client
	}
	fmt.Fprintf(b, "  %s  %s in %s · %s%s · seed %d\n",
		style.Headline(strings.ToUpper(r.Headline()), r.Outcome == report.Passed, r.Outcome == report.Interrupted),
		r.Name, human.Duration(r.Duration()), r.DevicesText(), target, r.Seed)
	if r.Reason != "" {
		fmt.Fprintf(b, "  %s\n", r.Reason)
	}
	b.WriteString("\n")
}

func writeSteps(b *strings.Builder, r *report.Run, style color.Style) {
	failed := 0
	for _, s := range r.Steps {
		if !s.OK {
			failed++
			fmt.Fprintf(b, "  %s %s: %s\n", style.Mark(false), s.Text, s.Detail)
		}
	}
	if len(r.Steps) > 0 && failed == 0 {
		steps := "every step"
		if len(r.Steps) == 1 {
			steps = "the one step"
		}
		fmt.Fprintf(b, "  %s %s did what was expected\n\n", style.Mark(true), steps)
	} else if failed > 0 {
		b.WriteString("\n")
	}
}

func writeOutages(b *strings.Builder, r *report.Run, style color.Style) {
	worst, more := findings.Outages(r)
	for _, o := range worst {
		fmt.Fprintf(b, "  %s %s\n", style.Warning(), o)
		if back := o.Return(); back != "" {
			fmt.Fprintf(b, "    %s\n", back)
		}
	}
	if more != "" {
		fmt.Fprintf(b, "  %s %s\n", style.Warning(), more)
	}
}

// table writes rows under a heading; all columns but the first are set right.
func table(b *strings.Builder, style color.Style, rows [][]string) {
	for n, line := range human.Columns(rows, func(column int) bool { return column > 0 }) {
		line = "  " + line
		if n == 0 {
			line = style.Faint(line)
		}
		b.WriteString(line + "\n")
	}
	b.WriteString("\n")
}
