package fleet

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/internal/schedule"
	"github.com/twinfleet/twinfleet/metrics"
)

// Fleet is running devices. Start, Scale, Load and Storm may be used from one goroutine at a time.
type Fleet struct {
	cfg     Config
	log     *slog.Logger
	start   time.Time // of all schedules
	groups  []*group
	devices []*device
	order   []int // the n-th device to start

	ctx     context.Context // ends when devices must go at once
	cancel  context.CancelFunc
	running sync.WaitGroup
	active  int // devices started and not scaled away
	turn    atomic.Uint64
	lost    atomic.Int64
	losses  atomic.Int64
}

// group is a Group with its resolved series and gauges.
type group struct {
	Group
	states                                         map[string]*atomic.Int64
	connect, subscribe, twinGet, report, telemetry *metrics.Series
}

// New makes a fleet whose devices all wait.
func New(cfg Config) (*Fleet, error) {
	if cfg.Target == nil || cfg.Driver == nil || cfg.Recorder == nil {
		return nil, errors.New("a fleet needs a target, a driver and a recorder")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	f := &Fleet{cfg: cfg, log: cfg.Logger, start: time.Now()}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	for _, g := range cfg.Groups {
		f.addGroup(g.withDefaults())
	}
	f.order = schedule.Rand(cfg.Seed, "order", 0).Perm(len(f.devices))
	return f, nil
}

func (f *Fleet) addGroup(g Group) {
	rec := f.cfg.Recorder
	in := &group{
		Group: g, states: make(map[string]*atomic.Int64),
		connect: rec.Series(metrics.OpConnect, g.Name), subscribe: rec.Series(metrics.OpSubscribe, g.Name), telemetry: rec.Series(metrics.OpTelemetry, g.Name),
	}
	if f.cfg.Target.Twins() {
		in.twinGet, in.report = rec.Series(metrics.OpTwinGet, g.Name), rec.Series(metrics.OpTwinReport, g.Name)
	}
	for _, s := range []string{StateWaiting, StateConnecting, StateConnected, StateBackoff, StateOffline} {
		in.states[s] = rec.DeviceGauge(g.Name, s)
	}
	f.groups = append(f.groups, in)
	for i, id := range g.IDs {
		f.devices = append(f.devices, newDevice(f, in, g.First+i, id))
	}
	in.states[StateWaiting].Add(int64(len(g.IDs)))
}

// Len is how many devices there are, running or not.
func (f *Fleet) Len() int { return len(f.devices) }

// Active is how many devices are started and not scaled away.
func (f *Fleet) Active() int { return f.active }

// Counts is how many devices are in each state.
func (f *Fleet) Counts() map[string]int {
	counts := make(map[string]int)
	for _, g := range f.groups {
		for state, n := range g.states {
			counts[state] += int(n.Load())
		}
	}
	return counts
}

// Lost is how many devices have lost their connections unasked and are not back yet.
func (f *Fleet) Lost() int { return int(f.lost.Load()) }

// Losses is how many connections were lost unasked so far.
func (f *Fleet) Losses() int { return int(f.losses.Load()) }

// Reported is what a device last sent and had acknowledged; ok is false when nothing was.
func (f *Fleet) Reported(index int) (r Report, ok bool) {
	d := f.devices[index]
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.acked, d.acked.Version > 0
}

// Scale makes the number of active devices follow a curve from now on and returns when the curve is
// over, or with the cause of ctx. The n-th device starts when the curve first reaches n.
func (f *Fleet) Scale(ctx context.Context, curve schedule.Curve) error {
	begin := time.Now()
	target := int(curve.At(curve.Total()))
	for f.active != target {
		up := target > f.active
		level := float64(f.active)
		if up {
			level++
		} else {
			level-- // a device goes when the curve has come down to the number without it
		}
		at, ok := curve.Crossing(level)
		if !ok {
			break
		}
		intended := begin.Add(at)
		if err := sleep(ctx, intended); err != nil {
			return err
		}
		if up {
			d := f.devices[f.order[f.active]]
			f.active++
			d.ctx, d.stop = context.WithCancel(f.ctx)
			f.running.Go(func() { d.run(intended) })
		} else {
			f.active--
			f.devices[f.order[f.active]].stop()
		}
	}
	return sleep(ctx, begin.Add(curve.Total()))
}

// sleep waits until a time, or returns the cause of ctx.
func sleep(ctx context.Context, until time.Time) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	d := time.Until(until)
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Stop lets all devices disconnect politely and waits for them; when ctx ends they go at once.
func (f *Fleet) Stop(ctx context.Context) {
	for ; f.active > 0; f.active-- {
		f.devices[f.order[f.active-1]].stop()
	}
	stop := context.AfterFunc(ctx, f.cancel)
	defer stop()
	f.running.Wait()
	f.cancel()
}

// Kind is what a fleet-wide rate asks for.
type Kind uint8

// The kinds of fleet-wide load.
const (
	LoadReports Kind = iota
	LoadTelemetry
)

// Load starts operations of the whole fleet at a rate that follows a curve, in operations per second,
// and returns when the curve is over or with the cause of ctx. Each goes to the next connected device
// in turn; with none connected it is dropped and counted.
func (f *Fleet) Load(ctx context.Context, kind Kind, curve schedule.Curve) error {
	begin := time.Now()
	for n := 1; ; n++ {
		at, ok := curve.TimeOf(float64(n))
		if !ok {
			return sleep(ctx, begin.Add(curve.Total()))
		}
		intended := begin.Add(at)
		if err := sleep(ctx, intended); err != nil {
			return err
		}
		f.hand(command{kind: kind, intended: intended})
	}
}

// hand gives a command to the next connected device.
func (f *Fleet) hand(c command) {
	for range len(f.devices) {
		d := f.devices[f.turn.Add(1)%uint64(len(f.devices))]
		if !d.online.Load() {
			continue
		}
		select {
		case d.commands <- c:
		default:
			d.series(c.kind).Drop(metrics.DropInFlight)
		}
		return
	}
	if len(f.devices) > 0 {
		f.devices[0].series(c.kind).Drop(metrics.DropNotConnected)
	}
}

// Storm cuts the connections of a share, from 0 to 1, of the devices, each at a random time within a
// span, without a word to the target. They come back as their back-off says. It returns at once with
// the number of devices that it will cut.
func (f *Fleet) Storm(share float64, within time.Duration, round int) int {
	chance := schedule.Rand(f.cfg.Seed, "storm", round)
	cut := 0
	for _, i := range f.order[:f.active] {
		picked, u := chance.Float64() < share, chance.Float64()
		if !picked {
			continue
		}
		select {
		case f.devices[i].cut <- time.Now().Add(time.Duration(u * float64(within))):
			cut++
		default:
		}
	}
	return cut
}
