package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/twinfleet/twinfleet/internal/report"
)

// judge turns what happened into the outcome of the run.
func (e *Engine) judge(ctx context.Context, err error) {
	r := e.record.whole()
	missed := 0
	r.Thresholds = e.bounds.End(r.Totals)
	for _, v := range r.Thresholds {
		if !v.Pass {
			missed++
		}
	}
	e.checkAccounts()
	cause := context.Cause(e.soft)
	switch {
	case err != nil:
		r.Outcome, r.Reason = report.Failed, err.Error()
	case e.saturated() && ctx.Err() == nil && (errors.Is(cause, ErrAborted) || errors.Is(cause, context.Canceled)):
		r.Outcome, r.Reason = report.Saturated, "the generator was the bottleneck; the figures may speak of it instead of the target"
	case errors.Is(cause, ErrAborted):
		r.Outcome, r.Reason = report.Missed, "ended early"+e.where()+": "+cause.Error()
	case cause != nil && !errors.Is(cause, ErrStopped) && !errors.Is(cause, context.Canceled):
		r.Outcome, r.Reason = report.Failed, cause.Error()
	case ctx.Err() != nil:
		r.Outcome, r.Reason = report.Interrupted, "stopped at once"+e.where()+"; operations under way were not waited for"
	case errors.Is(cause, ErrStopped):
		r.Outcome, r.Reason = report.Interrupted, "stopped"+e.where()
	case missed > 0:
		r.Outcome, r.Reason = report.Missed, fmt.Sprintf("%d of %d thresholds were missed", missed, len(r.Thresholds))
	default:
		r.Outcome = report.Passed
	}
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
