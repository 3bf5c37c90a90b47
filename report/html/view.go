package html

import (
	"fmt"
	"html/template"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/agents"
	"github.com/twinfleet/twinfleet/report/curve"
	"github.com/twinfleet/twinfleet/report/findings"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/report/reasons"
)

// What a page shows of lists that may be long.
const (
	mostReasons = 100
	mostEvents  = 400 // from the beginning and from the end, half each
	mostOutages = 100
	mostGaps    = 20
	mostAgents  = 100
)

// thresholdView is a threshold with its chart.
type thresholdView struct {
	threshold.Verdict
	State string // pass, miss or unsure
	Since string // since when it is missed; empty when it is not
	Chart template.HTML
}

// thresholds are those of a run, those that trouble first.
func thresholds(h *report.History) []thresholdView {
	curves := curve.Of(h, curvePoints)
	length := h.Run.Duration()
	if n := len(h.Samples); n > 0 {
		length = max(h.Samples[n-1].At, time.Second)
	}
	views := make([]thresholdView, len(h.Run.Thresholds))
	for i, v := range h.Run.Thresholds {
		x := thresholdView{Verdict: v, State: "miss", Since: h.Run.MissedText(&v)}
		if v.Pass {
			x.State = "pass"
		} else if v.CannotSay {
			x.State = "unsure"
		}
		if i < len(curves) {
			x.Chart = thresholdChart(curves[i], length)
		}
		views[i] = x
	}
	rank := map[string]int{"miss": 0, "unsure": 1, "pass": 2}
	slices.SortStableFunc(views, func(a, b thresholdView) int { return rank[a.State] - rank[b.State] })
	return views
}

// reasonRow is why operations ended badly.
type reasonRow struct {
	Count, Operation, Text, Group, Stage, First, Last string
}

// why are the reasons with their times, and how many more there are.
func why(h *report.History) (rows []reasonRow, more string) {
	all := reasons.WithTimes(h)
	at := func(t time.Duration) string {
		if t < 0 {
			return "–"
		}
		return human.Duration(t.Round(100 * time.Millisecond))
	}
	for _, x := range all[:min(len(all), mostReasons)] {
		rows = append(rows, reasonRow{human.Count(x.Count), string(x.Operation), x.Text(), x.Group, x.Stage, at(x.First), at(x.Last)})
	}
	return rows, rest(len(all) - len(rows))
}

// rest is how many rows of a table are left out; empty when none are.
func rest(n int) string {
	if n == 0 {
		return ""
	}
	return human.Count(n) + " more"
}

// outageRow is a time in which devices were gone.
type outageRow struct {
	From, Lost, Gone, Back, All, Curve, Why string
}

// outages are those of a run, and how many there are beside.
func outages(r *report.Run) (rows []outageRow, more string) {
	for _, o := range r.Outages[:min(len(r.Outages), mostOutages)] {
		row := outageRow{From: r.At(o.From), Lost: human.Count(o.Total), Gone: human.Count(o.Lost), Back: "not before the end", Curve: human.Spark(o.Returns), Why: o.Why}
		switch {
		case o.Recovered:
			row.Back = human.Duration(o.To - o.From)
		case o.Left > 0:
			row.Back = o.Stopped()
		}
		if o.AllBack > 0 {
			row.All = human.Duration(o.AllBack)
		}
		rows = append(rows, row)
	}
	return rows, rest(len(r.Outages) - len(rows))
}

// waveRow is a wave of a rollout.
type waveRow struct {
	Rollout, Group, Wave, Percent, Devices, Patched, Told, Answered, Failed, Took, State, Mark string
}

func waves(r *report.Run) []waveRow {
	rows := make([]waveRow, 0, len(r.Waves))
	for _, w := range r.Waves {
		row := waveRow{
			w.Rollout, w.Group, fmt.Sprintf("%d of %d", w.Number, w.Of), fmt.Sprintf("%d %%", w.Percent), human.Count(w.Devices), human.Count(w.Patched),
			human.Count(w.Told), human.Count(w.Answered), human.Count(w.Failed), human.Duration(w.Took), "reached", "pass",
		}
		switch {
		case w.Stopped:
			row.State, row.Mark = "the rollout stopped here", "miss"
		case w.Running:
			row.State, row.Mark = "under way", ""
		case w.Failed > 0:
			row.State, row.Mark = "some did not", ""
		}
		rows = append(rows, row)
	}
	return rows
}

// eventRow is something that happened.
type eventRow struct {
	At, Stage, Text, Detail string
	Bad                     bool
}

// events are those of a run; of very many the first and the last.
func events(h *report.History) (rows []eventRow) {
	row := func(e report.Event) eventRow {
		return eventRow{human.Duration(e.At.Round(10 * time.Millisecond)), e.Stage, e.Text, e.Detail, !e.OK}
	}
	all := h.Events
	for i, e := range all {
		switch {
		case len(all) > mostEvents && i == mostEvents/2:
			rows = append(rows, eventRow{Text: human.Number(len(all)-mostEvents, "more event"), Detail: "record.jsonl has all"})
		case len(all) > mostEvents && i > mostEvents/2 && i < len(all)-mostEvents/2:
		default:
			rows = append(rows, row(e))
		}
	}
	return rows
}

// gaps are the times that have no figures of their own.
func gaps(h *report.History) (lines []string) {
	all := findings.Gaps(h)
	for _, g := range all[:min(len(all), mostGaps)] {
		lines = append(lines, fmt.Sprintf("no figures from %s to %s: they are in what follows", human.Duration(g.From), human.Duration(g.To)))
	}
	if more := len(all) - len(lines); more > 0 {
		lines = append(lines, human.Number(more, "more such time"))
	}
	return lines
}

// agentsView is the agents of a run on many machines.
type agentsView struct {
	Headline string
	Columns  []string
	Rows     []agentRow
	More     string
	Findings []findings.Finding
}

// agentRow is one of them.
type agentRow struct {
	Mark, Class string
	Cells       []string
}

// agentsOf are the agents of a run; nil when there were none.
func agentsOf(r *report.Run) *agentsView {
	if len(r.Agents) == 0 {
		return nil
	}
	v := &agentsView{Headline: agents.Headline(r.Agents), Columns: agents.Columns(), Findings: findings.Agents(r)}
	rows, more := agents.Worst(r.Agents, mostAgents)
	for _, x := range rows {
		row := agentRow{Mark: "✓", Class: "pass", Cells: x.Cells}
		switch x.State {
		case agents.Well:
		case agents.Unsure:
			row.Mark, row.Class = "!", ""
		default:
			row.Mark, row.Class = "✗", "miss"
		}
		v.Rows = append(v.Rows, row)
	}
	v.More = more
	return v
}
