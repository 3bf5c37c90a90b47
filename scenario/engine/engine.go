package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/backend/registrar"
	"github.com/twinfleet/twinfleet/internal/backend/steps"
	"github.com/twinfleet/twinfleet/internal/eventhub"
	"github.com/twinfleet/twinfleet/internal/fit"
	"github.com/twinfleet/twinfleet/internal/generator/watch"
	"github.com/twinfleet/twinfleet/internal/host"
	"github.com/twinfleet/twinfleet/internal/ledger"
	"github.com/twinfleet/twinfleet/internal/target"
	"github.com/twinfleet/twinfleet/internal/verdict"
	"github.com/twinfleet/twinfleet/internal/verdict/byhand"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/judge"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/agents"
	"github.com/twinfleet/twinfleet/scenario"
	spec "github.com/twinfleet/twinfleet/scenario/target"
)

// Options of an Engine.
type Options struct {
	Scenario  *scenario.Scenario // required
	Recorder  *metrics.Recorder  // required
	Logger    *slog.Logger       // nil logs nothing
	Version   string             // of the program, for the record
	Observers []report.Observer  // who watches the run; Observe adds others
	Grafana   string             // address of a Grafana to which reports link, for the record; empty for none
	Purchase  *report.Purchase   // what must be bought for the scenario, for the record; nil for nothing
	// AllowSaturated lets a run pass whose generator was the bottleneck; the record still says so.
	AllowSaturated bool
	// Agents run the devices; nil runs them in this process.
	Agents Agents
	// Resume takes over a run whose process is gone; its devices go on in Agents. Nil begins one.
	Resume *Resume
	// Preparing are stages that only prepare for others: that their load was not delivered as asked says nothing of the run.
	Preparing []string

	// Of tests: the driver of devices that speak a transport; nil is the scenario's.
	driver  func(spec.DeviceTransport) link.Driver
	dial    link.Dialer                                      // of tests: to a target elsewhere; nil is the network
	memory  bool                                             // of tests: the embedded hub has no port
	sampler watch.Sampler                                    // of tests; nil measures this process
	reader  func(eventhub.Options) (*eventhub.Reader, error) // of tests: reads the hub's messages; nil is the target's
}

// Engine runs one scenario once: Observe comes before Run, and the others may be called at any time, from any goroutine.
type Engine struct {
	opts  Options
	sc    *scenario.Scenario // with nothing left to this machine
	unfit error              // why it could not be made so
	rec   *metrics.Recorder
	log   *slog.Logger

	soft context.Context // ends when the run should wind down
	stop context.CancelCauseFunc

	standing atomic.Pointer[report.Standing] // the last; nil before the first
	final    atomic.Pointer[ending]          // nil until all is told
	controls controls
	drain    drain
	unled    map[string]string // stages that nobody led for a while, and why nothing can be said of them
	ledger   ledger.Ledger
	raw      rawFiles // of agents
}

// New makes an Engine.
func New(o Options) *Engine {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Engine{opts: o, rec: o.Recorder, log: o.Logger, drain: drain{began: make(chan struct{})}}
	e.sc, e.unfit = settle(&o)
	e.ledger.Observe(&e.raw) // the others have what it says
	e.ledger.Observe(o.Observers...)
	e.unled = o.Resume.led(e.sc.Stages)
	e.soft, e.stop = context.WithCancelCause(context.Background())
	return e
}

// settle fits a scenario to this machine: with agents, to one that runs no devices. One that does not tell what it has carries any fleet, as
// far as anybody knows.
func settle(o *Options) (*scenario.Scenario, error) {
	facts, err := host.Read()
	if err != nil {
		facts = host.Facts{Cores: runtime.GOMAXPROCS(0), Unknown: host.UnknownMemory | host.UnknownPorts}
	}
	if o.Agents != nil {
		return fit.ToPart(o.Scenario, facts, 0, 1), nil
	}
	fitted, err := fit.To(o.Scenario, facts)
	if err != nil {
		return o.Scenario, fmt.Errorf("fitting the scenario to this machine: %w", err)
	}
	return fitted, nil
}

// Observe adds those who watch the run. It is called before Run.
func (e *Engine) Observe(who ...report.Observer) { e.ledger.Observe(who...) }

// Run runs the scenario and returns its record, also when it failed: the record then says why. When ctx
// ends everything ends at once.
func (e *Engine) Run(ctx context.Context) *report.Run {
	start := e.begun()
	r := report.Run{
		Name: e.sc.Name, Description: e.sc.Description, Version: e.opts.Version, Seed: e.sc.Seed, Devices: e.sc.Devices(), Client: e.sc.Fleet.Client, Started: start.UTC(), Purchase: e.opts.Purchase, Grafana: e.opts.Grafana,
		Machine: report.Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.GOMAXPROCS(0), Go: runtime.Version()},
	}
	r.Notes = append(append(r.Notes, e.sc.Scaled...), e.sc.Fitted...)
	e.opts.Resume.inherit(&r)
	for _, t := range e.sc.Thresholds {
		r.Rules = append(r.Rules, report.Rule{Selector: t.Selector, Expr: t.Expr, Scope: t.Scope})
	}
	e.rec.Expect(e.sc.Series())
	e.rec.SetRun(metrics.RunLabels{Run: start.UTC().Format("20060102-150405"), Scenario: e.sc.Name, Version: e.opts.Version})
	e.rec.Register(e.figures)
	came := outcome{bounds: judge.New(e.rec, e.sc.Thresholds)}
	came.bounds.Excuse(func(i int, v *threshold.Verdict) {
		byhand.Excuse(e.sc, e.ledger.Began(), e.controls.acts(), i, v)
		agents.Excuse(e.agents(), e.sc.Thresholds, i, v)
	})
	err := cmp.Or(e.ledger.Begin(start, r), e.unfit)
	if err == nil {
		e.opts.Resume.tell(&e.ledger)
		err = e.run(ctx, &came)
	}
	e.stop(nil)
	return e.conclude(ctx, err, &came)
}

// outcome is what came of a run, as far as it came.
type outcome struct {
	bounds    *judge.Judge
	generator *watch.Watch // nil when nothing was measured
	ran       int          // devices that have been started
	left      error        // why identities of the run could not be removed
}

// run opens the target, makes the identities, and loads it.
func (e *Engine) run(ctx context.Context, came *outcome) (err error) {
	if came.generator, err = e.watchGenerator(came.bounds); err != nil {
		return err
	}
	t, err := target.Open(ctx, target.Options{
		Scenario: e.sc, Logger: e.log, Recorder: e.rec, Watch: came.generator.Dialer, Dial: e.opts.dial, Memory: e.opts.memory,
	})
	if err != nil {
		return err
	}
	e.ledger.Write(func(r *report.Run) {
		r.Target = e.opts.Resume.target(t.Name)
		if t.Note != "" {
			r.Notes = append(r.Notes, t.Note)
		}
	})
	e.ledger.Tell(report.Event{Kind: report.KindTarget, OK: true, Text: "target", Detail: t.Name})
	defer func() {
		if closing := t.Close(); closing != nil {
			err = errors.Join(err, fmt.Errorf("closing the target: %w", closing))
		}
	}()
	ids, err := t.Identities()
	if err != nil {
		return err
	}
	registrar := &registrar.Registrar{Target: t, Identities: ids, Recorder: e.rec, Ledger: &e.ledger, Stop: e.soft.Done()}
	if !e.sc.Target.Keep {
		defer func() { came.left = registrar.Deprovision(ctx) }()
	}
	if x := e.opts.Resume; x == nil {
		err = registrar.Provision(ctx)
	} else if x.Made != nil {
		ids.Took(x.Made)
	}
	if err != nil {
		return err
	}
	if err := t.Arm(ctx); err != nil {
		return fmt.Errorf("arming the target: %w", err)
	}
	c, err := newConductor(ctx, e, t, ids, came)
	if err != nil {
		if e.endedBy(ctx, err) {
			return nil
		}
		return err
	}
	return c.load(ctx)
}

// conclude completes the record of a run that has ended, with an error or without.
func (e *Engine) conclude(ctx context.Context, err error, came *outcome) *report.Run {
	r := e.ledger.Whole()
	r.Ended = time.Now().UTC()
	r.Totals = e.rec.Snapshot()
	r.Ran, r.Interventions = &came.ran, e.controls.acts()
	splitByStage(r, e.rec.Stages())
	if came.generator != nil {
		r.Generator = came.generator.Health()
	}
	r.Agents = e.agents()
	verdict.Judge(&verdict.Evidence{
		Scenario: e.sc, Run: r, Thresholds: came.bounds.End(r.Totals), Err: err, Cause: e.stopped(), Hard: ctx.Err() != nil,
		Left: came.left, Unled: e.unledText(), AllowSaturated: e.allowsSaturated(),
		CutShort: e.drain.cutShort(), Unexpected: errors.Is(err, steps.ErrUnexpected),
	})
	e.ledger.End() // may take a pass away
	e.finish(r, came.bounds)
	return r
}

// splitByStage gives each stage that ran the account of what was intended in it.
func splitByStage(r *report.Run, stages []*metrics.Snapshot) {
	n := 0
	for _, s := range stages {
		if s.Stage != "" && n < len(r.Stages) {
			r.Stages[n].Totals = s
			n++
		}
	}
}
