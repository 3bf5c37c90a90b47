// Package runner is an agent's part of a run: the devices that are its own do what the stages ask of them, at the times that it is told.
package runner

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/crew"
	"github.com/twinfleet/twinfleet/internal/generator/watch"
	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	spec "github.com/twinfleet/twinfleet/scenario/target"
)

// Options of a Runner.
type Options struct {
	Crew  crew.Options // its devices: Mine and Start are needed
	Watch *watch.Watch // measures this process; required
}

// Runner carries out the plan of a run as it becomes known. Its methods may be called from any goroutine.
type Runner struct {
	o    Options
	crew *crew.Crew
	log  *slog.Logger

	number atomic.Int64 // at.Stage, for who may not wait

	mu     sync.Mutex // protects the following fields
	plan   []order    // that is not carried out yet, in the order of their times
	news   chan struct{}
	stage  *crew.Stage // that runs; nil when none does
	end    func()      // ends it, and waits for what goes on of it
	at     Place
	byHand bool
	staged bool
	ended  bool // nothing is due any more
}

// Place is where in its plan a Runner is.
type Place struct {
	Stage int       // that runs, counted from 0; -1 before the first
	Began time.Time // when it did
	Over  bool      // the last is over
	Told  bool      // what follows is known
}

// order is something that is to be done at a time.
type order struct {
	at time.Time
	do func(ctx context.Context)
}

// New makes the devices, which wait.
func New(o Options) (*Runner, error) {
	if o.Crew.Logger == nil {
		o.Crew.Logger = slog.New(slog.DiscardHandler)
	}
	c, err := crew.New(o.Crew)
	if err != nil {
		return nil, fmt.Errorf("making the devices: %w", err)
	}
	r := &Runner{o: o, crew: c, log: o.Crew.Logger, news: make(chan struct{}, 1), at: Place{Stage: -1}}
	r.number.Store(-1)
	return r, nil
}

// Fleet is the devices.
func (r *Runner) Fleet() *fleet.Fleet { return r.crew.Fleet }

// Place is where the Runner is.
func (r *Runner) Place() Place {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at
}

// Number is Place.Stage. It never waits: it may be asked on the goroutines of devices, which who holds the lock may wait for.
func (r *Runner) Number() int { return int(r.number.Load()) }

// Stage has the stage of a number begin at a time, at which the one before ends. What has been told before does nothing.
func (r *Runner) Stage(number int, at time.Time) {
	sc, rec := r.o.Crew.Scenario, r.o.Crew.Recorder
	r.mu.Lock()
	defer r.mu.Unlock()
	if number <= r.at.Stage || number >= len(sc.Stages) || r.ended || r.at.Told && number == r.at.Stage+1 {
		return
	}
	rec.SetStageAt(sc.Stages[number].Name, at) // before anything is due in it
	if r.stage != nil {
		r.stage.Cut(at)
	}
	r.at.Told = true
	r.addLocked(order{at, func(ctx context.Context) { r.enter(ctx, number, at) }})
}

// Change changes the load of the stage that runs, at a time.
func (r *Runner) Change(change report.LoadChange, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stage != nil {
		r.stage.Change(change, at)
	}
}

// Pause stops what devices do by themselves, or lets it go on, from a time on.
func (r *Runner) Pause(paused bool, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addLocked(order{at, func(context.Context) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.byHand = paused
		r.crew.Fleet.Pause(r.byHand || r.staged)
	}})
}

// End has nothing be due from a time on. Only the first time that it is told counts.
func (r *Runner) End(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return
	}
	r.ended, r.at.Told = true, true
	r.crew.Fleet.EndAt(at)
	r.o.Crew.Recorder.SetStageAt("", at)
	if r.stage != nil {
		r.stage.Cut(at)
	}
	r.addLocked(order{at, r.leave})
}

// addLocked puts something on the plan. The caller holds the lock.
func (r *Runner) addLocked(o order) {
	i := len(r.plan)
	for i > 0 && r.plan[i-1].at.After(o.at) {
		i--
	}
	r.plan = append(r.plan[:i:i], append([]order{o}, r.plan[i:]...)...)
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// Run carries out the plan until nothing is due any more, or with the cause of ctx.
func (r *Runner) Run(ctx context.Context) error {
	load, over := context.WithCancel(ctx)
	defer over()
	defer r.endStage()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for !r.Place().Over {
		next, due, some := r.next()
		if due {
			next.do(load)
			continue
		}
		var at <-chan time.Time
		if some {
			timer.Reset(time.Until(next.at))
			at = timer.C
		}
		select {
		case <-at:
		case <-r.news:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// next takes the first order that is due; if none is, it gives the one that will be first.
func (r *Runner) next() (o order, due, some bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.plan) == 0 {
		return o, false, false
	}
	o = r.plan[0]
	if time.Now().Before(o.at) {
		return o, false, true
	}
	r.plan = r.plan[1:]
	return o, true, true
}

// enter begins a stage.
func (r *Runner) enter(ctx context.Context, number int, at time.Time) {
	r.endStage()
	t := &r.o.Crew.Scenario.Stages[number]
	r.measured(r.o.Watch.Stage(t.Name, r.o.Crew.Recorder.Snapshot(), r.Connections()))
	r.mu.Lock()
	r.staged = t.Paused
	r.crew.Fleet.Pause(r.byHand || r.staged)
	r.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	var parts sync.WaitGroup
	stage := r.crew.Begin(ctx, number, at, func(part func() error) {
		parts.Go(func() { _ = part() }) // it fails only of its context
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stage, r.at = stage, Place{Stage: number, Began: at}
	r.number.Store(int64(number))
	r.end = func() {
		cancel()
		stage.End()
		parts.Wait()
	}
}

// leave ends the last stage.
func (r *Runner) leave(context.Context) {
	r.endStage()
	r.measured(r.o.Watch.Stage("", r.o.Crew.Recorder.Snapshot(), r.Connections()))
	r.crew.Fleet.Finish()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at.Over = true
}

// endStage ends what goes on of the stage that runs.
func (r *Runner) endStage() {
	r.mu.Lock()
	end := r.end
	r.end, r.stage = nil, nil
	r.mu.Unlock()
	if end != nil {
		end()
	}
}

// Stop has all devices leave, each after its last answers, and returns when they have. When ctx ends they leave at once.
func (r *Runner) Stop(ctx context.Context) { r.crew.Fleet.Stop(ctx) }

// sampleEvery is how often the process is measured.
const sampleEvery = time.Second

// Measure measures this process until ctx ends.
func (r *Runner) Measure(ctx context.Context) {
	for wait.For(ctx, sampleEvery) == nil {
		if r.Place().Over {
			r.measured(r.o.Watch.Wait(r.Connections()))
			continue
		}
		r.measured(r.o.Watch.Sample(r.o.Crew.Recorder.Snapshot(), r.Connections()))
	}
}

func (r *Runner) measured(err error) {
	if err != nil {
		r.log.Warn("this agent was not measured", "error", err)
	}
}

// Connections are those that the devices hold or open; in memory they take nothing of the machine's.
func (r *Runner) Connections() int {
	sc := r.o.Crew.Scenario
	if sc.Target.Transport == spec.Memory {
		return 0
	}
	counts := r.crew.Fleet.Counts()
	return sc.Connections(counts[fleet.StateConnected] + counts[fleet.StateConnecting])
}

// Recorder has what was measured.
func (r *Runner) Recorder() *metrics.Recorder { return r.o.Crew.Recorder }
