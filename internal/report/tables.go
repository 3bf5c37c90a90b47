package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/twinfleet/twinfleet/metrics"
)

func writeThresholds(b *strings.Builder, r *Run, style Style) {
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
			mark, observed = style.paint(yellow, "?"), observed+": cannot say, the load was not the one asked for"
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

func writeOperations(b *strings.Builder, r *Run, style Style) {
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
	h := x.Latency(false)
	return []string{
		l.Name, Count(int64(x.Ended())), Rate(float64(x.Ended()) / max(r.Duration().Seconds(), 1e-9)),
		Count(int64(x.Count(metrics.Throttled))), Count(int64(x.Errors())),
		Duration(h.Quantile(0.5)), Duration(h.Quantile(0.95)), Duration(h.Quantile(0.99)), Duration(h.Maximum()),
	}
}

// writeAccounts says what became of everything that was scheduled: all together, and each operation of
// which something started late or not at all, two in a line.
func writeAccounts(b *strings.Builder, r *Run) {
	var all account
	var parts []string
	width := 0
	for _, l := range Lines(r.Totals) {
		one := account{l.Series.Scheduled(), l.Series.Late, l.Series.DroppedTotal(), l.Series.Dropped}
		all.add(one)
		if one.late+one.dropped > 0 {
			parts = append(parts, l.Name+" "+one.short())
			width = max(width, utf8.RuneCountInString(parts[len(parts)-1]))
		}
	}
	fmt.Fprintf(b, "  scheduled %s = on time %s + late %s + dropped %s%s\n", count(all.scheduled), count(all.scheduled-all.late-all.dropped), count(all.late), count(all.dropped), all.why())
	for pair := range slices.Chunk(parts, 2) {
		line := fmt.Sprintf("    %-*s", width, pair[0])
		if len(pair) > 1 {
			line += "    " + pair[1]
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

// account is what became of the operations that were scheduled.
type account struct {
	scheduled, late, dropped uint64
	reasons                  map[string]uint64 // of the dropped ones
}

func (a *account) add(o account) {
	a.scheduled, a.late, a.dropped = a.scheduled+o.scheduled, a.late+o.late, a.dropped+o.dropped
	for reason, n := range o.reasons {
		if a.reasons == nil {
			a.reasons = make(map[string]uint64)
		}
		a.reasons[reason] += n
	}
}

func (a account) short() string {
	return fmt.Sprintf("%s = %s + %s + %s%s", count(a.scheduled), count(a.scheduled-a.late-a.dropped), count(a.late), count(a.dropped), a.why())
}

// why lists the reasons of what was dropped; empty when nothing was.
func (a account) why() string {
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(a.reasons)) {
		parts = append(parts, reason+" "+count(a.reasons[reason]))
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

func count(n uint64) string { return Count(int64(n)) }

func writeQueries(b *strings.Builder, r *Run, _ Style) {
	for _, q := range r.Totals.Queries {
		fmt.Fprintf(b, "  query %s found %s devices in its last result; %s runs, %s pages\n", q.Query, Count(int64(q.Results)), Count(int64(q.Runs)), Count(int64(q.Pages)))
	}
}

// ProgressLine is the figures of the last second in one line.
func ProgressLine(stage string, total, interval *metrics.Snapshot) string {
	devices := total.DevicesIn("connected")
	line := fmt.Sprintf("%7s  %-12s %7s connected", Duration(total.Elapsed), stage, Count(int64(devices)))
	if lost := total.DevicesIn("backoff"); lost > 0 {
		line += fmt.Sprintf(" (%s lost)", Count(int64(lost)))
	}
	var ended, errs, throttled uint64
	for i := range interval.Series {
		x := &interval.Series[i]
		ended += x.Ended()
		errs += x.Errors()
		throttled += x.Count(metrics.Throttled)
	}
	line += fmt.Sprintf("  %9s", Rate(float64(ended)/max(interval.Elapsed.Seconds(), 1e-9)))
	for _, l := range []struct {
		op   metrics.Operation
		name string
	}{{metrics.OpTwinReport, "report"}, {metrics.OpTelemetry, "telemetry"}, {metrics.OpConnect, "connect"}} {
		x := interval.Select(l.op, "")
		if x == nil || x.Ended() == 0 {
			continue
		}
		h := x.Latency(false)
		line += fmt.Sprintf("  %s p50 %s p99 %s", l.name, Duration(h.Quantile(0.5)), Duration(h.Quantile(0.99)))
		break
	}
	if throttled > 0 {
		line += fmt.Sprintf("  throttled %s", Count(int64(throttled)))
	}
	return line + fmt.Sprintf("  errors %s", Count(int64(errs)))
}
