package view

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/twinfleet/twinfleet/internal/terminal/layout"
	"github.com/twinfleet/twinfleet/internal/terminal/paint"
	"github.com/twinfleet/twinfleet/internal/terminal/runstate"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report/account"
	"github.com/twinfleet/twinfleet/report/human"
)

// Widths of columns of figures.
const (
	timeWidth  = 7
	rateWidth  = 8
	countWidth = 9
)

// figureColumns are those of the table of operations: left is what the last seconds were like, right is the whole run.
func figureColumns() []column {
	return []column{
		{"rate", rateWidth, 1},
		{"p50", timeWidth, 5},
		{"p95", timeWidth, 6},
		{"p99", timeWidth, 2},
		{"in all", countWidth, 4},
		{"throttled", countWidth, 3},
		{"errors", countWidth - 1, 0},
	}
}

// figures are an operation's cells; lately is what it did in the last seconds, nil for nothing.
func (v view) figures(columns []column, lately, inAll *metrics.SeriesSnapshot) (text string) {
	for _, c := range columns {
		cell, code := "–", ""
		switch c.title {
		case "rate":
			if lately != nil && lately.Scheduled()+lately.Ended() > 0 {
				cell = human.Rate(float64(lately.Ended()) / max(v.Window().Elapsed.Seconds(), 1e-9))
			}
		case "in all":
			cell = human.Count(inAll.Ended())
		case "throttled":
			cell, code = v.counted(inAll.Count(metrics.Throttled), paint.Yellow)
		case "errors":
			cell, code = v.counted(inAll.Errors(), paint.Red)
		default:
			if lately == nil {
				break
			}
			if h := lately.Latency(false); h.Count > 0 {
				share := map[string]float64{"p50": 0.5, "p95": 0.95, "p99": 0.99}[c.title]
				cell = human.Duration(h.Quantile(share))
			}
		}
		text += " " + v.Paint(code, paint.Right(cell, c.width))
	}
	return text
}

// counted is a count of what went wrong, and its colour when there is any.
func (v view) counted(n uint64, code string) (text, color string) {
	if n == 0 {
		return "0", ""
	}
	return human.Count(n), code
}

// line is a row of the table of operations.
type line struct {
	account.Line
	lately *metrics.SeriesSnapshot // nil for nothing
	rank   int
}

// Ranks of operations: what goes wrong first, then what goes on, then what has ended.
const (
	failingNow = iota
	throttledNow
	goingOn
	endedBadly
	endedWell
)

// lines are the operations, by trouble.
func (v view) lines() (all []line) {
	if v.Figures() == nil {
		return nil
	}
	lately := make(map[string]*metrics.SeriesSnapshot)
	if v.Window() != nil {
		for _, l := range account.Lines(v.Window()) {
			lately[l.Name] = l.Series
		}
	}
	for _, l := range account.Lines(v.Figures()) {
		one := line{Line: l, lately: lately[l.Name], rank: goingOn}
		switch now := one.lately; {
		case now != nil && now.Errors() > 0:
			one.rank = failingNow
		case now != nil && now.Count(metrics.Throttled) > 0:
			one.rank = throttledNow
		case v.Alive(l):
		case l.Series.Errors()+l.Series.Count(metrics.Throttled) > 0:
			one.rank = endedBadly
		default:
			one.rank = endedWell
		}
		all = append(all, one)
	}
	slices.SortStableFunc(all, func(a, b line) int { return cmp.Compare(a.rank, b.rank) })
	return all
}

// operations is what the operations did in the last seconds, and how many there were in all.
func (v view) operations() layout.Section {
	out := layout.Section{Name: operations, Rank: 1, Least: 4, First: 7}
	lines := v.lines()
	if len(lines) == 0 {
		return out
	}
	names := make([]string, 0, len(lines))
	for _, l := range lines {
		names = append(names, l.Name)
	}
	name := columnWidth(names, 13, max(16, v.width/4))
	columns := fitting(figureColumns(), v.width-3-name)
	head := "  " + titles(columns)
	spark := 0
	if v.width >= wide {
		spark = min(v.width-3-name-widthOf(columns)-3-1-timeWidth-1, runstate.HistoryLength)
		head += "   " + paint.Fit("p99, second by second", spark) + " " + paint.Right("at most", timeWidth)
	}
	out.Head = v.heading(fmt.Sprintf("last %d s", runstate.WindowLength), name, head)
	for _, l := range lines {
		sign, code := " ", ""
		switch l.rank {
		case failingNow:
			sign, code = "✗", paint.Red
		case throttledNow:
			sign, code = "!", paint.Yellow
		}
		dim := ""
		if l.rank >= endedBadly {
			dim = paint.Faint
		}
		text := " " + v.Paint(dim, paint.Fit(l.Name, name)) + " " + v.Paint(code, sign) + v.figures(columns, l.lately, l.Series)
		if spark > 0 {
			history, most := v.Latencies(l.Name, spark)
			largest := "–"
			if most > 0 {
				largest = human.Duration(most)
			}
			text += "   " + v.Paint(paint.Cyan, paint.Fit(paint.Spark(history), spark)) + " " + paint.Right(largest, timeWidth)
		}
		out.Rows = append(out.Rows, layout.Row{
			Key: l.Name, Text: paint.Cut(text, v.width), Trouble: l.rank <= throttledNow || l.rank == endedBadly, Idle: l.rank >= endedBadly,
		})
	}
	return v.picked(out)
}

// deviceColumns are those of the table of groups: what went wrong, then where the devices are.
func deviceColumns() []column {
	return []column{
		{"waiting", 8, 4}, {"connecting", 10, 3}, {"offline", 7, 5}, {"backoff", 7, 2}, {"throttled", countWidth, 1}, {"errors", countWidth - 1, 0},
	}
}

// groups is the devices of every group by state, with what went wrong in it: those with trouble first.
func (v view) groups() layout.Section {
	const leastBar, mostBar = 6, 40
	out := layout.Section{Name: groups, Rank: 2, Least: 2, First: 4}
	var names, numbers []string
	for _, g := range v.Groups {
		names = append(names, g.Name)
		numbers = append(numbers, human.Count(v.Devices(g.Name, "connected"))+" of "+human.Count(g.Count))
	}
	name, number := columnWidth(names, 12, max(12, v.width/5)), columnWidth(numbers, 9, 25)
	columns := fitting(deviceColumns(), v.width-3-name-2-number-1-leastBar)
	bar := max(0, min(mostBar, v.width-3-name-2-number-1-widthOf(columns)))
	if bar < leastBar {
		bar = 0
	}
	out.Head = v.heading("devices", name, "   "+paint.Fit("connected", bar+1+number)+titles(columns))
	ranks := make(map[string]int, len(v.Groups))
	for i, g := range v.Groups {
		up := float64(v.Devices(g.Name, "connected")) / float64(max(g.Count, 1))
		now, inAll := v.TroubleOf(g.Name)
		sign, code := " ", ""
		rank := 3
		switch lost := v.Devices(g.Name, "backoff"); {
		case now.Errors > 0:
			sign, code, rank = "✗", paint.Red, 0
		case now.Throttled > 0:
			sign, code, rank = "!", paint.Yellow, 1
		case lost > 0:
			sign, code, rank = "!", paint.Yellow, 2
		}
		text := " " + paint.Fit(g.Name, name) + " " + v.Paint(code, sign) + " " + v.Bar(up, bar) + " " + paint.Right(numbers[i], number)
		for _, c := range columns {
			cell, code := "", ""
			switch c.title {
			case "errors":
				cell, code = v.counted(inAll.Errors, paint.Red)
			case "throttled":
				cell, code = v.counted(inAll.Throttled, paint.Yellow)
			case "backoff":
				cell, code = v.counted(uint64(max(0, v.Devices(g.Name, c.title))), paint.Yellow)
			default:
				cell = human.Count(v.Devices(g.Name, c.title))
			}
			text += " " + v.Paint(code, paint.Right(cell, c.width))
		}
		ranks[g.Name] = rank
		out.Rows = append(out.Rows, layout.Row{Key: g.Name, Text: paint.Cut(text, v.width), Trouble: rank < 3})
	}
	slices.SortStableFunc(out.Rows, func(a, b layout.Row) int { return cmp.Compare(ranks[a.Key], ranks[b.Key]) })
	return v.picked(out)
}
