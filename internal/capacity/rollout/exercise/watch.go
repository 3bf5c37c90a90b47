package exercise

import (
	"context"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
)

// watch ends the stages of a trial that go on until the fleet is there and answered.
type watch struct {
	rec      *metrics.Recorder
	periodic bool // devices do something on their own schedules: something is always under way
	leave    func(stage string)

	mu        sync.Mutex // protects the following fields
	stage     string
	began     time.Time     // when the first stage did
	back      bool          // an outage is over in this stage
	connected int           // devices when StageGather ended
	changed   chan struct{} // closed when the stage changes
}

func newWatch(rec *metrics.Recorder, periodic bool) *watch {
	return &watch{rec: rec, periodic: periodic, changed: make(chan struct{})}
}

// observer is the watch as who watches the run.
func (w *watch) observer() report.Observer { return report.Funcs{OnEvent: w.event} }

func (w *watch) event(e report.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case e.Kind == report.KindOutage && e.OK && w.stage == StageStorm:
		w.back = true
	case e.Kind == report.KindStage, e.Kind == report.KindStopping, e.Kind == report.KindDrain:
		if w.stage == StageGather {
			w.connected = w.rec.Snapshot().DevicesIn("connected")
		}
		if w.began.IsZero() {
			w.began = time.Now()
		}
		w.stage, w.back = "", false
		if e.Kind == report.KindStage {
			w.stage = e.Text
		}
		close(w.changed)
		w.changed = make(chan struct{})
	}
}

// wait leaves stages that have served, until ctx ends. It polls often: a second would give a burst back what it lost.
func (w *watch) wait(ctx context.Context) {
	const often = 50 * time.Millisecond
	tick := time.NewTicker(often)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		w.mu.Lock()
		stage, back, changed := w.stage, w.back, w.changed
		w.mu.Unlock()
		serves := (stage == StageGather || stage == StageStorm && back) && w.served(stage)
		if !serves && !w.hopeless(stage) {
			continue
		}
		w.leave(stage)
		select { // until the next has begun
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// hopeless reports whether for some time every connection that was tried failed, and none for want of room: nobody is there.
func (w *watch) hopeless(stage string) bool {
	const patience = 10 * time.Second
	w.mu.Lock()
	began := w.began
	w.mu.Unlock()
	if stage == "" || stage == stageRefill || began.IsZero() || time.Since(began) < patience {
		return false
	}
	x := w.rec.Snapshot().Select(metrics.OpConnect, "")
	return x != nil && x.Errors() > 0 && x.Count(metrics.OK)+x.Count(metrics.Throttled) == 0
}

// served reports whether all devices are connected, and what connecting brings is answered.
func (w *watch) served(stage string) bool {
	s := w.rec.Snapshot()
	if s.DevicesIn("connecting")+s.DevicesIn("backoff") > 0 {
		return false
	}
	for i := range s.Series {
		x := &s.Series[i]
		connecting := x.Operation.OfDPS() || x.Operation == metrics.OpConnect || x.Operation == metrics.OpSubscribe || x.Operation == metrics.OpTwinGet
		if x.Operation.OfDevices() && x.Operation != metrics.OpDelivery && (connecting || !w.periodic) && x.InFlight() > 0 {
			return false
		}
	}
	return stage != StageGather || !open(w.rec.StageSnapshot(StageUp))
}

// open reports whether operations of devices are under way.
func open(s *metrics.Snapshot) bool {
	if s == nil {
		return false
	}
	for i := range s.Series {
		if x := &s.Series[i]; x.Operation.OfDevices() && x.Operation != metrics.OpDelivery && x.InFlight() > 0 {
			return true
		}
	}
	return false
}
