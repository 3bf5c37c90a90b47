// Package write writes a comparison for people and for programs.
package write

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/compare"
	"github.com/twinfleet/twinfleet/report/human"
)

// Text writes a comparison for people: every figure that is not simply as good as before, or all of them.
func Text(w io.Writer, c *compare.Comparison, style color.Style, all bool) error {
	b := &strings.Builder{}
	fmt.Fprintf(b, "\n  before  %s\n  after   %s\n\n", headline(c.Before), headline(c.After))
	for _, n := range warnings(c) {
		fmt.Fprintf(b, "  %s %s\n", style.Warning(), strings.ReplaceAll(n, "\n", "\n      "))
	}
	if len(warnings(c)) > 0 {
		b.WriteString("\n")
	}
	rows := shown(c, all)
	cells := [][]string{heading()}
	for _, r := range rows {
		cells = append(cells, columns(&r))
	}
	if len(rows) > 0 {
		verdict := len(cells[0]) - 1
		for n, line := range human.Columns(cells, func(column int) bool { return column > 1 && column < verdict }) {
			b.WriteString("  " + paintRow(style, line, n, rows) + "\n")
		}
		b.WriteString("\n")
	}
	mark := map[compare.Answer]string{
		compare.SomethingWorse: style.Mark(false), compare.NothingWorse: style.Mark(true),
		compare.CannotTell: style.Warning(),
	}[c.Answer()]
	fmt.Fprintf(b, "  %s %s\n", mark, c.Sentence())
	for _, line := range remarks(c, len(rows) < len(c.Rows)) {
		b.WriteString("    " + line + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// warnings are what a reader must know, the gravest first.
func warnings(c *compare.Comparison) []string { return slices.Concat(c.Unfit, c.Doubts, c.Notes) }

func headline(r *report.Run) string {
	parts := []string{r.Name, r.Started.Format(time.DateTime), human.Duration(r.Duration())}
	if r.Target != "" {
		parts = append(parts, r.Target)
	}
	return strings.Join(append(parts, r.Headline()), ", ")
}

func heading() []string {
	return []string{"operation", "figure", "before", "after", "change", "95% interval", ""}
}

func paintRow(style color.Style, line string, n int, rows []compare.Row) string {
	if n == 0 {
		return style.Faint(line)
	}
	switch r := rows[n-1]; {
	case r.Bad():
		return style.Bad(line)
	case r.Verdict == compare.TooShort || r.Verdict == compare.LateStart || r.Verdict == compare.Appeared:
		return style.Doubtful(line)
	}
	return line
}

// shown are the rows that a reader needs: of a group only what is worse than it was, or gone.
func shown(c *compare.Comparison, all bool) []compare.Row {
	if all {
		return c.Rows
	}
	return slices.DeleteFunc(slices.Clone(c.Rows), func(r compare.Row) bool {
		switch r.Verdict {
		case compare.NotWorse, compare.TooFew:
			return true
		case compare.TooShort, compare.LateStart, compare.Better, compare.Differs:
			return r.Group != ""
		}
		return false
	})
}

// remarks are what goes with the answer.
func remarks(c *compare.Comparison, hidden bool) []string {
	var lines []string
	if c.Blocks > 0 {
		m := c.Margins
		lines = append(lines, fmt.Sprintf("margins: p50 %s, p95 %s, p99 %s, rate %s, errors %s of what was due; latencies %s",
			share(m.P50), share(m.P95), share(m.P99), share(m.Rate), share(m.Errors), human.Duration(c.Floor)))
	}
	var few []string
	for _, r := range c.Rows {
		if r.Verdict == compare.TooFew && r.Group == "" {
			if n := len(few); n > 0 && strings.HasPrefix(few[n-1], r.Operation+" ") {
				few[n-1] += " " + r.Figure
			} else {
				few = append(few, r.Operation+" "+r.Figure)
			}
		}
	}
	if len(few) > 0 {
		lines = append(lines, "too few operations for: "+strings.Join(few, ", "))
	}
	if hidden {
		lines = append(lines, "--all shows every figure")
	}
	return lines
}

func columns(r *compare.Row) []string {
	name := r.Operation
	if r.Group != "" {
		name += " " + r.Group
	}
	return []string{name, r.Figure, value(r, r.Before), value(r, r.After), change(r, r.Change), interval(r), answer(r)}
}

// answer is the verdict as a row says it: with the margin, where that is what was found.
func answer(r *compare.Row) string {
	if r.Verdict != compare.NotWorse {
		return string(r.Verdict)
	}
	margin := share(r.Margin)
	switch {
	case r.Unit == compare.Share:
		margin = points(r.Margin)
	case r.Floor > 0:
		margin = human.Duration(r.Floor)
	}
	return string(compare.NotWorse) + " by " + margin
}

func interval(r *compare.Row) string {
	if math.IsNaN(r.Low) {
		return "–"
	}
	return change(r, r.Low) + " … " + change(r, r.High)
}

func value(r *compare.Row, x float64) string {
	switch r.Unit {
	case compare.Seconds:
		return human.Duration(time.Duration(math.Round(x * float64(time.Second))))
	case compare.PerSecond:
		return human.Rate(x)
	case compare.Share:
		return share(x)
	default:
		return human.Count(int64(x))
	}
}

// change is a change as one reads it: what is several times as much, or as little, as a factor.
func change(r *compare.Row, x float64) string {
	switch {
	case math.IsNaN(x):
		return "–"
	case r.Unit == compare.Share:
		if x < 0 {
			return points(x)
		}
		return "+" + points(x)
	case x >= 999:
		return ">×1000"
	case x >= 9:
		return fmt.Sprintf("×%.0f", 1+x)
	case x >= 1:
		return fmt.Sprintf("×%.1f", 1+x)
	case x > -0.0005 && x < 0: // what is nothing has no sign
		return "+0.0%"
	default:
		return fmt.Sprintf("%+.1f%%", 100*x)
	}
}

// points are a difference of shares.
func points(x float64) string { return strconv.FormatFloat(100*x, 'f', 2, 64) + " pt" }

func share(x float64) string {
	if x >= 9.995 {
		return human.Count(int64(math.Round(100*x))) + "%"
	}
	return strconv.FormatFloat(100*x, 'g', 3, 64) + "%"
}
