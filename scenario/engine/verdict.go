package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/twinfleet/twinfleet/internal/report"
	"github.com/twinfleet/twinfleet/internal/worker"
	"github.com/twinfleet/twinfleet/metrics"
)

// outcomeOf sorts an error of the service side.
func outcomeOf(err error) metrics.Outcome { return worker.OutcomeOf(err) }

// judge turns what happened into the outcome of the run.
func (e *Engine) judge(ctx context.Context, err error) {
	r := &e.record
	missed := 0
	for _, t := range e.sc.Thresholds {
		v := t.Evaluate(r.Totals)
		r.Thresholds = append(r.Thresholds, v)
		if !v.Pass {
			missed++
		}
	}
	cause := context.Cause(e.soft)
	switch {
	case err != nil:
		r.Outcome, r.Reason = report.Failed, err.Error()
	case cause != nil && !errors.Is(cause, ErrStopped) && !errors.Is(cause, context.Canceled):
		r.Outcome, r.Reason = report.Failed, cause.Error()
	case ctx.Err() != nil:
		r.Outcome, r.Reason = report.Interrupted, "stopped at once; operations under way were not waited for"
	case errors.Is(cause, ErrStopped):
		r.Outcome, r.Reason = report.Interrupted, "stopped before its last stage was over"
	case r.Generator != nil && r.Generator.Saturated && !e.opts.AllowSaturated && !e.sc.Generator.AllowSaturated:
		r.Outcome, r.Reason = report.Saturated, "the generator was the bottleneck; the figures may speak of it instead of the target"
	case missed > 0:
		r.Outcome, r.Reason = report.Missed, fmt.Sprintf("%d of %d thresholds were missed", missed, len(r.Thresholds))
	default:
		r.Outcome = report.Passed
	}
}
