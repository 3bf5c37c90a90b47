package terminal

import (
	"fmt"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/account"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/report/reasons"
)

// section is rows under a heading. When room is short it shows its first rows.
type section struct {
	head  string
	rows  []string
	least int  // rows that it gets before any other gets more
	first int  // rows that it gets before what is left is shared
	last  bool // the last rows are shown, and not the first
	plain bool // rows that are left out are not counted
	given int
}

// sections are the parts of the view in so many lines.
func (v view) sections(room int) []string {
	all := []section{v.groups(), v.operations(), v.sparks(), v.errors(), v.events()}
	all = slices.DeleteFunc(all, func(s section) bool { return len(s.rows) == 0 })
	gaps := len(all)
	if room < 19 { // short of room: no blank lines
		gaps = 0
	}
	share(all, room-gaps)
	var lines []string
	for _, s := range all {
		if s.given == 0 {
			continue
		}
		if gaps > 0 {
			lines = append(lines, "")
		}
		if s.head != "" {
			lines = append(lines, s.head)
		}
		rows := s.rows
		switch more := len(rows) - s.given; {
		case more > 0 && s.last:
			rows = rows[more:]
		case more > 0 && (s.plain || s.given == 1):
			rows = rows[:s.given]
		case more > 0:
			rows = append(slices.Clone(rows[:s.given-1]), " "+v.paint(faint, fmt.Sprintf("and %d more", more+1)))
		}
		lines = append(lines, rows...)
	}
	return lines
}

// share gives sections their rows: first the least that each takes, then what they like to have, then the
// rest, to those that are listed first.
func share(all []section, room int) {
	for _, upTo := range []func(s *section) int{
		func(s *section) int { return s.least },
		func(s *section) int { return s.first },
		func(s *section) int { return len(s.rows) },
	} {
		for i := range all {
			s := &all[i]
			want := min(upTo(s), len(s.rows)) - s.given
			if s.given == 0 && want > 0 && s.head != "" {
				room-- // its heading
			}
			n := max(0, min(want, room))
			if s.given == 0 && n == 0 && want > 0 && s.head != "" {
				room++
			}
			s.given += n
			room -= n
		}
	}
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
func (v view) operations() section {
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
	head := fit(fmt.Sprintf("last %d s", windowLength), name) + " " + right("rate", rateWidth)
	for _, c := range []string{"p50", "p95", "p99"} {
		head += " " + right(c, timeWidth)
	}
	head += " " + right("in all", countWidth) + " " + right("throttled", countWidth) + " " + right("errors", errorWidth)
	sparkWidth := 0
	if v.width >= wide {
		sparkWidth = min(v.width-2-name-figuresWidth-2-2-timeWidth-1, historyLength)
		head += "   " + fit("p99, second by second", sparkWidth) + " " + right("at most", timeWidth)
	}
	out := section{head: v.paint(faint, " "+cut(head, v.width-1)), least: 3, first: 9}
	for _, l := range lines {
		out.rows = append(out.rows, v.operation(l, name, sparkWidth))
	}
	return out
}

func (v view) operation(l account.Line, name, sparkWidth int) string {
	rate, times := "–", [3]string{"–", "–", "–"}
	if recent := v.lately(l.Name); recent != nil {
		rate = human.Rate(float64(recent.Ended()) / max(v.window.Elapsed.Seconds(), 1e-9))
		if h := recent.Latency(false); h.Count > 0 {
			times = [3]string{human.Duration(h.Quantile(0.5)), human.Duration(h.Quantile(0.95)), human.Duration(h.Quantile(0.99))}
		}
	}
	line := " " + fit(l.Name, name) + " " + right(rate, rateWidth)
	for _, t := range times {
		line += " " + right(t, timeWidth)
	}
	for _, x := range []struct {
		n     uint64
		code  string
		width int
	}{{l.Series.Ended(), "", countWidth}, {l.Series.Count(metrics.Throttled), yellow, countWidth}, {l.Series.Errors(), red, errorWidth}} {
		text := right(human.Count(x.n), x.width)
		if x.n > 0 {
			text = v.paint(x.code, text)
		}
		line += " " + text
	}
	if sparkWidth <= 0 {
		return cut(line, v.width)
	}
	history, most := v.times(l.Name, sparkWidth)
	largest := "–"
	if most > 0 {
		largest = human.Duration(most)
	}
	return line + "   " + v.paint(cyan, fit(spark(history), sparkWidth)) + " " + right(largest, timeWidth)
}

// lately is an operation in the last seconds, or nil.
func (v view) lately(name string) *metrics.SeriesSnapshot {
	if v.window == nil {
		return nil
	}
	for _, l := range account.Lines(v.window) {
		if l.Name == name {
			return l.Series
		}
	}
	return nil
}

func (v view) lines() []account.Line {
	if v.total == nil {
		return nil
	}
	return account.Lines(v.total)
}

// times is the history of an operation's latency, at most so many seconds of it, and the largest.
func (v view) times(name string, most int) (times []time.Duration, largest time.Duration) {
	for _, s := range v.history[max(0, len(v.history)-most):] {
		t, ok := s[name]
		if !ok {
			t = -1
		}
		times, largest = append(times, t), max(largest, t)
	}
	return times, largest
}

// sparks is the latency of the operations as sparklines, those that say most about a twin back end first. A
// wide table of operations has them in its lines.
func (v view) sparks() section {
	if v.width >= wide {
		return section{}
	}
	lines := v.lines()
	rank := func(l account.Line) int {
		if i := slices.Index([]metrics.Operation{metrics.OpTwinReport, metrics.OpTelemetry, metrics.OpConnect}, l.Series.Operation); i >= 0 {
			return i
		}
		return 3
	}
	slices.SortStableFunc(lines, func(a, b account.Line) int { return rank(a) - rank(b) })
	out := section{least: 1, first: 1, plain: true}
	for _, l := range lines {
		name := cut(l.Name, 24) + " p99"
		width := v.width - 2 - len([]rune(name)) - 2 - 2 - len("at most ") - timeWidth
		times, most := v.times(l.Name, width)
		if most == 0 {
			continue
		}
		out.rows = append(out.rows, " "+name+"  "+v.paint(cyan, fit(spark(times), width))+"  "+v.paint(faint, "at most ")+right(human.Duration(most), timeWidth))
	}
	return out
}

// errors are the reasons why operations ended badly, the ones that came last first.
func (v view) errors() section {
	if v.total == nil {
		return section{}
	}
	lines := reasons.Lines(v.total)
	out := section{head: v.paint(faint, " last errors"), least: 3, first: 4}
	now := v.total.At
	for _, l := range lines {
		ago := "now"
		if d := now.Sub(l.Last); d >= time.Second {
			ago = human.Duration(d.Truncate(time.Second)) + " ago"
			if d < time.Minute {
				ago = fmt.Sprintf("%ds ago", int(d.Seconds()))
			}
		}
		code := red
		if l.Outcome == metrics.Throttled.String() {
			code = yellow
		}
		text := right(human.Count(l.Count), countWidth) + "  " + l.Text
		out.rows = append(out.rows, " "+v.paint(code, fit(text, v.width-2-12))+right(ago, 12))
	}
	return out
}

// events is what happened, the latest at the bottom.
func (v view) events() section {
	out := section{head: v.paint(faint, " events"), least: 1, first: 3, last: true}
	for _, e := range v.State.events {
		text := clean(e.Text)
		if e.Detail != "" {
			text += ": " + clean(e.Detail)
		}
		code := ""
		switch {
		case !e.OK && e.Kind == report.KindStep:
			code = red
		case !e.OK:
			code = yellow
		}
		if e.Kind == report.KindStage {
			text = "stage " + text
		}
		out.rows = append(out.rows, " "+v.paint(faint, right(human.Duration(e.At), 7))+"  "+v.paint(code, cut(text, v.width-2-7-2)))
	}
	return out
}
