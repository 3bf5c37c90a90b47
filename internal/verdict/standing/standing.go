// Package standing says how a run stands while it goes on.
package standing

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/verdict/byhand"
	"github.com/twinfleet/twinfleet/internal/verdict/vain"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/judge"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/agents"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
)

// Evidence is what is known of a run now.
type Evidence struct {
	Scenario   *scenario.Scenario
	Figures    *metrics.Snapshot // of the whole run
	Thresholds []judge.State     // of the scenario, in its order
	Started    time.Time         // when the run began
	ByHand     report.Interventions
	Agents     []report.Agent // that run the devices; none when this process does
	Doubt      string         // why the load is not the one that was asked for; empty while it is
	Unled      string         // why nobody led the run for a while; empty when somebody did
	Suspicion  string         // what is likely to have spoiled the run; empty for nothing
	// AllowSaturated judges the run all the same while its generator is the bottleneck, not while agents are lost or nobody led it.
	AllowSaturated bool
	Began          int           // stages that began
	Running        bool          // the last of them still runs
	Into           time.Duration // since it began
}

// Of is how the run stands.
func Of(e *Evidence) *report.Standing {
	s := &report.Standing{Thresholds: e.Thresholds, Doubt: e.Doubt, Fleet: e.Scenario.Devices(), Left: e.left()}
	s.Connected, s.Wanted = threshold.Devices(e.Figures, "")
	s.Failing = e.failing()
	for i := range e.Thresholds {
		byhand.Excuse(e.Scenario, e.Started, e.ByHand, i, &e.Thresholds[i].Verdict)
		agents.Excuse(e.Agents, e.Scenario.Thresholds, i, &e.Thresholds[i].Verdict)
	}
	var missed, unsure, pending int
	first, why := "", ""
	for i := range e.Thresholds {
		switch t := &e.Thresholds[i]; {
		case t.Pending:
			pending++
		case t.CannotSay:
			unsure++
			why = cmp.Or(why, t.Why)
		case !t.Pass:
			if missed++; first == "" {
				first = t.Threshold + ": " + t.Observed
			}
		}
	}
	all, lost := len(e.Thresholds), e.lost()
	switch {
	case e.Began == 0:
		s.Outlook = report.Starting
	case missed == 1:
		s.Outlook, s.Reason = report.Missing, first
	case missed > 1:
		s.Outlook, s.Reason = report.Missing, fmt.Sprintf("%d of %d thresholds are missed, the first is %s", missed, all, first)
	case lost != "":
		s.Outlook, s.Reason = report.CannotSay, lost
		if unsure > 0 {
			s.Reason += fmt.Sprintf("; of %d of %d thresholds nothing can be said", unsure, all)
		}
	case unsure > 0 && len(e.ByHand) > 0 && (e.Doubt == "" || e.AllowSaturated):
		s.Outlook, s.Reason = report.CannotSay, fmt.Sprintf("%s; of %d of %d thresholds nothing can be said", e.ByHand, unsure, all)
	case e.Doubt != "" && !e.AllowSaturated, unsure > 0:
		s.Outlook, s.Reason = report.CannotSay, "the generator is the bottleneck"
		if e.Doubt == "" && why != "" {
			s.Reason = why
		}
		if unsure > 0 {
			s.Reason += fmt.Sprintf("; of %d of %d thresholds nothing can be said", unsure, all)
		}
	case len(s.Failing) > 0:
		s.Outlook, s.Reason = report.Failing, strings.Join(s.Failing, "; ")
	case len(e.ByHand) > 0:
		s.Outlook, s.Reason = report.CannotSay, e.ByHand.String()
	case e.Suspicion != "":
		s.Outlook, s.Reason = report.CannotSay, e.Suspicion
	case all == 0:
		s.Outlook, s.Reason = report.Holding, "no thresholds were set: all that was tried works"
	default:
		s.Outlook, s.Reason = report.Holding, fmt.Sprintf("%d of %s met so far", all-pending, human.Number(all, "threshold"))
		if all == 1 && pending == 0 {
			s.Reason = "the threshold is met so far"
		}
		if pending > 0 {
			s.Reason += fmt.Sprintf(", %d not yet to be judged", pending)
		}
	}
	return s
}

// lost says that agents are no more, or that nobody led the run for a while: neither is ever allowed. It is empty while all are there, and were led.
func (e *Evidence) lost() string {
	agents := e.lostAgents()
	if agents != "" && e.Unled != "" {
		return agents + "; " + e.Unled
	}
	return agents + e.Unled
}

// lostAgents says that agents are no more; empty while all are there.
func (e *Evidence) lostAgents() string {
	first, n := "", 0
	for i := range e.Agents {
		if a := &e.Agents[i]; a.Lost != nil {
			n++
			first = cmp.Or(first, a.Name)
		}
	}
	switch n {
	case 0:
		return ""
	case 1:
		return "agent " + first + " was lost"
	default:
		return fmt.Sprintf("%s were lost, the first is %s", human.Number(n, "agent"), first)
	}
}

// left is how long the stages go on, as they are planned; 0 when one ends with its steps, or all are over.
func (e *Evidence) left() (sum time.Duration) {
	first := e.Began // that is not over
	if e.Running {
		first--
	} else if e.Began > 0 {
		return 0
	}
	for i := range e.Scenario.Stages[first:] {
		d := e.Scenario.Stages[first+i].Duration
		if d == 0 {
			return 0
		}
		if i == 0 && e.Running {
			d = max(0, d-e.Into)
		}
		sum += d
	}
	return sum
}

// failing says what was tried, failed, and never worked.
func (e *Evidence) failing() []string {
	verdicts := make([]threshold.Verdict, len(e.Thresholds))
	for i := range e.Thresholds {
		verdicts[i] = e.Thresholds[i].Verdict
	}
	known := vain.Evidence{Scenario: e.Scenario, Run: &report.Run{Totals: e.Figures, Thresholds: verdicts}}
	return known.Failing()
}
