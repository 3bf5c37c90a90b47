package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/human"
)

func writeThresholds(b *strings.Builder, r *Run, style color.Style) {
	if len(r.Thresholds) == 0 {
		return
	}
	width := 0
	for _, v := range r.Thresholds {
		width = max(width, len(v.Threshold))
	}
	for _, v := range r.Thresholds {
		mark, observed := style.Mark(v.Pass), v.Observed
		if v.CannotSay {
			mark, observed = style.Unknown(), observed+": cannot say, the load was not the one asked for"
		}
		fmt.Fprintf(b, "  %s %-*s  %s\n", mark, width, v.Threshold, observed)
	}
	b.WriteString("\n")
}

// Line is one row of the table of operations: all groups of an operation together, except for
// queries, which have a row each.
type Line struct {
	Name   string
	Series *metrics.SeriesSnapshot
}

// Lines are the rows of the table of operations for a snapshot: those that were scheduled in it, or ended in it.
func Lines(s *metrics.Snapshot) []Line {
	var lines []Line
	for _, op := range metrics.Operations() {
		if op == metrics.OpQuery {
			for i := range s.Series {
				if s.Series[i].Operation == op && s.Series[i].Scheduled()+s.Series[i].Ended() > 0 {
					lines = append(lines, Line{"query " + s.Series[i].Group, &s.Series[i]})
				}
			}
			continue
		}
		if x := s.Select(op, ""); x != nil && x.Scheduled()+x.Ended() > 0 {
			lines = append(lines, Line{string(op), x})
		}
	}
	return lines
}

func writeOperations(b *strings.Builder, r *Run, style color.Style) {
	rows := [][]string{{"operation", "count", "rate", "throttled", "errors", "p50", "p95", "p99", "max"}}
	for _, l := range Lines(r.Totals) {
		rows = append(rows, l.cells(r))
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

// cells are the line's figures, for people.
func (l Line) cells(r *Run) []string {
	x := l.Series
	cells := []string{
		l.Name, human.Count(x.Ended()), human.Rate(float64(x.Ended()) / max(r.Loaded().Seconds(), 1e-9)),
		human.Count(x.Count(metrics.Throttled)), human.Count(x.Errors()),
	}
	h := x.Latency(false)
	if h.Count == 0 { // nothing ended, or all was refused
		return append(cells, "–", "–", "–", "–")
	}
	return append(cells, human.Duration(h.Quantile(0.5)), human.Duration(h.Quantile(0.95)), human.Duration(h.Quantile(0.99)), human.Duration(h.Maximum()))
}

func writeQueries(b *strings.Builder, r *Run, _ color.Style) {
	for _, line := range QueryLines(r) {
		fmt.Fprintf(b, "  %s\n", line)
	}
}

// QueryLines say what the queries found last, a line each.
func QueryLines(r *Run) []string {
	var lines []string
	for _, q := range r.Totals.Queries {
		found := human.Number(q.Results, "device")
		if slices.Contains(r.Rows, q.Query) {
			found = human.Number(q.Results, "row")
		}
		lines = append(lines, fmt.Sprintf("query %s found %s in its last result; %s, %s", q.Query, found, human.Number(q.Runs, "run"), human.Number(q.Pages, "page")))
	}
	return lines
}

// WaitingLine is the state of the wait for the last answers in one line; left is 0 when it is not known.
func WaitingLine(at time.Duration, waiting int, left time.Duration) string {
	return fmt.Sprintf("%7s  %s", human.Duration(at), Waiting(waiting, left))
}

// Waiting says how many answers are waited for after the last stage, and for how long at most.
func Waiting(waiting int, left time.Duration) string {
	text := "waiting for answers: " + human.Count(waiting)
	if left > 0 {
		text += ", at most " + human.Duration(left.Round(time.Second)) + " more"
	}
	return text
}

// ProgressLine is the figures of the last second in one line.
func ProgressLine(stage string, total, interval *metrics.Snapshot) string {
	devices := total.DevicesIn("connected")
	line := fmt.Sprintf("%7s  %-12s %7s connected", human.Duration(total.Elapsed), cmp.Or(stage, "–"), human.Count(devices))
	if lost := total.DevicesIn("backoff"); lost > 0 {
		line += fmt.Sprintf(" (%s lost)", human.Count(lost))
	}
	var ended, errs, throttled uint64
	for i := range interval.Series {
		x := &interval.Series[i]
		ended += x.Ended()
		errs += x.Errors()
		throttled += x.Count(metrics.Throttled)
	}
	line += fmt.Sprintf("  %9s", human.Rate(float64(ended)/max(interval.Elapsed.Seconds(), 1e-9)))
	for _, l := range []struct {
		op   metrics.Operation
		name string
	}{{metrics.OpTwinReport, "report"}, {metrics.OpTelemetry, "telemetry"}, {metrics.OpConnect, "connect"}} {
		x := interval.Select(l.op, "")
		if x == nil || x.Ended() == 0 {
			continue
		}
		h := x.Latency(false)
		line += fmt.Sprintf("  %s p50 %s p99 %s", l.name, human.Duration(h.Quantile(0.5)), human.Duration(h.Quantile(0.99)))
		break
	}
	if throttled > 0 {
		line += fmt.Sprintf("  throttled %s", human.Count(throttled))
	}
	return line + fmt.Sprintf("  errors %s", human.Count(errs))
}
