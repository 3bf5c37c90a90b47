package view

import (
	"fmt"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/internal/terminal/layout"
	"github.com/twinfleet/twinfleet/internal/terminal/paint"
	"github.com/twinfleet/twinfleet/internal/terminal/runstate"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/account"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/report/reasons"
)

// sections are the parts of the view in so many lines.
func (v view) sections(room int) []string {
	all := []layout.Section{v.groups(), v.operations(), v.sparks(), v.errors(), v.events()}
	return layout.Lines(all, room, func(n int) string { return " " + v.Paint(paint.Faint, fmt.Sprintf("and %d more", n)) })
}

// Widths of the columns of the table of operations.
const (
	timeWidth  = 7
	rateWidth  = 8
	countWidth = 9
	errorWidth = 8
	// figuresWidth is all of them with what is between.
	figuresWidth = 1 + rateWidth + 3*(1+timeWidth) + 2*(1+countWidth) + 1 + errorWidth
)

// operations is what the operations did in the last seconds, and how many there were in all.
func (v view) operations() layout.Section {
	lines := v.lines()
	names := make([]string, 0, len(lines))
	for _, l := range lines {
		names = append(names, l.Name)
	}
	name := columnWidth(names, 11, max(0, v.width-2-figuresWidth))
	if v.width >= wide {
		name = columnWidth(names, 11, 40)
	}
	// Left is what the last seconds were like, right is the whole run.
	head := paint.Fit(fmt.Sprintf("last %d s", runstate.WindowLength), name) + " " + paint.Right("rate", rateWidth)
	for _, c := range []string{"p50", "p95", "p99"} {
		head += " " + paint.Right(c, timeWidth)
	}
	head += " " + paint.Right("in all", countWidth) + " " + paint.Right("throttled", countWidth) + " " + paint.Right("errors", errorWidth)
	sparkWidth := 0
	if v.width >= wide {
		sparkWidth = min(v.width-2-name-figuresWidth-2-2-timeWidth-1, runstate.HistoryLength)
		head += "   " + paint.Fit("p99, second by second", sparkWidth) + " " + paint.Right("at most", timeWidth)
	}
	out := layout.Section{Head: v.Paint(paint.Faint, " "+paint.Cut(head, v.width-1)), Least: 3, First: 9}
	lately := v.lately()
	for _, l := range lines {
		recent := lately[l.Name]
		out.Rows = append(out.Rows, v.operation(l, recent, name, sparkWidth))
		out.Idle = append(out.Idle, recent == nil || recent.Scheduled() == 0)
	}
	return out
}

// operation is a line of the table; recent is what it did in the last seconds, nil for nothing.
func (v view) operation(l account.Line, recent *metrics.SeriesSnapshot, name, sparkWidth int) string {
	rate, times := "–", [3]string{"–", "–", "–"}
	if recent != nil {
		rate = human.Rate(float64(recent.Ended()) / max(v.Window().Elapsed.Seconds(), 1e-9))
		if h := recent.Latency(false); h.Count > 0 {
			times = [3]string{human.Duration(h.Quantile(0.5)), human.Duration(h.Quantile(0.95)), human.Duration(h.Quantile(0.99))}
		}
	}
	line := " " + paint.Fit(l.Name, name) + " " + paint.Right(rate, rateWidth)
	for _, t := range times {
		line += " " + paint.Right(t, timeWidth)
	}
	for _, x := range []struct {
		n     uint64
		code  string
		width int
	}{{l.Series.Ended(), "", countWidth}, {l.Series.Count(metrics.Throttled), paint.Yellow, countWidth}, {l.Series.Errors(), paint.Red, errorWidth}} {
		text := paint.Right(human.Count(x.n), x.width)
		if x.n > 0 {
			text = v.Paint(x.code, text)
		}
		line += " " + text
	}
	if sparkWidth <= 0 {
		return paint.Cut(line, v.width)
	}
	history, most := v.Latencies(l.Name, sparkWidth)
	largest := "–"
	if most > 0 {
		largest = human.Duration(most)
	}
	return line + "   " + v.Paint(paint.Cyan, paint.Fit(paint.Spark(history), sparkWidth)) + " " + paint.Right(largest, timeWidth)
}

// lately is the operations in the last seconds, by name.
func (v view) lately() map[string]*metrics.SeriesSnapshot {
	recent := make(map[string]*metrics.SeriesSnapshot)
	if v.Window() != nil {
		for _, l := range account.Lines(v.Window()) {
			recent[l.Name] = l.Series
		}
	}
	return recent
}

func (v view) lines() []account.Line {
	if v.Figures() == nil {
		return nil
	}
	return account.Lines(v.Figures())
}

// sparks is the latency of the operations as sparklines, those that say most about a twin back end first. A
// wide table of operations has them in its lines.
func (v view) sparks() layout.Section {
	if v.width >= wide {
		return layout.Section{}
	}
	lines := v.lines()
	rank := func(l account.Line) int {
		if i := slices.Index([]metrics.Operation{metrics.OpTwinReport, metrics.OpTelemetry, metrics.OpConnect}, l.Series.Operation); i >= 0 {
			return i
		}
		return 3
	}
	slices.SortStableFunc(lines, func(a, b account.Line) int { return rank(a) - rank(b) })
	out := layout.Section{Least: 1, First: 1, Plain: true}
	for _, l := range lines {
		name := paint.Cut(l.Name, 24) + " p99"
		width := v.width - 2 - len([]rune(name)) - 2 - 2 - len("at most ") - timeWidth
		times, most := v.Latencies(l.Name, width)
		if most == 0 {
			continue
		}
		out.Rows = append(out.Rows, " "+name+"  "+v.Paint(paint.Cyan, paint.Fit(paint.Spark(times), width))+"  "+
			v.Paint(paint.Faint, "at most ")+paint.Right(human.Duration(most), timeWidth))
	}
	return out
}

// errors are the reasons why operations ended badly, the ones that came last first.
func (v view) errors() layout.Section {
	if v.Figures() == nil {
		return layout.Section{}
	}
	lines := reasons.Lines(v.Figures())
	out := layout.Section{Head: v.Paint(paint.Faint, " last errors"), Least: 3, First: 4}
	now := v.Figures().At
	for _, l := range lines {
		ago := "now"
		if d := now.Sub(l.Last); d >= time.Second {
			ago = human.Duration(d.Truncate(time.Second)) + " ago"
			if d < time.Minute {
				ago = fmt.Sprintf("%ds ago", int(d.Seconds()))
			}
		}
		code := paint.Red
		if l.Outcome == metrics.Throttled.String() {
			code = paint.Yellow
		}
		text := paint.Right(human.Count(l.Count), countWidth) + "  " + l.Text
		out.Rows = append(out.Rows, " "+v.Paint(code, paint.Fit(text, v.width-2-12))+paint.Right(ago, 12))
	}
	return out
}

// events is what happened, the latest at the bottom.
func (v view) events() layout.Section {
	out := layout.Section{Head: v.Paint(paint.Faint, " events"), Least: 1, First: 3, Last: true}
	for _, e := range v.Events() {
		text := paint.Clean(e.Text)
		if e.Detail != "" {
			text += ": " + paint.Clean(e.Detail)
		}
		code := ""
		switch {
		case !e.OK && e.Kind == report.KindStep:
			code = paint.Red
		case !e.OK:
			code = paint.Yellow
		}
		if e.Kind == report.KindStage {
			text = "stage " + text
		}
		out.Rows = append(out.Rows, " "+v.Paint(paint.Faint, paint.Right(human.Duration(e.At), 7))+"  "+v.Paint(code, paint.Cut(text, v.width-2-7-2)))
	}
	return out
}
