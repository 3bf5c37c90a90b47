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
	"github.com/twinfleet/twinfleet/internal/backend"
	"github.com/twinfleet/twinfleet/internal/generator/watch"
	"github.com/twinfleet/twinfleet/internal/ledger"
	"github.com/twinfleet/twinfleet/internal/outage"
	"github.com/twinfleet/twinfleet/internal/target"
	"github.com/twinfleet/twinfleet/internal/verdict"
	"github.com/twinfleet/twinfleet/internal/worker"
	"github.com/twinfleet/twinfleet/internal/worker/gate"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
)

// Options of an Engine.
type Options struct {
	Scenario  *scenario.Scenario // required
	Recorder  *metrics.Recorder  // required
	Logger    *slog.Logger       // nil logs nothing
	Version   string             // of the program, for the record
	Observers []report.Observer  // who watches the run; Observe adds others
	// AllowSaturated lets a run pass whose generator was the bottleneck; the record still says so.
	AllowSaturated bool

	sampler watch.Sampler // of tests; nil measures this process
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

	generator      *watch.Watch
	target         *target.Target
	ids            *target.Identities
	fleet          *fleet.Fleet
	backend        *backend.Backend
	contradictions contradictions
	gate           *gate.Gate
	bounds         *metrics.Judge
	outages        *outage.Watch

	controls controls
	drain    drain
	ran      int      // devices that have been started; owned by walk
	left     error    // why identities of the run could not be removed
	byHand   []string // stages that were ended by hand

	ledger ledger.Ledger
}

// New makes an Engine.
func New(o Options) *Engine {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Engine{opts: o, sc: o.Scenario, rec: o.Recorder, log: o.Logger, driver: paho.New(), gate: gate.New(), drain: drain{began: make(chan struct{})}, bounds: metrics.NewJudge(o.Recorder, o.Scenario.Thresholds)}
	e.bounds.Doubt(e.doubt)
	e.outages = &outage.Watch{Ledger: &e.ledger, Recorder: o.Recorder}
	e.ledger.Observe(o.Observers...)
	e.soft, e.stop = context.WithCancelCause(context.Background())
	return e
}

// Run runs the scenario and returns its record, also when it failed: the record then says why. When ctx
// ends everything ends at once.
func (e *Engine) Run(ctx context.Context) *report.Run {
	start := time.Now()
	r := report.Run{
		Name: e.sc.Name, Description: e.sc.Description, Version: e.opts.Version, Seed: e.sc.Seed, Devices: e.sc.Devices(), Started: start.UTC(),
		Machine: report.Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.GOMAXPROCS(0), Go: runtime.Version()},
	}
	r.Notes = append(r.Notes, e.sc.Scaled...)
	for _, t := range e.sc.Thresholds {
		r.Rules = append(r.Rules, report.Rule{Selector: t.Selector, Expr: t.Expr, Scope: t.Scope})
	}
	e.rec.SetRun(metrics.RunLabels{Run: start.UTC().Format("20060102-150405"), Scenario: e.sc.Name, Version: e.opts.Version})
	err := e.ledger.Begin(start, r)
	if err == nil {
		err = e.run(ctx)
	}
	e.stop(nil)
	return e.conclude(ctx, err)
}

// Observe adds those who watch the run. It is called before Run.
func (e *Engine) Observe(who ...report.Observer) { e.ledger.Observe(who...) }

// conclude completes the record of a run that has ended, with an error or without.
func (e *Engine) conclude(ctx context.Context, err error) *report.Run {
	r := e.ledger.Whole()
	r.Ended = time.Now().UTC()
	r.Totals = e.rec.Snapshot()
	r.Ran = &e.ran
	e.splitByStage()
	if e.generator != nil {
		r.Generator = e.generator.Health()
	}
	verdict.Judge(&verdict.Evidence{
		Scenario: e.sc, Run: r, Thresholds: e.bounds.End(r.Totals), Err: err, Cause: e.stopped(), Hard: ctx.Err() != nil,
		ByHand: e.byHand, Left: e.left, AllowSaturated: e.allowsSaturated(),
	})
	e.ledger.End()
	return r
}

func (e *Engine) run(ctx context.Context) (err error) {
	if e.generator, err = e.watchGenerator(); err != nil {
		return err
	}
	if e.target, err = target.Open(ctx, target.Options{Scenario: e.sc, Logger: e.log, Recorder: e.rec, Watch: e.generator.Dialer}); err != nil {
		return err
	}
	e.ledger.Write(func(r *report.Run) { r.Target = e.target.Name })
	e.ledger.Tell(report.Event{Kind: report.KindTarget, OK: true, Text: "target", Detail: e.target.Name})
	defer func() { err = errors.Join(err, e.closeTarget()) }()
	e.ids = e.target.Identities()
	registrar := &backend.Registrar{Target: e.target, Identities: e.ids, Recorder: e.rec, Ledger: &e.ledger, Stop: e.soft.Done()}
	if !e.sc.Target.Keep {
		defer func() { e.left = registrar.Deprovision(ctx) }()
	}
	if err := registrar.Provision(ctx); err != nil {
		return err
	}
	e.target.Arm()
	return e.load(ctx)
}

// either ends when ctx does or the run winds down.
func (e *Engine) either(ctx context.Context) (context.Context, context.CancelFunc) {
	both, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(e.soft, func() { cancel(context.Cause(e.soft)) })
	return both, func() {
		stop()
		cancel(nil)
	}
}

// load starts worker, fleet and monitor, walks the stages and stops them in the reverse order.
func (e *Engine) load(ctx context.Context) error {
	var err error
	if e.backend, err = e.newBackend(); err != nil {
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
	waitForMeter := e.generator.Begin(watching)
	var monitor, service sync.WaitGroup
	last := e.rec.Snapshot()
	monitor.Go(func() { last = e.monitor(watching, last) })
	var serviceErr error
	service.Go(func() { serviceErr = e.backend.Run(soft) })

	err = e.walk(soft)
	e.rec.SetStage("")
	e.beginStage("")
	e.ledger.Tell(report.Event{Kind: report.KindStopping, OK: true, Text: "stopping"})
	e.drain.begin(cancelHard)
	e.fleet.Finish()
	cancelSoft()
	service.Wait()
	e.fleet.Stop(hard)
	stopWatching()
	monitor.Wait()
	waitForMeter()
	if e.drain.end() {
		e.ledger.Note("the wait for the last answers was cut short by hand")
	}
	auditErr := e.backend.EndAudit(ctx, e.fleet, e.stopped() == nil)
	e.progress(last)
	if e.stopped() != nil || ctx.Err() != nil {
		return e.contradictions.err()
	}
	return errors.Join(err, serviceErr, e.contradictions.err(), auditErr)
}

func (e *Engine) newBackend() (*backend.Backend, error) {
	return backend.New(backend.Options{
		Scenario: e.sc, Target: e.target, Identities: e.ids, Recorder: e.rec, Ledger: &e.ledger, Gate: e.gate,
		Contradicted: e.contradicted, Fail: func(err error) { e.stop(err) },
	})
}

func (e *Engine) newFleet() (*fleet.Fleet, error) {
	cfg := fleet.Config{
		Run:  strings.ToLower(rand.Text()[:5]),
		Seed: e.sc.Seed, Target: e.target, Driver: e.driver, Recorder: e.rec, Logger: e.log,
		OnDesired: e.backend.OnDesired, OnReporting: e.backend.OnReporting, OnReported: e.backend.OnReported,
		OnContradiction: func(c fleet.Contradiction) { e.contradicted(string(c.Kind), c.Device+": "+c.Detail) },
	}
	for i := range e.sc.Fleet.Groups {
		g := &e.sc.Fleet.Groups[i]
		profile, err := groupProfile(g)
		if err != nil {
			return nil, fmt.Errorf("group %s: %w", g.Name, err)
		}
		profile.First, profile.IDs = e.ids.First(g), e.ids.Of(g)
		profile.Telemetry.Rated = slices.Contains(e.sc.Rated(false), g.Name)
		profile.Subscribe = e.target.Subscriptions(g)
		cfg.Groups = append(cfg.Groups, profile)
	}
	return fleet.New(cfg)
}

// LastReports are the last acknowledged reports of all devices that have one, by device id.
func (e *Engine) LastReports() map[string]fleet.Report {
	last := make(map[string]fleet.Report)
	for i := range e.fleet.Len() {
		if r, ok := e.fleet.Reported(i); ok {
			last[e.ids.IDs[i]] = r
		}
	}
	return last
}

func (e *Engine) closeTarget() error {
	if err := e.target.Close(); err != nil {
		return fmt.Errorf("closing the target: %w", err)
	}
	return nil
}
