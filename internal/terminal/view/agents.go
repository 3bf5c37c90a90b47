package view

import (
	"fmt"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/terminal/layout"
	"github.com/twinfleet/twinfleet/internal/terminal/paint"
	"github.com/twinfleet/twinfleet/report"
	reported "github.com/twinfleet/twinfleet/report/agents"
	"github.com/twinfleet/twinfleet/report/human"
)

// agentColumns are those of the table of agents, beside name and connected devices.
func agentColumns() []column {
	return []column{{"cpu", 5, 0}, {"late", 7, 1}, {"clock", 18, 2}, {"control", 10, 3}}
}

// agents are those that run the devices on many machines: those in trouble first.
func (v view) agents() layout.Section {
	out := layout.Section{Name: agents, Rank: 2, Least: 1, First: 3}
	if v.Standing() == nil || len(v.Standing().Agents) == 0 {
		return out
	}
	rows := reported.Rows(v.Standing().Agents)
	var names, numbers []string
	for _, r := range rows {
		names = append(names, paint.Clean(r.Name))
		numbers = append(numbers, human.Count(r.Agent.Connected)+" of "+human.Count(r.Agent.Devices))
	}
	name, number := columnWidth(names, 10, max(10, v.width/4)), columnWidth(numbers, 9, 25)
	wrong, trouble := 0, 0 // columns that say what is wrong, and with how many something is
	for _, r := range rows {
		if r.State != reported.Well {
			wrong = 24
			trouble++
		}
	}
	out.Least = min(3, max(out.Least, trouble)) // before anything else is seen
	columns := fitting(agentColumns(), v.width-3-name-2-number-wrong-2)
	left := v.width - 3 - name - 2 - number - widthOf(columns) - 2
	out.Head = v.heading("agents", name+2, paint.Right("connected", number+1)+titles(columns))
	for i, r := range rows {
		sign, code := " ", ""
		switch r.State {
		case reported.Well:
		case reported.Unsure:
			sign, code = "!", paint.Yellow
		default:
			sign, code = "✗", paint.Red
		}
		text := " " + v.Paint(code, sign) + " " + paint.Fit(names[i], name) + " " + paint.Right(numbers[i], number)
		for _, c := range columns {
			text += " " + paint.Right(agentCell(r.Agent, c.title), c.width)
		}
		if why := paint.Clean(reported.Wrong(r.Agent)); why != "" && left >= 12 {
			text += "  " + v.Paint(code, paint.Cut(why, left))
		}
		out.Rows = append(out.Rows, layout.Row{Key: r.Name, Text: paint.Cut(text, v.width), Trouble: r.State != reported.Well})
	}
	return v.picked(out)
}

// agentCell is a figure of an agent, as it is now; nothing of one that was lost.
func agentCell(a *report.Agent, title string) string {
	switch {
	case a.Lost != nil:
		return "–"
	case title == "clock":
		return reported.Clock(a.Clock)
	case title == "control" && a.Control.Over > 0:
		return reported.Bytes(a.Control.Rate()) + "/s"
	case title == "cpu" && a.Generator != nil && a.Generator.Cores > 0:
		return fmt.Sprintf("%.0f %%", 100*a.CPU/float64(a.Generator.Cores))
	case title == "late" && a.Generator != nil:
		return human.Duration(a.Lag)
	}
	return "–"
}

// ofAgent is all that is known of an agent.
func (v view) ofAgent(key string) []string {
	lines := v.title("agent " + key)
	for i := range v.Standing().Agents {
		a := &v.Standing().Agents[i]
		if a.Name != key {
			continue
		}
		facts := [][2]string{{"what is wrong", reported.Wrong(a)}, {"devices", human.Count(a.Connected) + " connected of " + human.Count(a.Devices)}}
		if h := a.Generator; h != nil {
			facts = append(
				facts, [2]string{"processors", fmt.Sprintf("%.1f of %d now, %.1f at most", a.CPU, h.Cores, h.CPUPeak)},
				[2]string{"late", fmt.Sprintf("%s now, %s at most", human.Duration(a.Lag), human.Duration(h.Lag))}, [2]string{"memory", reported.Bytes(float64(h.MemoryPeak))},
			)
		}
		facts = append(facts, [2]string{"clock", reported.Clock(a.Clock) + " against the coordinator's"})
		if c := a.Control; c.Over > 0 {
			facts = append(facts, [2]string{"control", fmt.Sprintf("%s/s, %.2g %% of a processor at least", reported.Bytes(c.Rate()), 100*c.Share())})
		}
		if t := a.Totals; t != nil {
			facts = append(facts, [2]string{"operations", fmt.Sprintf("%s started, %s ok, %s ended badly, %s dropped, %s under way",
				human.Count(t.Started), human.Count(t.OK), human.Count(t.Errors), human.Count(t.Dropped), human.Count(t.InFlight))})
		}
		facts = append(facts, [2]string{"machine", fmt.Sprintf("%s/%s, %s, twinfleet %s", a.Machine.OS, a.Machine.Arch, human.Number(a.Machine.CPUs, "processor"), a.Version)})
		if x := a.Lost; x != nil && !x.At.IsZero() {
			facts = append(facts, [2]string{"last heard of", human.Duration(v.RunTime(x.At).Round(time.Second/10)) + " into the run"})
		}
		for _, f := range facts {
			if strings.TrimSpace(f[1]) != "" {
				lines = append(lines, v.fact(f[0], f[1])...)
			}
		}
		return lines
	}
	return append(lines, " it is not part of the run any more")
}
