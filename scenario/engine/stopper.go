package engine

import (
	"context"
	"errors"

	"github.com/twinfleet/twinfleet/internal/verdict"
)

// Stop ends the run politely: no new stage or query begins, devices disconnect, the record is completed.
// Cancelling the context given to Run ends it at once instead. Stop may be called at any time, more than once: after the last
// stage, and when called once more, it ends the wait for the last answers.
func (e *Engine) Stop() {
	if !e.drain.stop() {
		e.stop(verdict.ErrStopped)
	}
}

// stopped reports whether the run was asked to end early, and why.
func (e *Engine) stopped() error {
	if e.soft.Err() == nil {
		return nil
	}
	return context.Cause(e.soft)
}

// endedBy reports whether an error is no failure, but that the run was asked to end meanwhile. What failed before it was asked stays a failure.
func (e *Engine) endedBy(ctx context.Context, err error) bool {
	return (ctx.Err() != nil || errors.Is(e.stopped(), verdict.ErrStopped)) && (errors.Is(err, verdict.ErrStopped) || errors.Is(err, context.Canceled))
}
