package tables

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/agents"
	"github.com/twinfleet/twinfleet/report/reasons"
)

// Answer is what somebody must know who looks for five seconds.
type Answer struct {
	Verdict string  `json:"verdict"` // an Outlook of the report; in the end the outcome
	Reason  string  `json:"reason"`  // one line
	Devices string  `json:"devices"` // how many are connected, of how many
	Agents  string  `json:"agents"`  // how many of them, or that some were lost; empty for a run in one process
	Share   float64 `json:"share"`   // of the devices that should be connected: are
	Left    float64 `json:"left"`    // seconds until the last stage is over; 0 when that is not known, or when it is
	Done    float64 `json:"done"`    // share of the planned time that is over; -1 when that is not known
	Doubt   string  `json:"doubt"`   // why the figures speak of the generator; empty while they do not
	Worst   int     `json:"worst"`   // index of the threshold that needs looking at first; -1 for none
	Counts  Counts  `json:"counts"`  // of the whole run
	Why     string  `json:"why"`     // what ended badly most often, and where; empty when nothing did
}

func answer(e *Evidence, t *Tables) Answer {
	a := Answer{Verdict: string(report.Starting), Done: -1, Worst: worst(t.Thresholds), Counts: countsIn(e.Run.Totals, "")}
	if s := e.Standing; s != nil {
		a.Agents = s.AgentsText()
		a.Verdict, a.Reason, a.Devices, a.Doubt, a.Left = string(s.Outlook), s.Reason, s.DevicesText(), s.Doubt, s.Left.Seconds()
		if s.Wanted > 0 {
			a.Share = float64(s.Connected) / float64(s.Wanted)
		}
		if began := e.Run.Stages; len(began) > 0 && s.Left > 0 {
			into := max(0, e.Now-began[0].From)
			a.Done = into.Seconds() / (into + s.Left).Seconds()
		}
	}
	if e.Over {
		a.Agents = (&report.Standing{Agents: e.Run.Agents}).AgentsText()
		a.Verdict, a.Reason, a.Left, a.Done = string(e.Run.Outcome), e.Run.Reason, 0, -1
		if e.Run.Guessed() {
			a.Verdict = string(report.CannotSay)
		}
		if h := e.Run.Generator; h != nil {
			a.Doubt = ""
			if h.Saturated {
				a.Doubt = strings.Join(h.Reasons, "; ")
			}
		}
		if row := agents.Rows(e.Run.Agents); a.Doubt == "" && len(row) > 0 && (row[0].State == agents.Lost || row[0].State == agents.Slow) {
			a.Doubt = "agent " + row[0].Name + ": " + agents.Wrong(row[0].Agent) // the gravest is the first
		}
		if e.Standing == nil {
			a.Devices = e.Run.DevicesText()
		}
	}
	if len(t.Reasons) > 0 {
		r := t.Reasons[0]
		a.Why = fmt.Sprintf("%s %s", r.Operation, r.Text)
		if r.Groups != "" {
			a.Why += " · " + r.Groups
		}
	}
	return a
}

// worst is the threshold that is missed for the longest time, else the one that is nearest to its bound.
func worst(all []Threshold) int {
	rank := func(t Threshold) int {
		switch t.State {
		case stateMissed:
			return 0
		case stateCannotSay:
			return 1
		case stateMet:
			return 2
		}
		return 3
	}
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	if len(order) == 0 {
		return -1
	}
	since := func(t Threshold) float64 {
		if t.Since == nil {
			return 1e18 // seen at the very end
		}
		return *t.Since
	}
	past := func(t Threshold) float64 {
		if t.Past == nil {
			return -1e18
		}
		return *t.Past
	}
	return slices.MinFunc(order, func(i, j int) int {
		x, y := all[i], all[j]
		if c := cmp.Compare(rank(x), rank(y)); c != 0 {
			return c
		}
		if x.State == stateMissed {
			if c := cmp.Compare(since(x), since(y)); c != 0 {
				return c
			}
		}
		return cmp.Compare(past(y), past(x))
	})
}

// listed is the parts of a count as a short text.
func listed(s reasons.Shares) string {
	return s.Text(4, func(others int) string { return fmt.Sprintf("%d more", others) })
}
