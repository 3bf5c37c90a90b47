package compare

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/report"
)

func percent(x float64) string { return strconv.FormatFloat(x, 'g', 3, 64) + "%" }

// Write writes a comparison for people: every figure that changed, or all of them.
func (c *Comparison) Write(w io.Writer, style report.Style, all bool) error {
	b := &strings.Builder{}
	fmt.Fprintf(b, "\n  before  %s, %s, %s\n  after   %s, %s, %s\n\n", c.Before.Name, c.Before.Started.Format(time.DateTime), c.Before.Outcome, c.After.Name, c.After.Started.Format(time.DateTime), c.After.Outcome)
	for _, n := range c.Notes {
		fmt.Fprintf(b, "  ! %s\n", n)
	}
	if len(c.Notes) > 0 {
		b.WriteString("\n")
	}
	rows := [][]string{{"operation", "figure", "before", "after", "change", "chance", ""}}
	hidden := 0
	for _, r := range c.Rows {
		if r.Verdict == Same && !all {
			hidden++
			continue
		}
		rows = append(rows, []string{r.Operation, r.Figure, r.Before, r.After, change(r.Change), chance(r.P), string(r.Verdict)})
	}
	if len(rows) > 1 {
		verdict := len(rows[0]) - 1
		for _, line := range report.Columns(rows, func(column int) bool { return column > 1 && column < verdict }) {
			b.WriteString("  " + line + "\n")
		}
		b.WriteString("\n")
	}
	worse := len(c.Regressions())
	switch {
	case worse == 1:
		fmt.Fprintf(b, "  %s 1 figure is worse", style.Mark(false))
	case worse > 1:
		fmt.Fprintf(b, "  %s %d figures are worse", style.Mark(false), worse)
	default:
		fmt.Fprintf(b, "  %s nothing is worse", style.Mark(true))
	}
	fmt.Fprintf(b, "; %d of %d figures did not change by more than noise\n", len(c.Rows)-len(changed(c.Rows)), len(c.Rows))
	if hidden > 0 {
		b.WriteString("  --all shows every figure\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func changed(rows []Row) []Row {
	var out []Row
	for _, r := range rows {
		if r.Verdict != Same {
			out = append(out, r)
		}
	}
	return out
}

func change(x float64) string {
	if math.IsNaN(x) {
		return "–"
	}
	return fmt.Sprintf("%+.1f%%", 100*x)
}

// chance is a probability as one reads it.
func chance(p float64) string {
	switch {
	case math.IsNaN(p):
		return "–"
	case p < 0.001:
		return "<0.1%"
	default:
		return fmt.Sprintf("%.1f%%", 100*p)
	}
}
