// Package verdict finds the outcome of a run: what its record and its thresholds say together.
package verdict

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twinfleet/twinfleet/internal/verdict/byhand"
	"github.com/twinfleet/twinfleet/internal/verdict/vain"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/agents"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
)

// Why a run ended before its last stage did.
var (
	// ErrStopped is the cause of a run that was asked to stop.
	ErrStopped = errors.New("stopped on request")
	// ErrAborted is the cause of a run that a threshold with abort_on_fail ended.
	ErrAborted = errors.New("a threshold that aborts the run was missed")
)

// cutShort is why a run has not passed whose last answers nobody waited for.
const cutShort = "the wait for the last answers was cut short by hand"

// Evidence is all that the outcome of a run depends on.
type Evidence struct {
	Scenario *scenario.Scenario // that was run
	Run      *report.Run        // whole, but for what Judge finds
	// Thresholds are those of the scenario, judged by the figures alone.
	Thresholds []threshold.Verdict
	Err        error  // what the run failed of; nil for nothing
	Cause      error  // why it ended early: ErrStopped, ErrAborted or a failure; nil when it did not
	Hard       bool   // it was stopped at once
	CutShort   bool   // somebody did not wait for the last answers
	Unexpected bool   // Err is that a step did not come to what the scenario expects
	Left       error  // why identities of the run could not be removed; nil when they were
	Unled      string // why the run was led by nobody for a while; empty when it was not
	// AllowSaturated judges a run all the same whose generator was the bottleneck.
	AllowSaturated bool
}

// Judge gives the run its outcome, the reason, its thresholds' verdicts, and notes.
func Judge(e *Evidence) {
	e.conclude()
	r := e.Run
	if e.CutShort && r.Reason != cutShort {
		r.Notes = append(r.Notes, cutShort)
	}
	switch {
	case r.Suspicion == "":
	case r.Outcome == report.Passed: // of what is likely, and not certain, nobody can say that it has
		r.Outcome, r.Reason = report.Saturated, r.Suspicion
	default:
		r.Notes = append(r.Notes, r.Suspicion)
	}
	var left []string
	if e.Left != nil {
		left = append(left, e.Left.Error())
	}
	for _, c := range r.Configured {
		if c.Left != "" { // it goes on writing into twins
			left = append(left, fmt.Sprintf("rollout %s: %s", c.Rollout, c.Left))
		}
	}
	switch {
	case len(left) == 0:
	case r.Outcome == report.Passed:
		r.Outcome, r.Reason = report.Failed, strings.Join(left, "; ")
	default: // why the run went wrong is the news; that something is left may follow from it
		r.Notes = append(r.Notes, left...)
	}
}

func (e *Evidence) note(format string, a ...any) {
	e.Run.Notes = append(e.Run.Notes, fmt.Sprintf(format, a...))
}

// conclude finds the outcome of everything but the removal of identities. What is sure goes first: nothing connected; a threshold of what was
// delivered as asked was missed; what was not delivered as asked; what never worked.
func (e *Evidence) conclude() {
	r := e.Run
	missed, unsure, byHand := 0, 0, r.Interventions.String()
	r.Thresholds = e.Thresholds
	for i := range r.Thresholds {
		byhand.Excuse(e.Scenario, r.Started, r.Interventions, i, &r.Thresholds[i])
		agents.Excuse(r.Agents, e.Scenario.Thresholds, i, &r.Thresholds[i])
	}
	why := ""
	for i := range r.Thresholds {
		switch v := &r.Thresholds[i]; {
		case v.CannotSay:
			unsure++
			why = cmp.Or(why, v.Why)
		case !v.Pass:
			missed++
		}
	}
	e.checkAccounts()
	err, cause := e.Err, e.Cause
	aborted := errors.Is(cause, ErrAborted)
	switch {
	case err != nil && e.Unexpected && r.Interventions.Changed(): // a step expects what the scenario's load comes to
		r.Outcome, r.Reason = report.Interrupted, byHand+"; "+err.Error()
		return
	case err != nil:
		r.Outcome, r.Reason = report.Failed, err.Error()
		return
	case cause != nil && !aborted && !errors.Is(cause, ErrStopped) && !errors.Is(cause, context.Canceled):
		r.Outcome, r.Reason = report.Failed, cause.Error()
		return
	case e.Hard:
		r.Outcome, r.Reason = report.Interrupted, "stopped at once"+e.where()+"; operations under way were not waited for"
		return
	case errors.Is(cause, ErrStopped):
		r.Outcome, r.Reason = report.Interrupted, "stopped"+e.where()+e.missedBefore()
		return
	}
	known := vain.Evidence{Scenario: e.Scenario, Run: r}
	nobody, failed := known.Nobody(), []string(nil)
	if nobody == "" {
		failed = slices.Concat(known.Unprovisioned(), known.Unreached(), known.Gone(), known.Lost(), known.Kinds())
		for _, c := range r.Configured {
			if c.Missed != "" {
				failed = append(failed, c.Missed)
			}
		}
	}
	switch {
	case nobody != "" && !e.outOfMeans():
		r.Outcome, r.Reason = report.Failed, nobody
	case aborted && (missed > 0 || unsure == 0): // what ended the run stays missed, whatever the last answers make of it
		r.Outcome, r.Reason = report.Missed, "ended early"+e.where()+": "+cause.Error()
	case missed > 0:
		r.Outcome, r.Reason = report.Missed, missedText(missed, unsure, len(r.Thresholds))
	case unsure > 0 && byHand != "" && !e.saturated():
		r.Outcome, r.Reason = report.Interrupted, fmt.Sprintf("%s; of %d of %d thresholds nothing can be said", byHand, unsure, len(r.Thresholds))
	case unsure > 0 && !e.saturated() && why != "":
		r.Outcome, r.Reason = report.Saturated, fmt.Sprintf("%s; of %d of %d thresholds nothing can be said", why, unsure, len(r.Thresholds))
	case unsure > 0 || e.saturated():
		r.Outcome, r.Reason = report.Saturated, e.saturatedText(unsure)
	case len(failed) > 0:
		r.Outcome, r.Reason = report.Failed, strings.Join(failed, "; ")
		failed = nil
	case byHand != "":
		r.Outcome, r.Reason = report.Interrupted, byHand
	case e.CutShort: // what nobody waited for may have taken longer than any bound, and failed in any way
		r.Outcome, r.Reason = report.Interrupted, cutShort
	default:
		r.Outcome = report.Passed
	}
	r.Notes = append(r.Notes, failed...)
	r.Notes = append(r.Notes, known.NeverDue()...)
}

// missedBefore says how many thresholds were missed for sure when a run was stopped: by what was, not by what was still to come.
func (e *Evidence) missedBefore() string {
	n := 0
	for i := range e.Run.Thresholds {
		if v, t := &e.Run.Thresholds[i], &e.Scenario.Thresholds[i]; v.Missed() && !v.NoData && !t.WantsMore() {
			n++
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("; %d of %s had been missed by then", n, human.Number(len(e.Run.Thresholds), "threshold"))
}

func missedText(missed, unsure, all int) string {
	text := fmt.Sprintf("%d of %d thresholds were missed", missed, all)
	if unsure > 0 {
		text += fmt.Sprintf("; of %d nothing can be said", unsure)
	}
	return text
}

// saturatedText says in which stages the load was not delivered as asked, and what follows; the reasons are the generator's.
func (e *Evidence) saturatedText(unsure int) string {
	text := "the generator was the bottleneck"
	lost, slow := e.agents()
	if e.Unled != "" {
		lost = append(lost, e.Unled)
	}
	switch h := e.Run.Generator; {
	case len(lost) > 0:
		text = "the load was not the one that was asked for: " + some(lost)
	case len(slow) > 0: // what of their load was late is in the health of the whole too, whose process runs no devices
		text += ": " + some(slow)
	case h != nil:
		var names []string
		for _, x := range h.Stages {
			if !x.AsAsked {
				names = append(names, x.Name)
			}
		}
		switch n := len(names); {
		case n == 1:
			text += " in stage " + names[0]
		case n > 3:
			text += fmt.Sprintf(" in %d stages, the first of them %s", n, names[0])
		case n > 1:
			text += " in stages " + strings.Join(names[:n-1], ", ") + " and " + names[n-1]
		}
	}
	if unsure > 0 {
		text += fmt.Sprintf("; of %d of %d thresholds nothing can be said", unsure, len(e.Run.Thresholds))
	}
	return text
}

// some are the first of some reasons, and how many more there are.
func some(reasons []string) string {
	const most = 3
	more := ""
	if n := len(reasons) - most; n > 0 {
		reasons, more = reasons[:most], fmt.Sprintf("; and %d more", n)
	}
	return strings.Join(reasons, "; ") + more
}

// saturated reports whether a stage was not delivered as asked and the run must not pass for that. That devices were not there, or nobody to ask
// the queries, is never allowed: it is no matter of how fast a machine is.
func (e *Evidence) saturated() bool {
	h := e.Run.Generator
	lost, slow := e.agents()
	return len(lost) > 0 || e.Unled != "" || (h != nil && h.Saturated || len(slow) > 0) && !e.AllowSaturated
}

// agents are those that were lost, and those that did not deliver a stage as asked, a line each.
func (e *Evidence) agents() (lost, slow []string) {
	for i := range e.Run.Agents {
		a := &e.Run.Agents[i]
		switch h := a.Generator; {
		case a.Lost != nil:
			where := ""
			if a.Lost.Stage != "" {
				where = " in stage " + a.Lost.Stage
			}
			lost = append(lost, fmt.Sprintf("agent %s was lost%s with %s (%s)", a.Name, where, human.Number(a.Lost.Devices, "device"), a.Lost.Why))
		case h != nil && h.Saturated:
			why := "see its report"
			if len(h.Reasons) > 0 {
				why = h.Reasons[0]
			}
			slow = append(slow, fmt.Sprintf("agent %s: %s", a.Name, why))
		}
	}
	return lost, slow
}

// outOfMeans reports whether connections failed for want of what this machine should have.
func (e *Evidence) outOfMeans() bool {
	h := e.Run.Generator
	return h != nil && h.NoDescriptor+h.NoPort > 0 && e.saturated()
}

// where says in which stage the run was when its stages ended, and how long it had gone on.
func (e *Evidence) where() string {
	stages := e.Run.Stages
	n := len(stages)
	if n == 0 {
		return " before its first stage"
	}
	t := &stages[n-1]
	return fmt.Sprintf(" in stage %s, %s after it began and %s after the run did", t.Name, human.Duration(t.To-t.From), human.Duration(t.To))
}

// checkAccounts holds the figures to their own sums: every operation that started has ended, one way or another.
func (e *Evidence) checkAccounts() {
	totals := e.Run.Totals
	for i := range totals.Series {
		x := &totals.Series[i]
		if x.Ended() != x.Started() {
			e.note("%s %s: %d operations started and %d ended; the figures are not whole", x.Operation, x.Group, x.Started(), x.Ended())
		}
	}
}
