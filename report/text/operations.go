package text

import (
	"fmt"
	"strings"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/account"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/findings"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/report/reasons"
)

func writeThresholds(b *strings.Builder, r *report.Run, style color.Style) {
	if len(r.Thresholds) == 0 {
		return
	}
	width := 0
	for _, v := range r.Thresholds {
		width = max(width, len(v.Threshold))
	}
	for _, v := range r.Thresholds {
		mark, observed := style.Mark(v.Pass), v.Observed
		if missed := r.MissedText(&v); missed != "" {
			observed += "; " + missed
		}
		if v.CannotSay {
			mark, observed = style.Unknown(), observed+": cannot say, the load was not the one asked for"
		}
		fmt.Fprintf(b, "  %s %-*s  %s\n", mark, width, v.Threshold, observed)
	}
	b.WriteString("\n")
}

func writeOperations(b *strings.Builder, r *report.Run, style color.Style, p account.Percentiles) {
	rows := [][]string{append([]string{"operation", "count", "rate", "throttled", "errors"}, p.Headings()...)}
	for _, l := range account.Lines(r.Totals) {
		rows = append(rows, l.Cells(r, p))
	}
	if len(rows) == 1 {
		return
	}
	t := &strings.Builder{}
	table(t, style, rows)
	text := t.String()
	if len(r.Totals.Errors) > 0 { // they take the place of the blank line
		text = strings.TrimSuffix(text, "\n")
	}
	b.WriteString(text)
	writeErrors(b, r, style)
	writeAccounts(b, r)
}

func writeQueries(b *strings.Builder, r *report.Run, _ color.Style) {
	for _, line := range findings.Queries(r) {
		fmt.Fprintf(b, "  %s\n", line)
	}
}

// maxReasons is how many reasons the summary tells; the reports have all.
const maxReasons = 4

func writeErrors(b *strings.Builder, r *report.Run, style color.Style) {
	reasons := reasons.Of(r)
	for _, x := range reasons[:min(len(reasons), maxReasons)] {
		mark := style.Mark(false)
		if strings.HasPrefix(x.Text, metrics.Throttled.String()) {
			mark = style.Warning()
		}
		fmt.Fprintf(b, "  %s %s %s  %s\n", mark, human.Count(x.Count), x.Text, style.Faint("· "+x.Where()))
	}
	switch more := len(reasons) - maxReasons; {
	case more == 1:
		b.WriteString("    1 more reason\n")
	case more > 1:
		fmt.Fprintf(b, "    %d more reasons\n", more)
	}
}
