package plan

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/report"
	"github.com/twinfleet/twinfleet/scenario"
)

// WriteText writes the plan as tables for people.
func (p *Plan) WriteText(w io.Writer) error {
	b := &strings.Builder{}
	fmt.Fprintf(b, "%s · %s devices · %s · seed %d\n\n", p.Scenario, count(float64(p.Devices)), p.Target, p.Seed)
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
		rows = append(rows, []string{s.Name, lasts(s.Seconds), devices, s.Does})
	}
	total := lasts(p.Seconds)
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
	mean := "mean"
	if p.Metering.Stage != "" {
		mean = "mean in " + p.Metering.Stage
	}
	rows := [][]string{{"operation", "busiest second", mean, "in all", ""}}
	for _, l := range p.Operations {
		peak, note := rate(l.Peak), ""
		if l.PeakStage != "" {
			peak += " (" + l.PeakStage + ")"
		}
		if l.Unpaced {
			note = "as fast as the target answers"
			if l.Peak > 0 {
				note = "some as fast as the target answers"
			} else {
				peak = "-"
			}
		}
		rows = append(rows, []string{l.Operation, peak, rate(l.Mean), count(l.Total), note})
	}
	table(b, rows)
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
	text := fmt.Sprintf("messages of %d bytes: %s in this run", p.Metering.MeterBytes, count(p.Metering.Run))
	if p.Metering.Stage != "" {
		text += fmt.Sprintf("; %s in a day that goes on as %s does", count(p.Metering.Day), p.Metering.Stage)
	}
	b.WriteString(text + "\n\n")
}

func (p *Plan) writeTier(b *strings.Builder) {
	if p.Tier == nil {
		return
	}
	c := p.Tier
	units := "1 unit"
	if c.Units > 1 {
		units = fmt.Sprintf("%d units", c.Units)
	}
	rows := [][]string{{"tier " + c.Tier + ", " + units, "allows", "busiest second", "mean", "in stage"}}
	for _, l := range c.Limits {
		rows = append(rows, []string{l.Class, rate(l.Allowed), rate(l.Peak), rate(l.Steady), l.Stage})
	}
	rows = append(rows, []string{"messages a day", count(c.Quota), "", "", ""})
	table(b, rows)
	for _, x := range c.Exceeded {
		fmt.Fprintf(b, "✗ %s\n", x)
	}
	for _, x := range c.Possible {
		fmt.Fprintf(b, "! %s\n", x)
	}
	if len(c.Exceeded) == 0 && len(c.Possible) == 0 {
		fmt.Fprintf(b, "✓ within the limits of the tier; bursts of up to %s of a limit's rate are assumed to pass\n", report.Duration(c.burst))
	}
	if c.SetUp >= 1 {
		fmt.Fprintf(b, "  making the identities takes %s at the registry's rate\n", short(c.SetUp))
	}
}

// table writes rows with columns as wide as their widest cell.
func table(b *strings.Builder, rows [][]string) {
	for _, line := range report.Columns(rows, func(int) bool { return false }) {
		b.WriteString(line + "\n")
	}
	b.WriteString("\n")
}

func count(x float64) string { return report.Count(int64(x + 0.5)) }

func short(seconds float64) string {
	return report.Duration(time.Duration(seconds * float64(time.Second)))
}

func lasts(seconds float64) string {
	if seconds == 0 {
		return "its steps"
	}
	return short(seconds)
}

// rate writes a rate with the unit a person would choose.
func rate(perSecond float64) string {
	switch {
	case perSecond == 0:
		return "0"
	case perSecond >= 1:
		number := strings.TrimSuffix(report.Rate(perSecond), "/s")
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
	if t.Storm != nil {
		add("storm of %.0f %% within %s", t.Storm.Drop*100, report.Duration(t.Storm.Within))
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
func notes(sc *scenario.Scenario) []string {
	var all []string
	if len(sc.Service.Queries) > 0 {
		all = append(all, "queries are planned as if each found the whole fleet: pages and messages are those at most")
	}
	if len(sc.Service.Jobs) > 0 {
		all = append(all, "what jobs do to devices is not planned: the hub does it at its own pace, one update or method a device")
	}
	for i := range sc.Stages {
		t := &sc.Stages[i]
		hub := t.Hub != nil && t.Hub.Restart+t.Hub.Refuse+t.Hub.Stall > 0
		if w := t.Network; hub || w != nil && (w.Loss > 0 || w.HalfOpen > 0 || w.Partition != nil) {
			all = append(all, "connections after a fault of hub or network come on top: how many at once depends on back-off and chance")
			break
		}
	}
	return all
}
