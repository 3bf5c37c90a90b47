package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
)

// judge turns what happened into the outcome of the run.
func (e *Engine) judge(ctx context.Context, err error) {
	e.conclude(ctx, err)
	r := e.record.whole()
	switch {
	case e.left == nil:
	case r.Outcome == report.Passed:
		r.Outcome, r.Reason = report.Failed, e.left.Error()
	default: // why the run went wrong is the news; that identities are left may follow from it
		r.Notes = append(r.Notes, e.left.Error())
	}
}

// conclude finds the outcome of everything but the removal of identities. What is sure goes first: nothing connected; a threshold of what was
// delivered as asked was missed; what was not delivered as asked; what never worked.
func (e *Engine) conclude(ctx context.Context, err error) {
	r := e.record.whole()
	missed, unsure := 0, 0
	r.Thresholds = e.bounds.End(r.Totals)
	e.excuseHand(r.Thresholds)
	for i := range r.Thresholds {
		switch v := &r.Thresholds[i]; {
		case v.CannotSay:
			unsure++
		case !v.Pass:
			missed++
		}
	}
	e.checkAccounts()
	cause := context.Cause(e.soft)
	aborted := errors.Is(cause, ErrAborted)
	switch {
	case err != nil:
		r.Outcome, r.Reason = report.Failed, err.Error()
		return
	case cause != nil && !aborted && !errors.Is(cause, ErrStopped) && !errors.Is(cause, context.Canceled):
		r.Outcome, r.Reason = report.Failed, cause.Error()
		return
	case ctx.Err() != nil:
		r.Outcome, r.Reason = report.Interrupted, "stopped at once"+e.where()+"; operations under way were not waited for"
		return
	case errors.Is(cause, ErrStopped):
		r.Outcome, r.Reason = report.Interrupted, "stopped"+e.where()
		return
	}
	nobody, vain := e.inVain(), []string(nil)
	if nobody == "" {
		vain = append(e.goneAtTheEnd(), e.vainKinds()...)
	}
	switch {
	case nobody != "" && !e.outOfMeans():
		r.Outcome, r.Reason = report.Failed, nobody
	case aborted && missed > 0:
		r.Outcome, r.Reason = report.Missed, "ended early"+e.where()+": "+cause.Error()
	case missed > 0:
		r.Outcome, r.Reason = report.Missed, missedText(missed, unsure, len(r.Thresholds))
	case unsure > 0 && len(e.byHand) > 0 && !e.saturated():
		r.Outcome, r.Reason = report.Interrupted, fmt.Sprintf("%s; of %d of %d thresholds nothing can be said", e.handText(), unsure, len(r.Thresholds))
	case unsure > 0 || e.saturated():
		r.Outcome, r.Reason = report.Saturated, e.saturatedText(unsure)
	case len(vain) > 0:
		r.Outcome, r.Reason = report.Failed, strings.Join(vain, "; ")
		vain = nil
	default:
		r.Outcome = report.Passed
	}
	r.Notes = append(r.Notes, vain...)
	r.Notes = append(r.Notes, e.neverDue()...)
}

// excuseHand takes back that thresholds were missed for which a stage that somebody ended by hand was too short.
func (e *Engine) excuseHand(verdicts []metrics.Verdict) {
	if len(e.byHand) == 0 {
		return
	}
	for i := range verdicts {
		t, v := &e.sc.Thresholds[i], &verdicts[i]
		short := t.Scope.Stage == "" || slices.Contains(e.byHand, t.Scope.Stage)
		if v.Missed() && short && t.Scope.Window == 0 && (v.NoData || t.WantsMore()) {
			v.CannotSay, v.Why = true, e.handText()
		}
	}
}

// handText says which stages were ended by hand.
func (e *Engine) handText() string {
	if len(e.byHand) == 1 {
		return "stage " + e.byHand[0] + " was ended early by hand"
	}
	return "stages " + strings.Join(e.byHand, ", ") + " were ended early by hand"
}

func missedText(missed, unsure, all int) string {
	text := fmt.Sprintf("%d of %d thresholds were missed", missed, all)
	if unsure > 0 {
		text += fmt.Sprintf("; of %d nothing can be said", unsure)
	}
	return text
}

// saturatedText says in which stages the load was not delivered as asked, and what follows; the reasons are the generator's.
func (e *Engine) saturatedText(unsure int) string {
	text := "the generator was the bottleneck"
	if h := e.record.whole().Generator; h != nil {
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
		text += fmt.Sprintf("; of %d of %d thresholds nothing can be said", unsure, len(e.record.whole().Thresholds))
	}
	return text
}

// saturated reports whether a stage was not delivered as asked and the run must not pass for that.
func (e *Engine) saturated() bool {
	h := e.record.whole().Generator
	return h != nil && h.Saturated && !e.allowsSaturated()
}

// outOfMeans reports whether connections failed for want of what this machine should have.
func (e *Engine) outOfMeans() bool {
	h := e.record.whole().Generator
	return h != nil && h.NoDescriptor+h.NoPort > 0 && e.saturated()
}

// where says in which stage the run was when its stages ended, and how long it had gone on.
func (e *Engine) where() string {
	stages := e.record.whole().Stages
	n := len(stages)
	if n == 0 {
		return " before its first stage"
	}
	t := &stages[n-1]
	return fmt.Sprintf(" in stage %s, %s after it began and %s after the run did", t.Name, report.Duration(t.To-t.From), report.Duration(t.To))
}

// checkAccounts holds the figures to their own sums: every operation that started has ended, one way or another.
func (e *Engine) checkAccounts() {
	totals := e.record.whole().Totals
	for i := range totals.Series {
		x := &totals.Series[i]
		if x.Ended() != x.Started() {
			e.record.note("%s %s: %d operations started and %d ended; the figures are not whole", x.Operation, x.Group, x.Started(), x.Ended())
		}
	}
}
