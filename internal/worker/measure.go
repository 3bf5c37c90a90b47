package worker

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/reason"
)

// Patient is a context that ends with soft, and whose calls under way go on until their own time is up, or until hard ends: a
// call that is cut off tells nothing of the target.
func Patient(soft, hard context.Context) context.Context {
	return context.WithValue(soft, hardKey{}, hard)
}

type hardKey struct{}

// calls is the context of the calls that begin in ctx.
func calls(ctx context.Context) context.Context {
	if hard, ok := ctx.Value(hardKey{}).(context.Context); ok {
		return hard
	}
	return ctx
}

// callTimeout is how long a call may take that has no time-out of its own.
const callTimeout = 30 * time.Second

// Measure runs one call that was intended for a time, and gives it to a series. The call has half a minute.
func Measure[T any](ctx context.Context, series *metrics.Series, intended time.Time, call func(context.Context) (T, error)) (T, error) {
	limited, cancel := context.WithTimeout(calls(ctx), callTimeout)
	defer cancel()
	op := series.Start(intended, time.Now())
	value, err := call(limited)
	finish(calls(ctx), op, time.Now(), err)
	return value, err
}

// finish counts that an operation ended with an error or without. One that was cut off with ctx had no answer: it is false.
func finish(ctx context.Context, op metrics.Started, done time.Time, err error) (answered bool) {
	if err != nil && ctx.Err() != nil {
		op.Unanswered(done, runEnded)
		return false
	}
	op.EndBecause(done, OutcomeOf(err), reason.Of(err))
	return true
}

// runEnded is why an operation has no answer that was still waited for.
const runEnded = "the run ended first"

// OutcomeOf sorts an error of the service side into the outcomes that the Recorder counts.
func OutcomeOf(err error) metrics.Outcome {
	var e *iothub.Error
	var network net.Error
	switch {
	case err == nil:
		return metrics.OK
	case iothub.Throttled(err):
		return metrics.Throttled
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, iothub.ErrMethodTimeout), errors.As(err, &network) && network.Timeout():
		return metrics.Timeout
	case errors.As(err, &e) && (e.Status == 401 || e.Status == 403):
		return metrics.Refused
	default:
		return metrics.Failed
	}
}
