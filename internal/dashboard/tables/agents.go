package tables

import (
	"time"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/agents"
)

// Agents are those that run the devices of a run on many machines.
type Agents struct {
	Line  string  `json:"line"`  // how many there are, and what is wrong, in words; empty for a run in one process
	Rows  []Agent `json:"rows"`  // those in trouble first
	More  string  `json:"more"`  // what is said of those that have no row; empty when all have one
	Wrong int     `json:"wrong"` // how many are in trouble, all counted
}

// Agent is one of them.
type Agent struct {
	Name      string  `json:"name"`      // its own
	State     string  `json:"state"`     // lost, slow, unsure or well
	Devices   int     `json:"devices"`   // that are its own
	Connected int     `json:"connected"` // of them
	Used      float64 `json:"used"`      // share of its processors in use in the last second
	Most      float64 `json:"most"`      // the highest so far
	Lag       float64 `json:"lag"`       // milliseconds by which operations started late in the last second, 99th percentile
	Offset    float64 `json:"offset"`    // seconds that its clock is ahead, to sort by
	Clock     string  `json:"clock"`     // the same, with what that may be wrong by
	Control   string  `json:"control"`   // bytes a second for coordination
	Bad       uint64  `json:"bad"`       // operations that ended in any other way than well
	Dropped   uint64  `json:"dropped"`   // operations that were due and never started
	Wrong     string  `json:"wrong"`     // what is wrong; empty when nothing is
}

// agentRows are the agents as they stand, or in the end as the record has them.
func agentRows(e *Evidence) Agents {
	all := e.Run.Agents
	if !e.Over && e.Standing != nil {
		all = e.Standing.Agents
	}
	out := Agents{Line: agents.Headline(all), Rows: []Agent{}}
	for i := range all {
		if agents.StateOf(&all[i]) != agents.Well {
			out.Wrong++
		}
	}
	rows, more := agents.Worst(all, maxRows)
	out.More = more
	for _, r := range rows {
		out.Rows = append(out.Rows, agentRow(r.Agent, r.State, e.Over))
	}
	return out
}

func agentRow(a *report.Agent, state agents.State, over bool) Agent {
	x := Agent{
		Name: a.Name, State: string(state), Devices: a.Devices, Connected: a.Connected, Lag: milliseconds(a.Lag), Offset: a.Clock.Offset.Seconds(),
		Clock: agents.Clock(a.Clock), Control: "–", Wrong: agents.Wrong(a),
	}
	if h := a.Generator; h != nil && h.Cores > 0 {
		x.Used, x.Most = a.CPU/float64(h.Cores), h.CPUPeak/float64(h.Cores)
		if over {
			x.Lag = milliseconds(h.Lag)
		}
	}
	if a.Control.Over > 0 {
		x.Control = agents.Bytes(a.Control.Rate()) + "/s"
	}
	if t := a.Totals; t != nil {
		x.Bad, x.Dropped = t.Errors, t.Dropped
	}
	return x
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
