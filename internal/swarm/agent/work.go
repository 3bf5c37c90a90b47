package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/internal/crew"
	"github.com/twinfleet/twinfleet/internal/generator/watch"
	"github.com/twinfleet/twinfleet/internal/swarm/bus"
	"github.com/twinfleet/twinfleet/internal/swarm/clock"
	"github.com/twinfleet/twinfleet/internal/swarm/cut"
	"github.com/twinfleet/twinfleet/internal/swarm/figures"
	"github.com/twinfleet/twinfleet/internal/swarm/protocol"
	"github.com/twinfleet/twinfleet/internal/swarm/runner"
	"github.com/twinfleet/twinfleet/internal/target"
	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario"
	spec "github.com/twinfleet/twinfleet/scenario/target"
)

// work is an agent's part of a run.
type work struct {
	session *session
	agent   *Agent
	ask     *protocol.AssignAsk
	sc      *scenario.Scenario
	ids     *target.Identities
	cut     atomic.Pointer[cut.Cut]
	rec     *metrics.Recorder
	watch   *watch.Watch
	target  *target.Target
	events  *events
	pinger  *clock.Pinger
	times   times
	adopted adopted
	others  *exchange                        // of deliveries; nil when none are measured, or there is no other agent
	beat    atomic.Int64                     // when the coordinator was last heard of, as Unix nanoseconds of this process
	stopped atomic.Pointer[protocol.Stopped] // that the devices left before their time; nil when they did not

	orders  chan protocol.Order
	runner  *runner.Runner  // nil before the start
	started time.Time       // when that was by the run's clock
	began   time.Time       // and by this process's
	devices atomic.Int64    // that were its own
	left    bool            // devices are told to leave
	deaf    bool            // nothing is heard of the coordinator, and that was said
	lost    chan struct{}   // what is kept of the run is gone; holds one
	keeper  *figures.Keeper // of its numbers
}

func newWork(s *session, ask *protocol.AssignAsk, sc *scenario.Scenario, ids *target.Identities, mine *cut.Cut) *work {
	w := &work{
		session: s, agent: s.agent, ask: ask, sc: sc, ids: ids, rec: metrics.NewRecorder(metrics.Options{Tap: s.agent.o.Tap}),
		orders: make(chan protocol.Order, 64), lost: make(chan struct{}, 1),
	}
	w.rec.Expect(sc.Series())
	w.devices.Store(int64(mine.Count(s.agent.o.Name)))
	w.cut.Store(mine)
	w.keeper = figures.New(s.agent.o.Name, s.agent.pack, func(ctx context.Context) (bus.Store, error) {
		return s.agent.o.Bus.Store(ctx, protocol.StoreName(s.id), false)
	})
	w.events = newEvents(w, ask.Follow)
	w.others = newExchange(w)
	w.pinger = clock.NewPinger(w.askTime, clock.PingerOptions{Clock: s.agent.o.Clock, Told: func(e clock.Estimate) { w.times.add(e, s.agent.o.Clock) }})
	w.heard()
	return w
}

// open opens the target, for devices alone, and makes what measures this process.
func (w *work) open(ctx context.Context) (err error) {
	o := &w.agent.o
	w.watch, err = watch.New(watch.Options{
		Recorder: w.rec, Sampler: o.Sampler, Sources: len(w.sc.Fleet.SourceAddresses), Destinations: w.sc.Target.Destinations(), Beside: o.Beside,
		Loopback: onLoopback(&w.sc.Target),
	})
	if err != nil {
		return err
	}
	w.target, err = target.Open(ctx, target.Options{
		Scenario: w.sc, Logger: w.agent.log, Recorder: w.rec, Watch: w.watch.Dialer, Dial: o.Dial, DialTo: o.DialTo, Devices: true,
	})
	if err == nil {
		w.target.Use(w.ids)
	}
	return err
}

// onLoopback reports whether the target is plainly on this machine.
func onLoopback(t *spec.Target) bool {
	host, err := t.Opened()
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// coordinator is the instance that leads a run.
func coordinator(run string) string { return "run-" + run }

// askTime asks the coordinator for its time.
func (w *work) askTime(ctx context.Context) (time.Time, error) {
	b, err := w.agent.o.Bus.Ask(ctx, coordinator(w.session.id), protocol.Time, nil)
	if err != nil {
		return time.Time{}, err
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("the coordinator's time: %w", err)
	}
	return time.Unix(0, n), nil
}

// local is a time of the run's clock as this process has it. From the start on both go on alike: what is planned from one time to another takes
// as long here as everywhere, however what is known of the clocks changes meanwhile.
func (w *work) local(at time.Time) time.Time {
	if w.runner != nil {
		return w.began.Add(at.Sub(w.started))
	}
	now, ours := time.Now(), w.agent.o.Clock()
	return now.Add(w.pinger.Estimate().Ours(at).Sub(ours))
}

// told is a time of this process as the run's clock has it: the same one each time that it is told.
func (w *work) told(at time.Time) time.Time {
	t, _ := w.times.told(at)
	return t
}

// mine reports whether a device is this agent's.
func (w *work) mine(index int) bool {
	owner, ok := w.cut.Load().Owner(index)
	return ok && owner == w.agent.o.Name
}

// heard notes that the coordinator is there.
func (w *work) heard() { w.beat.Store(time.Now().UnixNano()) }

// silent is for how long nothing was heard of the coordinator.
func (w *work) silent() time.Duration { return time.Since(time.Unix(0, w.beat.Load())) }

// run does this agent's part of the run, until its devices have left or ctx ends.
func (w *work) run(ctx context.Context) {
	ctx, cancel := context.WithCancelCause(ctx)
	var background sync.WaitGroup
	defer background.Wait()
	defer cancel(nil)
	background.Go(func() { w.pinger.Run(ctx) })
	background.Go(func() { w.follow(ctx) })
	beats, err := w.agent.o.Bus.Subscribe(protocol.BeatSubject(w.session.id), func(string, []byte) { w.heard() })
	if err == nil {
		defer beats.Stop()
	} else {
		w.agent.log.Warn("the coordinator cannot be heard", "error", err)
	}
	if err := w.carryOut(ctx, cancel, &background); err != nil {
		w.agent.log.Error("this agent's part of the run ended", "run", w.session.id, "error", err)
	}
	if w.runner != nil && !w.left { // this ends early
		gone, now := context.WithCancel(ctx)
		now()
		w.runner.Stop(gone)
	}
	if w.target != nil {
		_ = w.target.Close() // it has no hub
	}
}

// follow reads the plan as it grows.
func (w *work) follow(ctx context.Context) {
	store, err := w.agent.o.Bus.Store(ctx, protocol.StoreName(w.session.id), false)
	if err == nil {
		err = store.Watch(ctx, protocol.PrefixPlan, func(e bus.Entry) {
			var o protocol.Order
			if e.Kind != bus.Value || json.Unmarshal(e.Value, &o) != nil {
				return
			}
			w.heard()
			if o.Kind == protocol.Lost {
				w.others.lose(o.Agent, o.At)
			}
			select {
			case w.orders <- o:
			case <-ctx.Done():
			}
		})
	}
	if ctx.Err() == nil {
		w.agent.log.Error("the plan of the run cannot be read", "run", w.session.id, "error", err)
	}
	w.heed(err)
}

// errLost is why a run ended here: nobody can tell this agent any more what to do, nor be told what it measured.
var errLost = errors.New("what NATS kept of the run is gone, and the devices have left; was its store removed, or the server started without its data?")

// heed has the devices leave when what is kept of the run is gone, as an error says.
func (w *work) heed(err error) {
	if !errors.Is(err, bus.ErrNoStore) {
		return
	}
	select {
	case w.lost <- struct{}{}:
	default:
	}
}

// gone is how often it is looked whether the coordinator is.
const goneEvery = 100 * time.Millisecond

// carryOut does what the plan says.
func (w *work) carryOut(ctx context.Context, cancel context.CancelCauseFunc, background *sync.WaitGroup) error {
	poll := time.NewTicker(goneEvery)
	defer poll.Stop()
	leaving, killed, lost, unkept := make(chan struct{}), false, false, false
	hard, kill := context.WithCancel(ctx)
	defer kill()
	for {
		select {
		case o := <-w.orders:
			switch {
			case o.Kind == protocol.Start:
				if err := w.start(ctx, o, background); err != nil {
					return err
				}
			case o.Kind == protocol.Leave && !w.left:
				w.leave(hard, leaving)
			case o.Kind == protocol.Kill, o.Kind == protocol.Lost && o.Agent == w.agent.o.Name:
				killed, lost = true, o.Kind == protocol.Lost
				kill()
				w.leave(hard, leaving)
			case o.Kind == protocol.Lost:
				w.takeOver(&o)
			default:
				w.order(&o)
			}
		case <-poll.C:
			if w.runner == nil && w.silent() > lingering { // the run never began: this agent is free for others
				return ErrGone
			}
			w.alone(hard, leaving)
		case <-w.lost:
			unkept = true
			kill()
			w.leave(hard, leaving)
		case <-leaving:
			switch {
			case unkept:
				return errLost
			case lost:
				return nil // nobody hears it
			case killed:
				last, cancel := context.WithTimeout(ctx, finishing)
				defer cancel()
				return w.finish(last)
			}
			return w.finish(ctx)
		case <-ctx.Done():
			if w.left {
				<-leaving // they do so at once
			}
			return context.Cause(ctx)
		}
	}
}

// start begins the schedules of the devices.
func (w *work) start(ctx context.Context, o protocol.Order, background *sync.WaitGroup) error {
	if w.runner != nil || w.left {
		return nil
	}
	for !w.times.known() {
		if err := wait.For(ctx, goneEvery); err != nil {
			return err
		}
	}
	w.started, w.began = o.At, w.local(o.At)
	r, err := runner.New(runner.Options{Watch: w.watch, Crew: crew.Options{
		Scenario: w.sc, Target: w.target, Identities: w.ids, Recorder: w.rec, Logger: w.agent.log, Run: w.ask.Marks, Start: w.began, Mine: w.mine, Others: w.others.hooks(), Driver: w.agent.o.Driver,
		OnDesired: w.events.desired, OnReporting: w.events.reporting, OnReported: w.events.reported, OnContradiction: w.events.contradiction,
	}})
	if err != nil {
		return err
	}
	w.runner = r
	if err := w.others.begin(ctx, r.Fleet(), background); err != nil {
		return err
	}
	measuring := w.watch.Begin(ctx)
	background.Go(measuring)
	background.Go(func() { _ = r.Run(ctx) })
	background.Go(func() { r.Measure(ctx) })
	background.Go(func() { w.status(ctx) })
	background.Go(func() { w.figures(ctx) })
	background.Go(func() { w.events.send(ctx) })
	return nil
}

// order does what the plan says of the load.
func (w *work) order(o *protocol.Order) {
	r := w.runner
	if r == nil {
		return
	}
	switch at := w.local(o.At); o.Kind {
	case protocol.StageAt:
		r.Stage(o.Stage, at)
	case protocol.PauseAt:
		r.Pause(o.Paused, at)
	case protocol.ChangeAt:
		if o.Change != nil {
			r.Change(*o.Change, at)
		}
	case protocol.EndAt:
		r.End(at)
	case protocol.Start, protocol.Leave, protocol.Kill, protocol.Lost:
	}
}

// leave has the devices leave; done is closed when they have.
func (w *work) leave(ctx context.Context, done chan struct{}) {
	if w.left {
		return
	}
	w.left = true
	if w.runner == nil {
		close(done)
		return
	}
	w.runner.End(time.Now())
	w.agent.running.Go(func() {
		defer close(done)
		w.runner.Stop(ctx)
	})
}

// takeOver takes devices of an agent that was lost, when the plan gives it some.
func (w *work) takeOver(o *protocol.Order) {
	if len(o.Cut) == 0 || w.runner == nil {
		return
	}
	next := new(cut.Cut)
	if err := json.Unmarshal(o.Cut, next); err != nil {
		w.agent.log.Error("the next cut cannot be read", "error", err)
		return
	}
	defer w.session.forget(protocol.KindIdentities, next.Epoch())
	gained := slices.Collect(next.Gained(w.agent.o.Name, w.cut.Load().Epoch()))
	w.cut.Store(next)
	if len(gained) == 0 {
		w.adopted.add(o.Agent, nil)
		return
	}
	w.session.mu.Lock()
	b, err := w.session.open(protocol.KindIdentities, next.Epoch())
	w.session.mu.Unlock()
	if err == nil {
		_, err = w.ids.Import(b)
		clear(b)
	}
	if err != nil {
		w.agent.log.Error("devices of a lost agent cannot be taken over", "devices", len(gained), "error", err)
		return
	}
	w.adopted.expect(o.Agent, gained)
	w.adopted.add(o.Agent, w.runner.Fleet().Adopt(gained, func(index int) string { return w.ids.IDs[index] }))
	w.devices.Add(int64(len(gained)))
}

// finishing is how long an agent whose devices had to leave at once may take to hand on what is known: whoever leads waits a bit longer.
const finishing = 8 * time.Second

// finish hands on what is known when the devices have left. All but the very last message is counted as coordination: that one says the count.
func (w *work) finish(ctx context.Context) (err error) {
	if w.runner == nil {
		return nil
	}
	w.others.finish(ctx)
	spend := w.agent.control.spend
	spend(func() { w.events.accounts(w.runner, w.cut.Load().Of(w.agent.o.Name)) })
	w.events.whole(w.agent.o.Whole)
	if err := w.events.flush(ctx); err != nil {
		return err
	}
	spend(func() { err = w.publish(ctx, false) })
	if err != nil {
		return err
	}
	spend(func() { err = w.publish(ctx, true) })
	return err
}
