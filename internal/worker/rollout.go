package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
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
	Number   int // from 1
	Percent  int
	Devices  int           // of this wave alone
	Patched  int           // twins written
	Told     int           // devices that were notified, in this connection or at connecting
	Answered int           // devices that answered in reported
	Failed   int           // devices that have not answered, or not been told if they do not answer
	Took     time.Duration // from the wave's start to its end
	Stopped  bool          // whether the rollout stopped here
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
	Name       string
	Group      string // of the devices, in metrics
	First      int    // index in the fleet of the group's first device
	IDs        []string
	Properties json.RawMessage
	Waves      []Wave
	Rate       float64       // twins patched a second
	Timeout    time.Duration // from a PATCH to the device's answer
	StopOver   float64       // share of a wave's devices that may fail before the rollout stops; 1 never stops
	Answers    bool          // whether the devices answer desired properties
	Seed       uint64        // which devices are in a wave follows from it
	Service    TwinPatcher
	Recorder   *metrics.Recorder
	InFlight   int    // PATCHes under way at once; 256 when 0
	Codes      *Codes // counts errors of PATCHes; may be nil
	// OnWave, which may be nil, is told of every wave as it ends.
	OnWave func(WaveResult)

	series struct{ patch, told, answered *metrics.Series }

	mu   sync.Mutex // protects the following fields
	open map[int]*delivery
	news chan struct{} // holds a token when a delivery ended
}

// delivery is desired properties on their way to a device.
type delivery struct {
	wave           *WaveResult
	intended, sent time.Time
	version        int64           // of the desired properties; 0 until the PATCH is answered
	early          []news          // that came before the PATCH was answered
	toldOp, reply  metrics.Started // reply only if the devices answer
	told           bool
	answered       bool
}

// news is that a device was told of a version, or answered it.
type news struct {
	answer  bool
	version int64
	at      time.Time
}

// sweepRollout is how often deliveries that ran out of time are looked for.
const sweepRollout = 100 * time.Millisecond

// Prepare makes the rollout ready for Told and Answered. It comes before all other methods.
func (r *Rollout) Prepare() {
	r.series.patch = r.Recorder.Series(metrics.OpDesiredPatch, r.Group)
	r.series.told = r.Recorder.Series(metrics.OpDesired, r.Group)
	if r.Answers {
		r.series.answered = r.Recorder.Series(metrics.OpDesiredReply, r.Group)
	}
	r.open, r.news = make(map[int]*delivery), make(chan struct{}, 1)
}

// Run carries out the rollout and returns its waves: those that began.
func (r *Rollout) Run(ctx context.Context) ([]WaveResult, error) {
	patch, err := json.Marshal(map[string]any{"properties": map[string]any{"desired": r.Properties}})
	if err != nil {
		return nil, fmt.Errorf("rollout %s: %w", r.Name, err)
	}
	sweeping, stop := context.WithCancel(calls(ctx))
	var under sync.WaitGroup
	under.Go(func() { r.sweep(sweeping) })
	defer under.Wait()
	defer stop()
	order := Order(r.Seed, "rollout "+r.Name, len(r.IDs))
	var results []WaveResult
	begun := 0
	for i, w := range r.Waves {
		end := (len(order)*w.Percent + 99) / 100
		result := r.wave(ctx, i, w, order[begun:end], patch)
		begun = end
		last := i == len(r.Waves)-1
		result.Stopped = !last && ctx.Err() == nil && float64(result.Failed) > r.StopOver*float64(result.Devices)
		results = append(results, result)
		if r.OnWave != nil {
			r.OnWave(result)
		}
		if result.Stopped || ctx.Err() != nil {
			break
		}
	}
	// Every delivery has its time-out: the sweep ends it.
	r.settle(calls(ctx), func() bool { return len(r.open) == 0 })
	r.giveUp()
	return results, nil
}

// wave patches the twins of one wave at the rollout's rate, and watches it until it is over.
func (r *Rollout) wave(ctx context.Context, number int, w Wave, devices []int, patch []byte) WaveResult {
	live := &WaveResult{Number: number + 1, Percent: w.Percent, Devices: len(devices)}
	begin := time.Now()
	places := make(chan struct{}, orDefault(r.InFlight, defaultInFlight))
	var under sync.WaitGroup
	pace(ctx, begin, schedule.Curve{{Duration: endless, From: r.Rate, To: r.Rate}}, func(n int64, intended time.Time) bool {
		if n > int64(len(devices)) {
			return false
		}
		i := devices[n-1]
		select {
		case places <- struct{}{}:
			under.Go(func() {
				defer func() { <-places }()
				r.patch(ctx, live, i, intended, patch)
			})
		default:
			r.series.patch.Drop(intended, metrics.DropInFlight)
		}
		return n < int64(len(devices))
	})
	under.Wait()
	if w.For > 0 {
		_ = wait.For(ctx, time.Until(begin.Add(w.For))) // the caller looks at ctx
	} else {
		r.settle(ctx, func() bool { return !r.openOf(live) })
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	result := *live
	result.Took = time.Since(begin)
	good := result.Answered
	if !r.Answers {
		good = result.Told
	}
	result.Failed = result.Devices - good
	return result
}

// openOf reports whether deliveries of a wave are under way. The caller holds the lock.
func (r *Rollout) openOf(w *WaveResult) bool {
	for _, d := range r.open {
		if d.wave == w {
			return true
		}
	}
	return false
}

// settle waits until over, which is called under the lock, or ctx ends.
func (r *Rollout) settle(ctx context.Context, over func() bool) {
	for {
		r.mu.Lock()
		done := over()
		r.mu.Unlock()
		if done {
			return
		}
		select {
		case <-r.news:
		case <-ctx.Done():
			return
		}
	}
}

// patch writes to one twin and begins to wait for its device.
func (r *Rollout) patch(ctx context.Context, wave *WaveResult, i int, intended time.Time, patch []byte) {
	d := &delivery{wave: wave, intended: intended, sent: time.Now()}
	index := r.First + i
	r.mu.Lock()
	r.open[index] = d
	r.mu.Unlock()
	op := r.series.patch.Start(d.intended, d.sent)
	limited, cancel := context.WithTimeout(calls(ctx), readTimeout)
	defer cancel()
	doc, err := r.Service.PatchTwin(limited, r.IDs[i], patch, "")
	version, decodeErr := DesiredVersion(doc)
	if err == nil {
		err = decodeErr
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		delete(r.open, index)
		if finish(calls(ctx), op, time.Now(), err) {
			r.Codes.add(err)
		}
		return
	}
	op.End(time.Now(), metrics.OK)
	wave.Patched++
	d.version = version
	d.toldOp = r.series.told.Start(d.intended, d.sent)
	if r.Answers {
		d.reply = r.series.answered.Start(d.intended, d.sent)
	}
	for _, n := range d.early {
		r.apply(index, d, n)
	}
	d.early = nil
}

// DesiredVersion is the $version of the desired properties in a twin.
func DesiredVersion(doc json.RawMessage) (int64, error) {
	var twin struct {
		Properties struct {
			Desired struct {
				Version int64 `json:"$version"`
			} `json:"desired"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(doc, &twin); err != nil {
		return 0, fmt.Errorf("reading the patched twin: %w", err)
	}
	if twin.Properties.Desired.Version == 0 {
		return 0, errors.New("reading the patched twin: it has no $version of the desired properties")
	}
	return twin.Properties.Desired.Version, nil
}

// Told notes that a device was told of a version of its desired properties.
func (r *Rollout) Told(index int, version int64, at time.Time) {
	r.hear(index, news{false, version, at})
}

// Answered notes that a device's answer to a version of its desired properties was acknowledged.
func (r *Rollout) Answered(index int, version int64, at time.Time) {
	r.hear(index, news{true, version, at})
}

func (r *Rollout) hear(index int, n news) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.open[index]
	switch {
	case d == nil:
	case d.version == 0:
		if len(d.early) < 16 { // older changes of other writers
			d.early = append(d.early, n)
		}
	default:
		r.apply(index, d, n)
	}
}

// apply ends what news end of a delivery. The caller holds the lock.
func (r *Rollout) apply(index int, d *delivery, n news) {
	if n.version < d.version {
		return
	}
	if n.at.Sub(d.sent) >= r.Timeout { // what comes before the sweep has looked is no better than what comes after
		r.expire(index, d, n.at)
		return
	}
	if !d.told { // an answer says that the device was told, too
		d.told = true
		d.wave.Told++
		d.toldOp.End(n.at, metrics.OK)
	}
	if n.answer && r.Answers && !d.answered {
		d.answered = true
		d.wave.Answered++
		d.reply.End(n.at, metrics.OK)
	}
	if d.told && (d.answered || !r.Answers) {
		r.close(index, d)
	}
}

// close forgets a delivery that has ended. The caller holds the lock.
func (r *Rollout) close(index int, d *delivery) {
	if r.open[index] == d {
		delete(r.open, index)
	}
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// sweep ends deliveries that ran out of time, until ctx ends.
func (r *Rollout) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepRollout)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			r.mu.Lock()
			for index, d := range r.open {
				if d.version > 0 && now.Sub(d.sent) >= r.Timeout {
					r.expire(index, d, now)
				}
			}
			r.mu.Unlock()
		case <-ctx.Done():
			return
		}
	}
}

// expire ends a delivery that took too long. The caller holds the lock.
func (r *Rollout) expire(index int, d *delivery, at time.Time) {
	r.end(d, func(op metrics.Started) { op.End(at, metrics.Timeout) })
	r.close(index, d)
}

// end ends what a delivery still waits for. The caller holds the lock.
func (r *Rollout) end(d *delivery, how func(metrics.Started)) {
	if !d.told {
		how(d.toldOp)
	}
	if r.Answers && !d.answered {
		how(d.reply)
	}
}

// giveUp ends the deliveries that nobody waits for any more.
func (r *Rollout) giveUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for index, d := range r.open {
		if d.version > 0 {
			r.end(d, func(op metrics.Started) { op.Unanswered(time.Now(), runEnded) })
		}
		delete(r.open, index)
	}
}
