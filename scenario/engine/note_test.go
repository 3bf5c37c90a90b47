package engine_test

import (
	"slices"
	"testing"
	"testing/synctest"
)

func TestNoteOfAStage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		run := newEngine(decode(t, small, "stages.ramp.note=here they come", "stages.hold.duration=1s"), newWatcher()).Run(t.Context())
		if !slices.Contains(run.Notes, "ramp: here they come") {
			t.Errorf("notes = %q", run.Notes)
		}
	})
}
