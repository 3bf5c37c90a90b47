// Package agents puts the agents of a run on many machines into words and rows: how many there were, and which of them were in trouble.
package agents

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
)

// State is how an agent is, or was in the end.
type State string

// The states, the gravest first.
const (
	Lost   State = "lost"   // it is no longer part of the run
	Slow   State = "slow"   // it was the bottleneck: a stage was not delivered as asked
	Unsure State = "unsure" // its clock cannot be compared well, or was set while the run went on
	Well   State = "well"   // none of these
)

func (s State) rank() int { return slices.Index([]State{Lost, Slow, Unsure, Well}, s) }

// Row is one agent.
type Row struct {
	Agent *report.Agent
	Name  string   // its own
	State State    // the gravest of its troubles
	Cells []string // as many as Columns, in their order; texts of people's own making are in the first and the last
}

// Columns are the heads of a table of agents. The first and the last are texts, the others figures.
func Columns() []string {
	return []string{"agent", "devices", "connected", "clock", "cpu", "lag", "control", "what is wrong"}
}

// Rows are the agents of a run, those in trouble first, then those with the most work on their processors; the order of others is that of their names,
// with numbers as numbers.
func Rows(all []report.Agent) []Row {
	order := make([]*report.Agent, len(all))
	for i := range all {
		order[i] = &all[i]
	}
	slices.SortStableFunc(order, func(a, b *report.Agent) int {
		// Tenths of the processors: rows of a page that lives do not jump about.
		return cmp.Or(StateOf(a).rank()-StateOf(b).rank(), int(10*used(b))-int(10*used(a)), byName(a.Name, b.Name))
	})
	rows := make([]Row, 0, len(all))
	for _, a := range order {
		rows = append(rows, Row{a, a.Name, StateOf(a), []string{
			a.Name, human.Count(a.Devices), human.Count(a.Connected), Clock(a.Clock), processors(a), lag(a), control(a.Control), Wrong(a),
		}})
	}
	return rows
}

// Worst are the first so many of the rows, and a line for the others, empty when there are none.
func Worst(all []report.Agent, most int) (rows []Row, more string) {
	rows = Rows(all)
	if len(rows) <= most {
		return rows, ""
	}
	bad := 0
	for _, r := range rows[most:] {
		if r.State != Well {
			bad++
		}
	}
	more = human.Number(len(rows)-most, "more agent")
	switch bad {
	case 0:
		more += ", all well"
	case len(rows) - most:
		more += ", all in trouble"
	default:
		more += fmt.Sprintf(", %s of them in trouble", human.Count(bad))
	}
	return rows[:most], more
}

// StateOf is how an agent is.
func StateOf(a *report.Agent) State {
	switch {
	case a.Lost != nil:
		return Lost
	case a.Generator != nil && a.Generator.Saturated:
		return Slow
	case a.Clock.Unsure():
		return Unsure
	default:
		return Well
	}
}

// Wrong is what is wrong with an agent, in a line; empty when nothing is.
func Wrong(a *report.Agent) string {
	var parts []string
	if x := a.Lost; x != nil {
		parts = append(parts, "lost"+in(x.Stage)+": "+x.Why)
	}
	if h := a.Generator; h != nil && h.Saturated {
		why := "it was the bottleneck"
		if len(h.Reasons) > 0 {
			why += ": " + h.Reasons[0]
		}
		if n := len(h.Reasons) - 1; n > 0 {
			why += fmt.Sprintf("; %d more", n)
		}
		parts = append(parts, why)
	}
	switch c := a.Clock; {
	case c.Steps > 0:
		parts = append(parts, "a clock was set meanwhile")
	case c.Unsure():
		parts = append(parts, "clock uncertain")
	}
	return strings.Join(parts, "; ")
}

func in(stage string) string {
	if stage == "" {
		return ""
	}
	return " in stage " + stage
}

// Clock is how far a clock is ahead, or behind, with what that may be wrong by: "+1.20ms ± 300µs"; a dash before it was compared.
func Clock(c report.Clock) string {
	if c == (report.Clock{}) {
		return "–"
	}
	sign, off := "+", c.Offset
	if off < 0 {
		sign, off = "-", -off
	}
	return sign + human.Duration(off) + " ± " + human.Duration(c.Uncertainty)
}

// used is the share of its processors that an agent used at most; 0 when nothing is known.
func used(a *report.Agent) float64 {
	if h := a.Generator; h != nil && h.Cores > 0 {
		return h.CPUPeak / float64(h.Cores)
	}
	return 0
}

func processors(a *report.Agent) string {
	h := a.Generator
	if h == nil {
		return "–"
	}
	return fmt.Sprintf("%.1f of %d", h.CPUPeak, h.Cores)
}

func lag(a *report.Agent) string {
	if a.Generator == nil {
		return "–"
	}
	return human.Duration(a.Generator.Lag)
}

func control(c report.Control) string {
	if c.Over <= 0 {
		return "–"
	}
	return Bytes(c.Rate()) + "/s"
}

// Bytes is a number of bytes in a few digits: "820 B", "1.2 kB", "3.4 MB".
func Bytes(n float64) string {
	switch {
	case n < 999.5:
		return fmt.Sprintf("%.0f B", n)
	case n < 999_950:
		return fmt.Sprintf("%.1f kB", n/1e3)
	default:
		return fmt.Sprintf("%.1f MB", n/1e6)
	}
}

// Headline says in a line how many agents there were and what was wrong with how many; empty for a run in one process.
func Headline(all []report.Agent) string {
	if len(all) == 0 {
		return ""
	}
	counts := make(map[State]int)
	devices, lostDevices := 0, 0
	for i := range all {
		counts[StateOf(&all[i])]++
		if all[i].Lost != nil {
			lostDevices += max(0, all[i].Lost.Devices-all[i].TookOver) // those were lost before, with another
		} else {
			devices += all[i].Devices
		}
	}
	text := human.Count(len(all)) + " with " + human.Number(devices, "device")
	if n := counts[Lost]; n > 0 {
		text += fmt.Sprintf("; %s lost, with %s", human.Count(n), human.Number(lostDevices, "device"))
	}
	if n := counts[Slow]; n == 1 {
		text += "; 1 was the bottleneck"
	} else if n > 1 {
		text += fmt.Sprintf("; %s were the bottleneck", human.Count(n))
	}
	if n := counts[Unsure]; n > 0 {
		text += fmt.Sprintf("; %s with an uncertain clock", human.Count(n))
	}
	return text + extremes(all)
}

// extremes are the highest of what agents used, with the agent.
func extremes(all []report.Agent) (text string) {
	var busy, late, off *report.Agent
	for i := range all {
		a := &all[i]
		if a.Generator != nil {
			if busy == nil || used(a) > used(busy) {
				busy = a
			}
			if late == nil || a.Generator.Lag > late.Generator.Lag {
				late = a
			}
		}
		if a.Clock != (report.Clock{}) && (off == nil || apart(a.Clock) > apart(off.Clock)) {
			off = a
		}
	}
	if len(all) < 2 {
		return ""
	}
	if busy != nil {
		text += fmt.Sprintf("; cpu at most %s (%s)", processors(busy), busy.Name)
	}
	if late != nil && late.Generator.Lag > 0 {
		text += fmt.Sprintf("; lag at most %s (%s)", lag(late), late.Name)
	}
	if off != nil {
		text += fmt.Sprintf("; clocks at most %s apart (%s)", strings.TrimLeft(Clock(off.Clock), "+-"), off.Name)
	}
	return text
}

// apart is how far a clock may be from the coordinator's.
func apart(c report.Clock) time.Duration {
	return time.Duration(math.Abs(float64(c.Offset))) + c.Uncertainty
}

// byName compares names, numbers in them as numbers: agent-2 comes before agent-10.
func byName(a, b string) int {
	x, m := number(a)
	y, n := number(b)
	return cmp.Or(cmp.Compare(x, y), cmp.Compare(m, n), cmp.Compare(a, b))
}

// number takes a name that ends in a number apart.
func number(name string) (rest string, n int) {
	rest = strings.TrimRight(name, "0123456789")
	if n, err := strconv.Atoi(name[len(rest):]); err == nil {
		return rest, n
	}
	return name, 0
}
