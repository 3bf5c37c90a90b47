package trial

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity/steady"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
)

// watch ends the stages of a trial when what they are for has been reached, and keeps what was seen.
type watch struct {
	trial    *Trial
	vary     Vary
	ops      []metrics.Operation // that are judged
	baseline float64             // seconds: how long they took at the lowest load, at first; 0 when that is not known
	floor    float64             // seconds: a change by less means nothing
	rec      *metrics.Recorder
	leave    func(stage string)

	mu      sync.Mutex // protects the following fields
	stage   string
	began   time.Duration // of the stage
	latency *steady.Series
	open    *steady.Series // operations under way
	seen    seen
	alone   time.Duration // for how long no device has been connected, of those that should be
	changed chan struct{} // closed when the stage changes
}

// seen is what a watch found.
type seen struct {
	settled                bool                // the figures had come to rest before the load was judged
	clean                  bool                // the target answered as it did at first, or that did not matter
	drained                bool                // the burst was seen to be used up: something waited, or was throttled
	lowest                 float64             // seconds: how long operations took in stage clean, in the end
	hold                   *steady.Series      // latency while the load was judged
	holdOpen               *steady.Series      // operations under way, likewise
	settling, settlingOpen *steady.Series      // both of them, before
	gone                   bool                // no device ever connected, or all lost their connections: nothing more was waited for
	done                   uint64              // operations that ended well while the load was judged, whenever they were due
	doneIn                 time.Duration       // the time in which they did
	parts                  []*metrics.Snapshot // the time in which the load was judged, in equal parts
}

func newWatch(t *Trial, b *Base, rec *metrics.Recorder, baseline float64) *watch {
	w := &watch{trial: t, vary: b.Vary, ops: b.judgedOps(), baseline: baseline, floor: b.Floor(), rec: rec, changed: make(chan struct{})}
	w.seen.clean = true
	w.reset()
	return w
}

// reset begins the series of a stage. The caller holds the lock, or nobody else knows the watch yet.
func (w *watch) reset() {
	bin := time.Second
	const fewest = 5
	if w.trial.Rate > 0 {
		bin = max(bin, time.Duration(fewest/w.trial.Rate*float64(time.Second)).Round(time.Second))
	}
	w.latency = &steady.Series{Options: steady.Options{Bin: bin, Floor: w.floor}}
	w.open = &steady.Series{Options: steady.Options{Bin: bin, Floor: max(2, w.trial.Rate*w.floor)}}
}

// observer is the watch as who watches the run.
func (w *watch) observer() report.Observer {
	return report.Funcs{OnEvent: w.event, OnSample: w.sample}
}

func (w *watch) event(e report.Event) {
	if e.Kind != report.KindStage && e.Kind != report.KindStopping {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stage, w.began = "", e.At
	if e.Kind == report.KindStage {
		w.stage = e.Text
	}
	w.reset()
	switch w.stage {
	case stageSettle:
		w.seen.settling, w.seen.settlingOpen = w.latency, w.open
	case Hold:
		w.seen.hold, w.seen.holdOpen = w.latency, w.open
	case stageClean:
		w.seen.clean = false
	}
	close(w.changed)
	w.changed = make(chan struct{})
	if w.seen.gone && w.stage != "" {
		w.leave(w.stage)
	}
}

// sample looks at the figures of another second.
func (w *watch) sample(s report.Sample) {
	if s.Window.Stage == "" || s.Window.Elapsed < report.TooShort || s.Total == nil {
		return
	}
	w.mu.Lock()
	if s.Window.Stage != w.stage {
		w.mu.Unlock()
		return
	}
	over := w.look(&s)
	stage := w.stage
	w.mu.Unlock()
	if over {
		w.leave(stage)
	}
}

// look takes a sample of the stage that runs, and reports whether the stage has served. The caller holds the lock.
func (w *watch) look(s *report.Sample) (over bool) {
	ended, sum, throttled, well := uint64(0), 0.0, uint64(0), uint64(0)
	open := uint64(0)
	for _, op := range w.ops {
		if x := s.Window.Select(op, ""); x != nil {
			h := x.Latency(false)
			ended += h.Count
			sum += h.Mean().Seconds() * float64(h.Count)
			throttled += x.Count(metrics.Throttled)
			well += x.Count(metrics.OK)
		}
		if x := s.Total.Select(op, ""); x != nil {
			open += x.InFlight()
		}
	}
	w.latency.Add(s.Window.Elapsed, ended, sum)
	w.open.Add(s.Window.Elapsed, 1, float64(open))
	in := s.At - w.began
	if w.isGone(s) {
		w.seen.gone = true
		return true
	}
	switch w.stage {
	case stageDrain:
		const waits = 1.0 // second: what waits so long waits behind a limit
		w.seen.drained = w.seen.drained || throttled > 0 || (ended > 0 && sum/float64(ended) > waits+10*w.baseline)
		return w.seen.drained
	case stageClean:
		return w.isClean()
	case stageSettle:
		w.seen.settled = w.latency.Steady() && w.open.Steady() && w.allThere(s)
		return w.seen.settled
	case Hold:
		w.keep(s.Window, in)
		w.seen.done += well
		w.seen.doneIn += s.Window.Elapsed
		return w.vary == ConnectRate && in >= w.trial.Hold
	}
	return false
}

// goneFor is how long no device may be connected, of those that should be.
const goneFor = 15 * time.Second

// isGone reports whether the target went away, or never was there. The caller holds the lock.
func (w *watch) isGone(s *report.Sample) bool {
	connected, missing := s.Window.DevicesIn("connected"), s.Window.DevicesIn("connecting")+s.Window.DevicesIn("backoff")
	if connected > 0 || missing == 0 {
		w.alone = 0
		return false
	}
	w.alone += s.Window.Elapsed
	return w.alone >= goneFor
}

// keep adds a second to the part of the time that it belongs to; one that began before the stage, to the first. The caller
// holds the lock.
func (w *watch) keep(second *metrics.Snapshot, in time.Duration) {
	const parts = 5
	n := min(parts-1, int(parts*max(0, in-second.Elapsed/2)/max(w.trial.Hold, 1)))
	for len(w.seen.parts) <= n {
		w.seen.parts = append(w.seen.parts, &metrics.Snapshot{At: second.At})
	}
	w.seen.parts[n] = w.seen.parts[n].Merge(second)
}

// allThere reports whether every device that is active is connected, or offline by its own will.
func (w *watch) allThere(s *report.Sample) bool {
	return w.vary == ConnectRate || s.Window.DevicesIn("connecting")+s.Window.DevicesIn("backoff") == 0
}

// cleanFor is how many of the last values must be as they were at first.
const cleanFor = 5

// isClean reports whether the target answers at the lowest load as it did at first. The caller holds the lock.
func (w *watch) isClean() bool {
	v := w.latency.Values()
	if len(v) < cleanFor {
		return false
	}
	last := slices.Sorted(slices.Values(v[len(v)-cleanFor:]))
	w.seen.lowest = last[cleanFor/2]
	w.seen.clean = w.baseline == 0 || last[cleanFor-1] <= max(cleanAbove*w.baseline, w.baseline+w.floor)
	return w.seen.clean
}

// cleanAbove is by what factor a target may take longer than at first and still count as the same.
const cleanAbove = 1.5

// idle waits in stages that end when everything is answered, until ctx ends. A second would give a burst back what it lost: it looks often.
func (w *watch) idle(ctx context.Context) {
	const often = 20 * time.Millisecond
	for {
		w.mu.Lock()
		stage, changed := w.stage, w.changed
		w.mu.Unlock()
		if stage != stageGather && stage != stageRest {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return
			}
		}
		tick := time.NewTimer(often)
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
		if w.answered(w.rec.Snapshot()) {
			w.leave(stage)
			select { // until the next has begun
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}

// answered reports whether nothing is under way, and all devices are connected.
func (w *watch) answered(s *metrics.Snapshot) bool {
	for i := range s.Series {
		x := &s.Series[i]
		if x.InFlight() > 0 && x.Operation != metrics.OpFreshness && x.Operation != metrics.OpDelivery {
			return false
		}
	}
	return s.DevicesIn("connecting")+s.DevicesIn("backoff") == 0
}
