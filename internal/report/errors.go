package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/twinfleet/twinfleet/metrics"
)

// ErrorLine is one reason why operations ended badly, for people: 1,234 twin_report throttled: status 429.
type ErrorLine struct {
	metrics.ErrorCount
	Text string // operation, outcome and reason, on one line
}

// ErrorLines are the reasons in a snapshot, the ones that came last first.
func ErrorLines(s *metrics.Snapshot) []ErrorLine {
	lines := make([]ErrorLine, 0, len(s.Errors))
	for _, e := range s.Errors {
		text := string(e.Operation) + " " + e.Outcome
		if e.Reason != e.Outcome {
			text += ": " + oneLine(e.Reason)
		}
		lines = append(lines, ErrorLine{e, text})
	}
	slices.SortStableFunc(lines, func(a, b ErrorLine) int { return b.Last.Compare(a.Last) })
	return lines
}

// oneLine takes from a text what would move a terminal's cursor: some reasons are the target's words.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

// maxReasons is how many reasons the summary tells, in one line; summary.json has all.
const maxReasons = 3

func writeErrors(b *strings.Builder, r *Run, style Style) {
	lines := ErrorLines(r.Totals)
	if len(lines) == 0 {
		return
	}
	slices.SortStableFunc(lines, func(a, b ErrorLine) int { return cmp.Compare(b.Count, a.Count) })
	var parts []string
	for _, l := range lines[:min(len(lines), maxReasons)] {
		parts = append(parts, count(l.Count)+" "+l.Text)
	}
	if more := len(lines) - maxReasons; more == 1 {
		parts = append(parts, "1 more reason")
	} else if more > 1 {
		parts = append(parts, fmt.Sprintf("%d more reasons", more))
	}
	fmt.Fprintf(b, "  %s %s\n", style.paint(red, "✗"), strings.Join(parts, " · "))
}
