// Package tables writes a plan as tables for people.
package tables

import (
	"fmt"
	"io"
	"strings"

	"github.com/twinfleet/twinfleet/internal/planning/words"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/plan"
)

// writer writes a plan section by section.
type writer struct{ *plan.Plan }

// Write writes a plan.
func Write(w io.Writer, x *plan.Plan) error {
	p := writer{x}
	b := &strings.Builder{}
	fmt.Fprintf(b, "%s · %s · %s · seed %d\n\n", p.Scenario, human.Number(p.Devices, "device"), p.Target, p.Seed)
	p.writeStages(b)
	p.writeOperations(b)
	p.writeClasses(b)
	p.writeMachine(b)
	p.writeTier(b)
	for _, n := range p.Notes {
		human.Wrap(b, "! ", "  ", n)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (p writer) writeStages(b *strings.Builder) {
	rows := [][]string{{"stage", "lasts", "devices", "beside"}}
	for _, s := range p.Stages {
		devices := words.Count(float64(s.To))
		if s.From != s.To {
			devices = words.Count(float64(s.From)) + " → " + devices
		}
		if s.Most > 0 {
			devices += ", up to " + words.Count(float64(s.Most))
		}
		rows = append(rows, []string{s.Name, lasts(s.Seconds, s.Steps), devices, s.Does})
	}
	total := lasts(p.Seconds, p.Open)
	if p.Open && p.Seconds > 0 {
		total += " and the steps"
	}
	table(b, append(rows, []string{"total", total, "at most " + words.Count(float64(p.Peak)), ""}))
	if len(p.Groups) > 1 {
		rows := [][]string{{"group", "devices"}}
		for _, g := range p.Groups {
			rows = append(rows, []string{g.Name, words.Count(float64(g.Devices))})
		}
		table(b, rows)
	}
}

func (p writer) writeOperations(b *strings.Builder) {
	rows := [][]string{{"operation", "busiest second", "steady", "in all", ""}}
	estimates := false
	for _, l := range p.Operations {
		peak, total := words.Rate(l.Peak), words.Count(l.Total)
		if l.PeakStage != "" {
			peak += " (" + l.PeakStage + ")"
		}
		var notes []string
		if l.Devices > 0 {
			notes = append(notes, "calls for "+words.Count(l.Devices)+" devices")
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
			notes = append(notes, words.Count(l.Paused)+" more are due in a pause and dropped")
		}
		if l.Estimate {
			estimates, total = true, "about "+total
		}
		rows = append(rows, []string{l.Operation, peak, words.Rate(l.Steady), total, strings.Join(notes, "; ")})
	}
	table(b, rows)
	trimTable(b)
	if p.Steady != nil {
		text := fmt.Sprintf("steady: if it went on %s", p.Steady)
		if p.Steady.Longer != "" {
			text += fmt.Sprintf("; stage %s lasts longer and asks for less", p.Steady.Longer)
		}
		human.Wrap(b, "", "", text)
	}
	if estimates {
		human.Wrap(b, "", "", "about: it depends on how fast and how well the target answers; other totals are exact if it answers at once")
	}
	b.WriteString("\n")
}

// mostStages is how many stages have a row each in the table of classes.
const mostStages = 20

// writeClasses writes what each stage asks of each class that a hub limits: in the mean, and in the busiest second where that is more.
func (p writer) writeClasses(b *strings.Builder) {
	n := &p.Need
	if len(n.Classes) == 0 || p.Metering.MeterBytes == 0 || !p.Hub {
		return
	}
	header := []string{"asks of the hub"}
	for _, c := range n.Classes {
		name := strings.TrimPrefix(strings.TrimPrefix(c.Class, "twin "), "direct ")
		if c.Unit != "" {
			name += " (" + c.Unit + ")"
		}
		header = append(header, name)
	}
	rows, peaks := [][]string{append(header, "messages")}, false
	for i, s := range n.Stages[:min(len(n.Stages), mostStages)] {
		row := []string{s.Name}
		for _, c := range n.Classes {
			cell := "0"
			for _, a := range c.Stages {
				if a.Stage != i {
					continue
				}
				cell = words.Rate(a.Mean)
				if peak := words.Rate(a.Peak); a.Peak > a.Mean && peak != cell {
					cell, peaks = cell+" ↑"+peak, true
				}
			}
			row = append(row, cell)
		}
		rows = append(rows, append(row, words.Messages(s.Messages)))
	}
	if n.Steady != "" {
		row := []string{"all day"}
		for _, c := range n.Classes {
			row = append(row, words.Rate(c.Steady))
		}
		rows = append(rows, append(row, words.Messages(p.Need.Messages(p.Metering.MeterBytes, true))))
	}
	table(b, rows)
	trimTable(b)
	if more := len(n.Stages) - mostStages; more > 0 {
		fmt.Fprintf(b, "%s more: --json has them\n", human.Number(more, "stage"))
	}
	if peaks {
		b.WriteString("↑ in the busiest second\n")
	}
	b.WriteString("\n")
}

func (p writer) writeMachine(b *strings.Builder) {
	m := p.Machine
	address := "1 source address"
	if m.Addresses > 1 {
		address = fmt.Sprintf("each of %d source addresses", m.Addresses)
	}
	if m.Destinations > 1 {
		address += fmt.Sprintf(", towards each of %d hubs", m.Destinations)
	}
	estimate := "estimate"
	if m.Client != scenario.AnyClient {
		estimate += ", with the client " + m.Client
	}
	who := "this machine"
	if m.Agents > 0 {
		who = fmt.Sprintf("each of %s", human.Number(m.Agents, "agent"))
	}
	table(b, [][]string{
		{who, "needs", ""},
		{"memory", words.Count(float64(m.Memory)/1e6) + " MB", estimate},
		{"processors", fmt.Sprintf("%.1f", m.Processors), "estimate, in the busiest second"},
		{"descriptors", words.Count(float64(m.Descriptors)), "ulimit -n"},
		{"local ports", words.Count(float64(m.PerAddress)), "of " + address},
	})
	if !p.Hub { // nobody counts them
		return
	}
	text := fmt.Sprintf("messages of %s bytes: %s in this run", words.Count(float64(p.Metering.MeterBytes)), words.Between(p.Metering.RunLeast, p.Metering.Run))
	if p.Steady != nil {
		text += fmt.Sprintf("; %s in a day that goes on %s", words.Between(p.Metering.DayLeast, p.Metering.Day), p.Steady)
	}
	human.Wrap(b, "", "", text)
	b.WriteString("\n")
}

func (p writer) writeTier(b *strings.Builder) {
	if p.Tier == nil {
		return
	}
	c := p.Tier
	rows := [][]string{{"tier " + c.Name(), "allows", "busiest second", "mean", "in stage"}}
	for _, l := range c.Limits {
		rows = append(rows, []string{l.Class, words.Rate(l.Allowed), words.Rate(l.Peak), words.Rate(l.Steady), l.Stage})
	}
	rows = append(rows, []string{"messages a day", words.Count(p.Metering.Quota), "", "", ""})
	table(b, rows)
	for _, x := range c.Exceeded {
		human.Wrap(b, "✗ ", "  ", x)
	}
	for _, x := range c.Possible {
		human.Wrap(b, "! ", "  ", x)
	}
	if len(c.Exceeded) == 0 && len(c.Possible) == 0 {
		human.Wrap(b, "✓ ", "  ", fmt.Sprintf("within the rates of the tier; bursts of up to %s of a limit's rate are assumed to pass", human.Duration(c.Burst)))
	}
	use, text := p.Quota()
	human.Wrap(b, mark(use)+" ", "  ", "messages: "+text)
	if c.SetUp >= 1 {
		fmt.Fprintf(b, "  making the identities takes %s at the registry's rate\n", words.Short(c.SetUp))
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

func lasts(seconds float64, steps bool) string {
	switch {
	case seconds == 0 && steps:
		return "its steps"
	case seconds == 0:
		return "no time"
	}
	return words.Short(seconds)
}

func mark(use plan.QuotaUse) string {
	switch use {
	case plan.QuotaFits:
		return "✓"
	case plan.QuotaEnds:
		return "✗"
	}
	return "!"
}
