// Package rollout brings desired properties to devices in waves.
package rollout

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/internal/worker/call"
	"github.com/twinfleet/twinfleet/internal/worker/delivery"
	"github.com/twinfleet/twinfleet/internal/worker/failure"
	"github.com/twinfleet/twinfleet/internal/worker/pace"
	"github.com/twinfleet/twinfleet/internal/worker/tag"
	"github.com/twinfleet/twinfleet/metrics"
)

// Wave is one step of a rollout.
type Wave struct {
	Percent int // of the devices, with the waves before it
	// For is how long the wave is watched, from its start. With 0 it is over when every device of it has
	// answered or run out of time.
	For time.Duration
}

// WaveResult is what became of a wave by its end.
type WaveResult struct {
	Number   int           // from 1
	Percent  int           // of the devices, with the waves before it
	Devices  int           // of this wave alone
	Patched  int           // twins written
	Told     int           // devices that were notified, in this connection or at connecting
	Answered int           // devices that answered in reported
	Failed   int           // devices that have not answered, or not been told if they do not answer
	Took     time.Duration // from the wave's start to its end
	Stopped  bool          // whether the rollout stopped here
	Running  bool          // whether it still goes on: Failed is of its end
}

// Rollout brings desired properties to devices in waves, and measures the time from each PATCH to the
// device's notification and to its answer in the reported properties.
//
//	intended ─ PATCH sent ──── PATCH answered: version 7
//	└── desired_patch ─────────┘
//	└── desired ──────────────────── the device was told of version 7 or a later one
//	└── desired_reply ───────────────────────────── its answer to such a version was acknowledged
//
// Told and Answered may be called from several goroutines, at any time.
type Rollout struct {
	Name       string            // part of what chooses the devices of a wave
	Group      string            // of the devices, in metrics
	First      int               // index in the fleet of the group's first device
	IDs        []string          // of the group's devices
	Properties json.RawMessage   // desired; an object
	Waves      []Wave            // in their order
	Rate       float64           // twins patched a second
	Timeout    time.Duration     // from a PATCH to the device's answer
	StopOver   float64           // share of a wave's devices that may fail before the rollout stops; 1 never stops
	Answers    bool              // whether the devices answer desired properties
	Seed       uint64            // which devices are in a wave follows from it
	Service    tag.Patcher       // required
	Recorder   *metrics.Recorder // required
	InFlight   int               // PATCHes under way at once; pace.DefaultInFlight when 0
	Codes      *failure.Codes    // counts errors of PATCHes; may be nil
	// OnWave, which may be nil, is told of every wave as it ends.
	OnWave func(WaveResult)

	patches    *metrics.Series
	deliveries *delivery.Book

	mu    sync.Mutex // protects the following fields
	waves []*running // that began
}

// running is a wave that began.
type running struct {
	WaveResult // whole once it does not run any more
	begin      time.Time
	wave       *delivery.Wave
}

// Progress are the waves that began, the last of them perhaps with what became of it until now.
func (r *Rollout) Progress() []WaveResult {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]WaveResult, len(r.waves))
	for i, w := range r.waves {
		if all[i] = w.WaveResult; w.Running {
			all[i] = r.count(w)
		}
	}
	return all
}

// count is what became of a wave that runs.
func (r *Rollout) count(w *running) WaveResult {
	now, came := w.WaveResult, r.deliveries.Count(w.wave)
	now.Patched, now.Told, now.Answered, now.Took = came.Patched, came.Told, came.Answered, time.Since(w.begin)
	return now
}

// patchTimeout is how long one PATCH may take.
const patchTimeout = time.Minute

// Prepare makes the rollout ready for Told and Answered. It comes before all other methods.
func (r *Rollout) Prepare() {
	r.patches = r.Recorder.Series(metrics.OpDesiredPatch, r.Group)
	o := delivery.Options{Told: r.Recorder.Series(metrics.OpDesired, r.Group), Timeout: r.Timeout}
	if r.Answers {
		o.Answered = r.Recorder.Series(metrics.OpDesiredReply, r.Group)
	}
	r.deliveries = delivery.New(o)
}

// Told notes that a device, by its index in the fleet, was told of a version of its desired properties.
func (r *Rollout) Told(index int, version int64, at time.Time) { r.deliveries.Told(index, version, at) }

// Answered notes that a device's answer to a version of its desired properties was acknowledged.
func (r *Rollout) Answered(index int, version int64, at time.Time) {
	r.deliveries.Answered(index, version, at)
}

// Run carries out the rollout and returns its waves: those that began.
func (r *Rollout) Run(ctx context.Context) ([]WaveResult, error) {
	patch, err := json.Marshal(map[string]any{"properties": map[string]any{"desired": r.Properties}})
	if err != nil {
		return nil, fmt.Errorf("rollout %s: %w", r.Name, err)
	}
	sweeping, stop := context.WithCancel(call.Context(ctx))
	var under sync.WaitGroup
	under.Go(func() { r.deliveries.Sweep(sweeping) })
	defer under.Wait()
	defer stop()
	order := pace.Order(r.Seed, "rollout "+r.Name, len(r.IDs))
	begun := 0
	for i, w := range r.Waves {
		end := (len(order)*w.Percent + 99) / 100
		result := r.wave(ctx, i, w, order[begun:end], patch)
		begun = end
		last := i == len(r.Waves)-1
		result.Stopped = !last && ctx.Err() == nil && float64(result.Failed) > r.StopOver*float64(result.Devices)
		r.mu.Lock()
		r.waves[i].WaveResult = result
		r.mu.Unlock()
		if r.OnWave != nil {
			r.OnWave(result)
		}
		if result.Stopped || ctx.Err() != nil {
			break
		}
	}
	r.deliveries.Settle(call.Context(ctx), nil) // every delivery has its time-out: the sweep ends it
	r.deliveries.Close(time.Now())
	return r.Progress(), nil
}

// wave patches the twins of one wave at the rollout's rate, and watches it until it is over.
func (r *Rollout) wave(ctx context.Context, number int, w Wave, devices []int, patch []byte) WaveResult {
	wave := new(delivery.Wave)
	begin := time.Now()
	begun := &running{WaveResult{Number: number + 1, Percent: w.Percent, Devices: len(devices), Running: true}, begin, wave}
	r.mu.Lock()
	r.waves = append(r.waves, begun)
	r.mu.Unlock()
	places := make(chan struct{}, cmp.Or(r.InFlight, pace.DefaultInFlight))
	var under sync.WaitGroup
	pace.Run(ctx, begin, pace.Steady(r.Rate), func(n int64, intended time.Time) bool {
		if n > int64(len(devices)) {
			return false
		}
		i := devices[n-1]
		select {
		case places <- struct{}{}:
			under.Go(func() {
				defer func() { <-places }()
				r.patch(ctx, wave, i, intended, patch)
			})
		default:
			r.patches.Drop(intended, metrics.DropInFlight)
		}
		return n < int64(len(devices))
	})
	under.Wait()
	if w.For > 0 {
		_ = wait.For(ctx, time.Until(begin.Add(w.For))) // the caller checks ctx
	} else {
		r.deliveries.Settle(ctx, wave)
	}
	result := r.count(begun)
	result.Running = false
	good := result.Answered
	if !r.Answers {
		good = result.Told
	}
	result.Failed = result.Devices - good
	return result
}

// patch writes to one twin and begins to wait for its device.
func (r *Rollout) patch(ctx context.Context, wave *delivery.Wave, i int, intended time.Time, patch []byte) {
	sent := time.Now()
	d := r.deliveries.Begin(r.First+i, wave, intended, sent)
	op := r.patches.Start(intended, sent)
	limited, cancel := context.WithTimeout(call.Context(ctx), patchTimeout)
	defer cancel()
	doc, err := r.Service.PatchTwin(limited, r.IDs[i], patch, "")
	var version int64
	if err == nil {
		version, err = delivery.Version(doc)
	}
	if err != nil {
		r.deliveries.Forget(d)
		if call.Finish(ctx, op, time.Now(), err) {
			r.Codes.Add(err)
		}
		return
	}
	op.End(time.Now(), metrics.OK)
	r.deliveries.Patched(d, version)
}
