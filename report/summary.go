package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Style says how a summary may look.
type Style struct {
	Color bool // ANSI colours
}

const (
	green  = "\x1b[32m"
	red    = "\x1b[31m"
	yellow = "\x1b[33m"
	bold   = "\x1b[1m"
	faint  = "\x1b[2m"
	reset  = "\x1b[0m"
)

func (s Style) paint(code, text string) string {
	if !s.Color {
		return text
	}
	return code + text + reset
}

// Mark is a tick or a cross.
func (s Style) Mark(ok bool) string {
	if ok {
		return s.paint(green, "✓")
	}
	return s.paint(red, "✗")
}

// WriteSummary writes the end of a run on one screen: the verdict, the thresholds, the
// operations, the queries, and what a reader must know to trust the figures.
func WriteSummary(w io.Writer, r *Run, style Style) error {
	b := &strings.Builder{}
	b.WriteString("\n")
	writeHeadline(b, r, style)
	writeSteps(b, r, style)
	writeThresholds(b, r, style)
	writeOperations(b, r, style)
	writeQueries(b, r, style)
	writeFindings(b, r, style)
	writeOutages(b, r, style)
	writeGenerator(b, r, style)
	for _, n := range r.Notes {
		fmt.Fprintf(b, "  %s %s\n", style.paint(yellow, "!"), n)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeHeadline(b *strings.Builder, r *Run, style Style) {
	color := map[Outcome]string{Passed: green, Interrupted: yellow}[r.Outcome]
	if color == "" {
		color = red
	}
	target := ""
	if r.Target != "" { // it was not opened
		target = " · " + r.Target
	}
	fmt.Fprintf(b, "  %s  %s in %s · %s%s · seed %d\n", style.paint(bold+color, strings.ToUpper(string(r.Outcome))),
		r.Name, Duration(r.Duration()), r.DevicesText(), target, r.Seed)
	if r.Reason != "" {
		fmt.Fprintf(b, "  %s\n", r.Reason)
	}
	b.WriteString("\n")
}

func writeSteps(b *strings.Builder, r *Run, style Style) {
	failed := 0
	for _, s := range r.Steps {
		if !s.OK {
			failed++
			fmt.Fprintf(b, "  %s %s: %s\n", style.paint(red, "✗"), s.Text, s.Detail)
		}
	}
	if len(r.Steps) > 0 && failed == 0 {
		steps := "every step"
		if len(r.Steps) == 1 {
			steps = "the one step"
		}
		fmt.Fprintf(b, "  %s %s did what was expected\n\n", style.paint(green, "✓"), steps)
	} else if failed > 0 {
		b.WriteString("\n")
	}
}

func writeOutages(b *strings.Builder, r *Run, style Style) {
	worst, more := WorstOutages(r)
	for _, o := range worst {
		fmt.Fprintf(b, "  %s %s\n", style.paint(yellow, "!"), o)
		if back := o.Return(); back != "" {
			fmt.Fprintf(b, "    %s\n", back)
		}
	}
	if more != "" {
		fmt.Fprintf(b, "  %s %s\n", style.paint(yellow, "!"), more)
	}
}

// shownOutages is how many outages are told of one by one.
const shownOutages = 3

// WorstOutages are the outages in which the most connections were lost, in their order, and a line that counts the others;
// "" when there are none. A target that comes and goes has hundreds.
func WorstOutages(r *Run) (worst []Outage, more string) {
	all := r.Outages
	if len(all) <= shownOutages {
		return all, ""
	}
	byLoss := slices.Clone(all)
	slices.SortStableFunc(byLoss, func(a, b Outage) int { return b.Total - a.Total })
	worst = byLoss[:shownOutages]
	slices.SortStableFunc(worst, func(a, b Outage) int { return cmp.Compare(a.From, b.From) })
	lost, longest := 0, time.Duration(0)
	for _, o := range byLoss[shownOutages:] {
		lost += o.Total
		longest = max(longest, o.To-o.From)
	}
	return worst, fmt.Sprintf("%s more, of %s at the most, in which %s were lost; summary.json has all", Number(len(all)-shownOutages, "outage"), Duration(longest), Number(lost, "connection"))
}

// Number is a number of things: "1 device", "2,000 devices", "0 identities".
func Number(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	if stem, ok := strings.CutSuffix(one, "y"); ok {
		one = stem + "ie"
	}
	return Count(int64(n)) + " " + one + "s"
}

// Stopped says how many devices a stage stopped before they were back.
func (o Outage) Stopped() string {
	return Number(o.Left, "device") + " had not come back when a stage stopped them"
}

// String is the outage in one line.
func (o Outage) String() string {
	back := "99 % were back after " + Duration(o.To-o.From)
	switch {
	case o.Recovered:
	case o.Left > 0:
		back = o.Stopped()
	default:
		back = "they were not back when the run ended"
	}
	were := func(n int, one string) string {
		if n == 1 {
			return "1 " + one + " was"
		}
		return Number(n, one) + " were"
	}
	return fmt.Sprintf("outage at %s: %s lost, %s gone at once; %s", Duration(o.From), were(o.Total, "connection"), were(o.Lost, "device"), back)
}

// table writes rows under a heading; all columns but the first are set right.
func table(b *strings.Builder, style Style, rows [][]string) {
	for n, line := range Columns(rows, func(column int) bool { return column > 0 }) {
		line = "  " + line
		if n == 0 {
			line = style.paint(faint, line)
		}
		b.WriteString(line + "\n")
	}
	b.WriteString("\n")
}

// Count writes a number with its thousands apart: 3,000.
func Count(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// Duration writes a time with three significant digits and the unit a person would choose: 850µs, 12.3ms, 1.25s, 2m05s.
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + Duration(-d)
	case d < time.Millisecond:
		return strconv.FormatInt(d.Microseconds(), 10) + "µs"
	case d < time.Second:
		return significant(float64(d)/float64(time.Millisecond)) + "ms"
	case d < time.Minute:
		return significant(d.Seconds()) + "s"
	default:
		d = d.Round(time.Second)
		if d < time.Hour {
			return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
		}
		return fmt.Sprintf("%dh%02dm%02ds", int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60)
	}
}

func significant(x float64) string {
	places := 2
	if x >= 100 {
		places = 0
	} else if x >= 10 {
		places = 1
	}
	return strconv.FormatFloat(x, 'f', places, 64)
}

// Rate writes a number of operations per second.
func Rate(perSecond float64) string {
	if perSecond >= 1000 {
		return Count(int64(perSecond+0.5)) + "/s"
	}
	return significant(perSecond) + "/s"
}
