// Package engine runs a scenario: it opens the target, makes the identities, starts worker and fleet,
// walks through the stages, stops everything in order, and returns the record with its verdict.
package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/paho"
	"github.com/twinfleet/twinfleet/internal/report"
	"github.com/twinfleet/twinfleet/internal/worker"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario"
)

// Options of an Engine.
type Options struct {
	Scenario *scenario.Scenario // required
	Recorder *metrics.Recorder  // required
	Logger   *slog.Logger       // nil logs nothing
	Version  string             // of the program, for the record
	// Begin, which may be nil, is given the record at the start of the run, before anything else
	// happens; its error fails the run. It keeps nothing of the record.
	Begin func(*report.Run) error
	// Event, which may be nil, is told what happens, one event at a time. It must be quick.
	Event func(Event)
	// Progress, which may be nil, is told the figures once a second, and of the rest at the end, one call
	// at a time. It must be quick.
	Progress func(Progress)
	// OnTarget, which may be nil, is told of the embedded hub once it runs.
	OnTarget func(Target)
	// Sampler measures the generator; nil measures this process.
	Sampler Sampler
	// AllowSaturated lets a run pass whose generator was the bottleneck; the record still says so.
	AllowSaturated bool
}

// Engine runs one scenario once.
type Engine struct {
	opts Options
	sc   *scenario.Scenario
	rec  *metrics.Recorder
	log  *slog.Logger

	driver link.Driver

	soft context.Context // ends when the run should wind down
	stop context.CancelCauseFunc

	self           *self
	target         *target
	ids            *identities
	fleet          *fleet.Fleet
	service        *serviceSide
	desired        desiredWatch
	contradictions contradictions
	gate           *stageGate
	bounds         *metrics.Judge
	watched

	controls controls
	drain    drain
	spills   spills
	ran      int      // devices that have been started; owned by walk
	left     error    // why identities of the run could not be removed
	byHand   []string // stages that were ended by hand

	record ledger

	mu    sync.Mutex // protects the following fields, and orders events
	start time.Time  // zero before the run
	stage string
	from  time.Duration // when the stage began
}

// watched is what is known of outages.
type watched struct {
	watching sync.Mutex // protects the following fields
	outages  outageFinder
	recovery metrics.Started // of the outage that is open
	looked   time.Duration   // when it last looked for one
}

// New makes an Engine.
func New(o Options) *Engine {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Engine{opts: o, sc: o.Scenario, rec: o.Recorder, log: o.Logger, driver: paho.New(), gate: newStageGate(), drain: drain{began: make(chan struct{})}, bounds: metrics.NewJudge(o.Recorder, o.Scenario.Thresholds)}
	e.bounds.Doubt(e.doubt)
	e.soft, e.stop = context.WithCancelCause(context.Background())
	return e
}

// deprovisionGrace is how long removing the identities may take.
const deprovisionGrace = 5 * time.Minute

// Run runs the scenario and returns its record, also when it failed: the record then says why. When ctx
// ends everything ends at once.
func (e *Engine) Run(ctx context.Context) *report.Run {
	start := time.Now()
	e.mu.Lock()
	e.start = start
	e.mu.Unlock()
	r := e.record.whole()
	*r = report.Run{
		Name: e.sc.Name, Description: e.sc.Description, Version: e.opts.Version, Seed: e.sc.Seed, Devices: e.sc.Devices(), Started: start.UTC(),
		Machine: report.Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.GOMAXPROCS(0), Go: runtime.Version()},
	}
	r.Notes = append(r.Notes, e.sc.Scaled...)
	for _, t := range e.sc.Thresholds {
		r.Rules = append(r.Rules, report.Rule{Selector: t.Selector, Expr: t.Expr, Scope: t.Scope})
	}
	e.rec.SetRun(metrics.RunLabels{Run: start.UTC().Format("20060102-150405"), Scenario: e.sc.Name, Version: e.opts.Version})
	err := e.run(ctx)
	e.stop(nil)
	r.Ended = time.Now().UTC()
	r.Totals = e.rec.Snapshot()
	r.Ran = &e.ran
	e.splitByStage()
	if e.self != nil {
		r.Generator = e.self.health(e.rec)
	}
	e.judge(ctx, err)
	return r
}

func (e *Engine) run(ctx context.Context) (err error) {
	if e.opts.Begin != nil {
		if err := e.opts.Begin(e.record.whole()); err != nil {
			return err
		}
	}
	if e.self, err = newSelf(e.opts.Sampler, e.sc); err != nil {
		return err
	}
	e.self.register(e.rec)
	if e.target, err = e.openTarget(ctx); err != nil {
		return err
	}
	e.record.write(func(r *report.Run) { r.Target = e.target.Name })
	e.emit(Event{Kind: EventTarget, OK: true, Text: "target", Detail: e.target.Name})
	defer func() { err = errors.Join(err, e.closeTarget()) }()
	defer func() { e.left = e.deprovision(ctx) }()
	if err := e.provision(ctx); err != nil {
		return err
	}
	e.target.arm()
	return e.load(ctx)
}

// either ends when ctx does or the run winds down.
func (e *Engine) either(ctx context.Context) (context.Context, context.CancelFunc) {
	both, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(e.soft, func() { cancel(context.Cause(e.soft)) })
	if e.soft.Err() != nil { // AfterFunc calls from a goroutine of its own: what is begun meanwhile would go on
		cancel(context.Cause(e.soft))
	}
	return both, func() {
		stop()
		cancel(nil)
	}
}

// load starts worker, fleet and monitor, walks the stages and stops them in the reverse order.
func (e *Engine) load(ctx context.Context) error {
	var err error
	if e.service, err = e.newServiceSide(); err != nil {
		return err
	}
	if e.fleet, err = e.newFleet(); err != nil {
		return err
	}
	e.controls.change(func(c *controls) { c.fleet = e.fleet })
	hard, cancelHard := context.WithCancel(ctx)
	defer cancelHard()
	soft, cancelSoft := e.either(ctx)
	defer cancelSoft()
	soft = worker.Patient(soft, hard)
	watching, stopWatching := context.WithCancel(context.Background())
	waitForSelf := e.self.begin(watching)
	var monitor, service sync.WaitGroup
	last := e.rec.Snapshot()
	monitor.Go(func() { last = e.monitor(watching, last) })
	var serviceErr error
	service.Go(func() { serviceErr = e.runService(soft) })
	service.Go(func() { e.runActivities(soft) })

	err = e.walk(soft)
	e.rec.SetStage("")
	e.beginStage("")
	e.emit(Event{Kind: EventStopping, OK: true, Text: "stopping"})
	e.endOutages() // before devices that are gone stop for that reason, which looks as if they were back
	e.drain.begin(cancelHard)
	e.fleet.Finish()
	cancelSoft()
	service.Wait()
	e.fleet.Stop(hard)
	stopWatching()
	monitor.Wait()
	waitForSelf()
	if e.drain.end() {
		e.record.note("the wait for the last answers was cut short by hand")
	}
	auditErr := e.endAudit(ctx)
	e.progress(last)
	if e.stopped() != nil || ctx.Err() != nil {
		return e.contradictions.err()
	}
	return errors.Join(err, serviceErr, auditErr)
}

// runService tags, then queries until ctx ends.
func (e *Engine) runService(ctx context.Context) error {
	if e.target.service == nil || ctx.Err() != nil {
		return nil
	}
	if _, _, err := e.stepStatistics(ctx, &scenario.StatisticsStep{Expect: -1}); err != nil && ctx.Err() == nil {
		e.emit(Event{Kind: EventWarning, Text: "reading the registry statistics failed", Detail: err.Error()})
	}
	for i := range e.sc.Fleet.Groups {
		g := &e.sc.Fleet.Groups[i]
		tags, ok := e.sc.Service.Tags[g.Name]
		if !ok {
			continue
		}
		err := e.tag(ctx, g, tags)
		if ctx.Err() != nil {
			e.record.note("the run ended before all devices of %s were tagged", g.Name)
			return nil
		}
		if err != nil {
			e.stop(err)
			return err
		}
	}
	return e.runQueries(ctx)
}

func (e *Engine) tag(ctx context.Context, g *scenario.Group, tags []byte) error {
	t := &worker.Tagger{
		Twins: e.target.service, Registry: e.target.service, Recorder: e.rec,
		Mode: worker.TagMode(e.sc.Service.TagMode), Concurrency: e.sc.Service.TagConcurrency,
	}
	ids := e.groupIDs(g)
	return e.service.tagged(g, tags, func() error {
		return t.Tag(ctx, g.Name, ids, tags, func(done int) {
			e.emit(Event{Kind: EventTagging, OK: true, Text: "devices of " + g.Name + " tagged", Done: done, Total: len(ids)})
		})
	})
}

// groupIDs are the ids of a group's devices.
func (e *Engine) groupIDs(g *scenario.Group) []string {
	first := e.firstOf(g)
	return e.ids.ids[first : first+g.Count]
}

// firstOf is the index in the fleet of a group's first device.
func (e *Engine) firstOf(g *scenario.Group) int {
	first := 0
	for i := range e.sc.Fleet.Groups {
		if &e.sc.Fleet.Groups[i] == g {
			break
		}
		first += e.sc.Fleet.Groups[i].Count
	}
	return first
}

func (e *Engine) newFleet() (*fleet.Fleet, error) {
	cfg := fleet.Config{
		Run:  strings.ToLower(rand.Text()[:5]),
		Seed: e.sc.Seed, Target: e.target, Driver: e.driver, Recorder: e.rec, Logger: e.log,
		OnDesired: e.onDesired, OnReporting: e.service.onReporting, OnReported: e.service.onReported, OnContradiction: e.contradicted,
	}
	for i := range e.sc.Fleet.Groups {
		g := &e.sc.Fleet.Groups[i]
		profile, err := groupProfile(g)
		if err != nil {
			return nil, fmt.Errorf("group %s: %w", g.Name, err)
		}
		profile.First, profile.IDs = e.firstOf(g), e.groupIDs(g)
		profile.Telemetry.Rated = slices.Contains(e.sc.Rated(false), g.Name)
		profile.Subscribe = e.target.subscriptions(g)
		cfg.Groups = append(cfg.Groups, profile)
	}
	return fleet.New(cfg)
}

// LastReports are the last acknowledged reports of all devices that have one, by device id.
func (e *Engine) LastReports() map[string]fleet.Report {
	last := make(map[string]fleet.Report)
	for i := range e.fleet.Len() {
		if r, ok := e.fleet.Reported(i); ok {
			last[e.ids.ids[i]] = r
		}
	}
	return last
}

// emit tells of an event.
func (e *Engine) emit(ev Event) {
	ev.At = e.since()
	e.mu.Lock()
	defer e.mu.Unlock()
	if ev.Stage == "" {
		ev.Stage = e.stage
	}
	if e.opts.Event != nil {
		e.opts.Event(ev)
	}
}

// since is how long the run lasts; 0 before it.
func (e *Engine) since() time.Duration {
	if start := e.began(); !start.IsZero() {
		return time.Since(start)
	}
	return 0
}

// began is when the run did; the zero time before it.
func (e *Engine) began() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.start
}

func (e *Engine) currentStage() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stage
}

// stageBegan is when the stage that runs began.
func (e *Engine) stageBegan() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.from
}

func (e *Engine) closeTarget() error {
	if err := e.target.close(); err != nil {
		return fmt.Errorf("closing the target: %w", err)
	}
	return nil
}
