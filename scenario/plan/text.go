package plan

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
)

// WriteText writes the plan as tables for people.
func (p *Plan) WriteText(w io.Writer) error {
	b := &strings.Builder{}
	fmt.Fprintf(b, "%s · %s · %s · seed %d\n\n", p.Scenario, human.Number(p.Devices, "device"), p.Target, p.Seed)
	p.writeStages(b)
	p.writeOperations(b)
	p.writeMachine(b)
	p.writeTier(b)
	for _, n := range p.Notes {
		fmt.Fprintf(b, "! %s\n", n)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (p *Plan) writeStages(b *strings.Builder) {
	rows := [][]string{{"stage", "lasts", "devices", "beside"}}
	for _, s := range p.Stages {
		devices := count(float64(s.To))
		if s.From != s.To {
			devices = count(float64(s.From)) + " → " + devices
		}
		rows = append(rows, []string{s.Name, lasts(s.Seconds, s.Steps), devices, s.Does})
	}
	total := lasts(p.Seconds, p.Open)
	if p.Open && p.Seconds > 0 {
		total += " and the steps"
	}
	table(b, append(rows, []string{"total", total, "at most " + count(float64(p.Peak)), ""}))
	if len(p.Groups) > 1 {
		rows := [][]string{{"group", "devices"}}
		for _, g := range p.Groups {
			rows = append(rows, []string{g.Name, count(float64(g.Devices))})
		}
		table(b, rows)
	}
}

func (p *Plan) writeOperations(b *strings.Builder) {
	rows := [][]string{{"operation", "busiest second", "steady", "in all", ""}}
	estimates := false
	for _, l := range p.Operations {
		peak, total := rate(l.Peak), count(l.Total)
		if l.PeakStage != "" {
			peak += " (" + l.PeakStage + ")"
		}
		var notes []string
		if l.Devices > 0 {
			notes = append(notes, "calls for "+count(l.Devices)+" devices")
		}
		if l.Unpaced {
			note := "as fast as the target answers"
			if l.Peak > 0 {
				note = "some " + note
			} else {
				peak = "-"
			}
			notes = append(notes, note)
		}
		if l.Paused > 0 {
			notes = append(notes, count(l.Paused)+" more are due in a pause and dropped")
		}
		if l.Estimate {
			estimates, total = true, "about "+total
		}
		rows = append(rows, []string{l.Operation, peak, rate(l.Steady), total, strings.Join(notes, "; ")})
	}
	table(b, rows)
	trimTable(b)
	if p.Steady != nil {
		fmt.Fprintf(b, "steady: if it went on %s\n", p.Steady)
	}
	if estimates {
		b.WriteString("about: it depends on how fast and how well the target answers; other totals are exact if it answers at once\n")
	}
	b.WriteString("\n")
}

func (p *Plan) writeMachine(b *strings.Builder) {
	m := p.Machine
	address := "1 source address"
	if m.Addresses > 1 {
		address = fmt.Sprintf("each of %d source addresses", m.Addresses)
	}
	table(b, [][]string{
		{"this machine", "needs", ""},
		{"memory", count(float64(m.Memory)/1e6) + " MB", "estimate"},
		{"descriptors", count(float64(m.Descriptors)), "ulimit -n"},
		{"local ports", count(float64(m.PerAddress)), "of " + address},
	})
	text := fmt.Sprintf("messages of %s bytes: %s in this run", count(float64(p.Metering.MeterBytes)), between(p.Metering.RunLeast, p.Metering.Run))
	if p.Steady != nil {
		text += fmt.Sprintf("; %s in a day that goes on %s", between(p.Metering.DayLeast, p.Metering.Day), p.Steady)
	}
	b.WriteString(text + "\n\n")
}

// between writes what is known to lie between two numbers.
func between(least, most float64) string {
	if count(least) == count(most) {
		return count(most)
	}
	return count(least) + " to " + count(most)
}

func (p *Plan) writeTier(b *strings.Builder) {
	if p.Tier == nil {
		return
	}
	c := p.Tier
	rows := [][]string{{"tier " + c.Name(), "allows", "busiest second", "mean", "in stage"}}
	for _, l := range c.Limits {
		rows = append(rows, []string{l.Class, rate(l.Allowed), rate(l.Peak), rate(l.Steady), l.Stage})
	}
	rows = append(rows, []string{"messages a day", count(p.Metering.Quota), "", "", ""})
	table(b, rows)
	for _, x := range c.Exceeded {
		fmt.Fprintf(b, "✗ %s\n", x)
	}
	for _, x := range c.Possible {
		fmt.Fprintf(b, "! %s\n", x)
	}
	if len(c.Exceeded) == 0 && len(c.Possible) == 0 {
		fmt.Fprintf(b, "✓ within the rates of the tier; bursts of up to %s of a limit's rate are assumed to pass\n", human.Duration(c.burst))
	}
	use, text := p.Quota()
	fmt.Fprintf(b, "%s messages: %s\n", map[QuotaUse]string{QuotaFits: "✓", QuotaMayEnd: "!", QuotaEndsLater: "!", QuotaEnds: "✗"}[use], text)
	if c.SetUp >= 1 {
		fmt.Fprintf(b, "  making the identities takes %s at the registry's rate\n", short(c.SetUp))
	}
	b.WriteString("\n")
}

// trimTable takes away the blank line after a table, for what belongs to it.
func trimTable(b *strings.Builder) {
	text := strings.TrimSuffix(b.String(), "\n")
	b.Reset()
	b.WriteString(text)
}

// table writes rows with columns as wide as their widest cell.
func table(b *strings.Builder, rows [][]string) {
	for _, line := range human.Columns(rows, func(int) bool { return false }) {
		b.WriteString(line + "\n")
	}
	b.WriteString("\n")
}

func count(x float64) string { return human.Count(int64(x + 0.5)) }

func short(seconds float64) string {
	return human.Duration(time.Duration(seconds * float64(time.Second)))
}

func lasts(seconds float64, steps bool) string {
	switch {
	case seconds == 0 && steps:
		return "its steps"
	case seconds == 0:
		return "no time"
	}
	return short(seconds)
}

// rate writes a rate with the unit a person would choose.
func rate(perSecond float64) string {
	switch {
	case perSecond == 0:
		return "0"
	case perSecond >= 1:
		number := strings.TrimSuffix(human.Rate(perSecond), "/s")
		if strings.Contains(number, ".") {
			number = strings.TrimRight(strings.TrimRight(number, "0"), ".")
		}
		return number + "/s"
	default:
		return strconv.FormatFloat(perSecond*60, 'g', 3, 64) + "/min"
	}
}

// does says what a stage does beside changing the number of devices.
func does(t *scenario.Stage) string {
	var parts []string
	add := func(format string, a ...any) { parts = append(parts, fmt.Sprintf(format, a...)) }
	if t.Paused {
		add("paused")
	}
	for _, x := range []struct {
		what string
		r    *scenario.Range
	}{{"devices", t.ConnectRate}, {"reports", t.ReportRate}, {"telemetry", t.TelemetryRate}} {
		switch {
		case x.r == nil:
		case x.r.From != x.r.To:
			add("%s at %s to %s", x.what, rate(x.r.From), rate(x.r.To))
		default:
			add("%s at %s", x.what, rate(x.r.To))
		}
	}
	if t.ByGroup != nil {
		add("devices by group: %s", t.Goals())
	}
	if t.Storm != nil {
		add("storm of %.0f %%%s within %s", t.Storm.Drop*100, t.Storm.Whose(), human.Duration(t.Storm.Within))
	}
	if t.Hub != nil {
		add("the hub misbehaves")
	}
	if t.Network != nil {
		add("the network is bad")
	}
	if n := len(t.Steps); n == 1 {
		add("1 step")
	} else if n > 1 {
		add("%d steps", n)
	}
	return strings.Join(parts, ", ")
}

// notes are what a reader of the plan must know.
func notes(sc *scenario.Scenario, spans []span) []string {
	var all []string
	if len(sc.Service.Queries) > 0 {
		all = append(all, "queries are planned as if each found the whole fleet: pages and messages are those at most")
	}
	if len(sc.Service.Jobs) > 0 {
		all = append(all, "what jobs do to devices is not planned: the hub does it at its own pace, one update or method a device")
	}
	for i := range sc.Service.Jobs {
		x := &sc.Service.Jobs[i]
		if whole := endOf(spans); !slices.ContainsFunc(spans, func(s span) bool { return s.open }) && startIn(spans, x.Stage, x.At) >= whole {
			all = append(all, fmt.Sprintf("job %s is due after the last stage: it does not begin", x.Name))
		}
	}
	if slices.ContainsFunc(sc.Stages, func(t scenario.Stage) bool { return disturbs(&t) }) {
		all = append(all, "connections after a fault of hub or network come on top: how many at once depends on back-off and chance")
	}
	return all
}
