package engine

import (
	"context"

	"github.com/twinfleet/twinfleet/internal/verdict"
)

// Why a run ended before its last stage did: causes of the contexts of its parts. Matched with errors.Is.
var (
	// errStopped is the cause of a run that was asked to stop.
	errStopped = verdict.ErrStopped
	// errAborted is the cause of a run that a threshold with abort_on_fail ended.
	errAborted = verdict.ErrAborted
)

// Stop ends the run politely: no new stage or query begins, devices disconnect, the record is completed.
// Cancelling the context given to Run ends it at once instead. Stop may be called at any time, more than once: after the last
// stage, and when called once more, it ends the wait for the last answers.
func (e *Engine) Stop() {
	if !e.drain.stop() {
		e.stop(errStopped)
	}
}

// stopped reports whether the run was asked to end early, and why.
func (e *Engine) stopped() error {
	if e.soft.Err() == nil {
		return nil
	}
	return context.Cause(e.soft)
}
