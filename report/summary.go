package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/human"
)

// WriteSummary writes the end of a run on one screen: the verdict, the thresholds, the
// operations, the queries, and what a reader must know to trust the figures.
func WriteSummary(w io.Writer, r *Run, style color.Style) error {
	b := &strings.Builder{}
	b.WriteString("\n")
	writeHeadline(b, r, style)
	writeSteps(b, r, style)
	writeThresholds(b, r, style)
	writeOperations(b, r, style)
	writeQueries(b, r, style)
	writeFindings(b, r, style)
	writeOutages(b, r, style)
	writeGenerator(b, r, style)
	for _, n := range r.Notes {
		fmt.Fprintf(b, "  %s %s\n", style.Warning(), n)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeHeadline(b *strings.Builder, r *Run, style color.Style) {
	target := ""
	if r.Target != "" { // it was not opened
		target = " · " + r.Target
	}
	fmt.Fprintf(b, "  %s  %s in %s · %s%s · seed %d\n", style.Headline(strings.ToUpper(string(r.Outcome)), r.Outcome == Passed, r.Outcome == Interrupted),
		r.Name, human.Duration(r.Duration()), r.DevicesText(), target, r.Seed)
	if r.Reason != "" {
		fmt.Fprintf(b, "  %s\n", r.Reason)
	}
	b.WriteString("\n")
}

func writeSteps(b *strings.Builder, r *Run, style color.Style) {
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

func writeOutages(b *strings.Builder, r *Run, style color.Style) {
	worst, more := WorstOutages(r)
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

// shownOutages is how many outages are told of one by one.
const shownOutages = 3

// WorstOutages are the outages in which the most connections were lost, in their order, and a line that counts the others;
// "" when there are none. A target that comes and goes has hundreds.
func WorstOutages(r *Run) (worst []Outage, more string) {
	all := r.Outages
	if len(all) <= shownOutages {
		return all, ""
	}
	byLoss := slices.Clone(all)
	slices.SortStableFunc(byLoss, func(a, b Outage) int { return b.Total - a.Total })
	worst = byLoss[:shownOutages]
	slices.SortStableFunc(worst, func(a, b Outage) int { return cmp.Compare(a.From, b.From) })
	lost, longest := 0, time.Duration(0)
	for _, o := range byLoss[shownOutages:] {
		lost += o.Total
		longest = max(longest, o.To-o.From)
	}
	return worst, fmt.Sprintf("%s more, of %s at the most, in which %s were lost; summary.json has all", human.Number(len(all)-shownOutages, "outage"), human.Duration(longest), human.Number(lost, "connection"))
}

// Stopped says how many devices a stage stopped before they were back.
func (o Outage) Stopped() string {
	return human.Number(o.Left, "device") + " had not come back when a stage stopped them"
}

// String is the outage in one line.
func (o Outage) String() string {
	back := "99 % were back after " + human.Duration(o.To-o.From)
	switch {
	case o.Recovered:
	case o.Left > 0:
		back = o.Stopped()
	default:
		back = "they were not back when the run ended"
	}
	were := func(n int, one string) string {
		if n == 1 {
			return "1 " + one + " was"
		}
		return human.Number(n, one) + " were"
	}
	return fmt.Sprintf("outage at %s: %s lost, %s gone at once; %s", human.Duration(o.From), were(o.Total, "connection"), were(o.Lost, "device"), back)
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
