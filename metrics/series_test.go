package metrics

import (
	"testing"
	"testing/synctest"
	"time"
)

// An operation belongs to the stage in which it was intended, whenever it starts, ends or is dropped.
func TestOperationsBelongToTheirStage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRecorder(Options{})
		s := r.Series(OpTelemetry, "g")
		before := time.Now()
		time.Sleep(time.Second)
		r.SetStage("ramp")
		first := time.Now()
		time.Sleep(time.Second)
		open := s.Start(first, time.Now())
		r.SetStage("hold")
		time.Sleep(time.Second)
		s.Start(before, time.Now()).End(time.Now(), OK) // late by stages
		s.Start(first, time.Now()).End(time.Now(), Throttled)
		s.Drop(first, DropStopped)
		open.EndBecause(time.Now(), Failed, "lost")
		s.Start(time.Now(), time.Now())
		r.SetStage("")
		s.Drop(time.Now(), DropPaused)
		type row struct{ started, ended, dropped uint64 }
		want := map[int]row{0: {started: 1, ended: 1}, 1: {started: 2, ended: 2, dropped: 1}, 2: {started: 1}, 3: {dropped: 1}}
		stages := r.Stages()
		if len(stages) != 4 {
			t.Fatalf("%d stages; want what came before, two, and what came after", len(stages))
		}
		for i, stage := range stages {
			x := stage.Find(OpTelemetry, "g")
			got := row{started: x.Started(), ended: x.Ended(), dropped: x.DroppedTotal()}
			if got != want[i] {
				t.Errorf("stage %q: %+v; want %+v", stage.Stage, got, want[i])
			}
		}
		if x := stages[1].Find(OpTelemetry, "g"); x.Count(Failed) != 1 || x.Count(Throttled) != 1 || len(x.Reasons) != 2 || stages[1].Elapsed != time.Second {
			t.Errorf("ramp: %d failed, %d throttled, reasons %+v, of %v", x.Count(Failed), x.Count(Throttled), x.Reasons, stages[1].Elapsed)
		}
		if whole := r.Snapshot().Find(OpTelemetry, "g"); whole.Scheduled() != 6 || whole.InFlight() != 1 {
			t.Errorf("the whole: %d scheduled, %d in flight", whole.Scheduled(), whole.InFlight())
		}
	})
}
