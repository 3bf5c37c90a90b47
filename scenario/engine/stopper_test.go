package engine

import (
	"errors"
	"testing"

	"github.com/twinfleet/twinfleet/internal/verdict"
	"github.com/twinfleet/twinfleet/scenario"
)

// What is begun in a run that was asked to stop finds that out at once: a call to a target that answers nothing would
// take its whole time-out.
func TestStoppedAlready(t *testing.T) {
	for range 100 {
		e := New(Options{Scenario: &scenario.Scenario{}})
		e.Stop()
		ctx, cancel := e.either(t.Context())
		if err := ctx.Err(); err == nil {
			t.Fatal("the context of a run that was stopped has not ended")
		}
		cancel()
		if !errors.Is(e.stopped(), verdict.ErrStopped) {
			t.Fatalf("stopped = %v", e.stopped())
		}
	}
}
