package gate_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/worker/gate"
)

// What is bound to a stage waits for it, begins as long after its start as it is told, and is active no longer than it.
func TestStagesOpenTheGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, began := gate.New(), time.Now()
		active := g.Active([]string{"hold"})
		done := make(chan time.Duration)
		go func() {
			if err := g.Begin(t.Context(), "hold", 5*time.Second); err != nil {
				t.Error(err)
			}
			done <- time.Since(began)
		}()
		leave := g.Enter(0, "ramp", 10*time.Second)
		time.Sleep(10 * time.Second)
		if active() {
			t.Error("hold is active while ramp runs")
		}
		leave()
		leave = g.Enter(1, "hold", time.Minute)
		if !active() {
			t.Error("hold is not active while it runs")
		}
		if at := <-done; at != 15*time.Second {
			t.Errorf("it began after %v; want 15s", at)
		}
		leave()
		if active() {
			t.Error("hold is active after its end")
		}
	})
}

// A stage that repeats is a window each time; without names the whole run is one window.
func TestWindows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, began := gate.New(), time.Now()
		holds, whole := g.Windows([]string{"hold"}, 0), g.Windows(nil, time.Hour)
		for i := range 2 {
			leave := g.Enter(i, "hold", time.Minute)
			w, err := holds(t.Context())
			if err != nil || w.Length != time.Minute || !w.Start.Equal(time.Now()) {
				t.Errorf("window %d: %+v, %v; want a minute from now", i, w, err)
			}
			time.Sleep(time.Minute)
			leave()
			if w.Context.Err() == nil {
				t.Errorf("window %d goes on after its stage", i)
			}
		}
		if w, err := whole(t.Context()); err != nil || w.Length != time.Hour || !w.Start.Equal(began) {
			t.Errorf("the whole run: %+v, %v; want an hour from its start", w, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if w, err := whole(ctx); err == nil {
			t.Errorf("then %+v; want none any more", w)
		}
	})
}
