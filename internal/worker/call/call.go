// Package call makes single calls of the service side, and counts how each of them ended.
package call

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

// Context is the context of the calls that begin in ctx: the hard one of a Patient context, else ctx.
func Context(ctx context.Context) context.Context {
	if hard, ok := ctx.Value(hardKey{}).(context.Context); ok {
		return hard
	}
	return ctx
}

// timeout is how long a call may take that has no time-out of its own.
const timeout = 30 * time.Second

// Measure makes one call that was intended for a time, and gives it to a series. The call has half a minute.
func Measure[T any](ctx context.Context, series *metrics.Series, intended time.Time, call func(context.Context) (T, error)) (T, error) {
	limited, cancel := context.WithTimeout(Context(ctx), timeout)
	defer cancel()
	op := series.Start(intended, time.Now())
	value, err := call(limited)
	Finish(ctx, op, time.Now(), err)
	return value, err
}

// Finish counts that an operation which began in ctx ended with an error or without. One that was cut off with the calls of
// ctx had no answer: it is false.
func Finish(ctx context.Context, op metrics.Started, done time.Time, err error) (answered bool) {
	if err != nil && Context(ctx).Err() != nil {
		op.Unanswered(done, RunEnded)
		return false
	}
	op.EndBecause(done, Outcome(err), reason.Of(err))
	return true
}

// RunEnded is why an operation has no answer that was still waited for.
const RunEnded = "the run ended first"

// Outcome sorts an error of the service side into the outcomes that the Recorder counts.
func Outcome(err error) metrics.Outcome {
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
