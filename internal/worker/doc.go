// Package worker is the service side of a run: it tags the devices' twins, runs twin queries on a
// schedule, and carries out the one-off steps of a scenario. What it measures goes to the Recorder.
package worker

import (
	"context"
	"errors"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/metrics"
)

// Measure runs one call that was intended for a time, and gives it to a series.
func Measure[T any](series *metrics.Series, intended time.Time, call func() (T, error)) (T, error) {
	sent := time.Now()
	series.Start(intended, sent)
	value, err := call()
	if errors.Is(err, context.Canceled) {
		series.Abandon() // the run ended, not the call: it says nothing about the target
		return value, err
	}
	series.ObserveBecause(intended, sent, time.Now(), OutcomeOf(err), metrics.Reason(err))
	return value, err
}

// OutcomeOf sorts an error of the service side into the outcomes that the Recorder counts.
func OutcomeOf(err error) metrics.Outcome {
	var e *iothub.Error
	switch {
	case err == nil:
		return metrics.OK
	case iothub.Throttled(err):
		return metrics.Throttled
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, iothub.ErrMethodTimeout):
		return metrics.Timeout
	case errors.As(err, &e) && (e.Status == 401 || e.Status == 403):
		return metrics.Refused
	default:
		return metrics.Failed
	}
}

// Pause waits, or returns the reason why ctx ended.
func Pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
