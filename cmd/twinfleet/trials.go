package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync/atomic"

	"github.com/twinfleet/twinfleet/internal/capacity/progress/status"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/internal/dashboard"
	"github.com/twinfleet/twinfleet/internal/gc"
	"github.com/twinfleet/twinfleet/internal/oserr"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/prom"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/clean"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

// trialing is what a search and a rollout study from the command line have in common: trials, one after the other, and who watches them.
type trialing struct {
	e       env
	s       settings
	log     *slog.Logger
	shown   *status.Line
	keeping string // folder of the search, or study
	metrics atomic.Pointer[http.Handler]
	figures func() []metrics.Figure // what the trials have shown so far; nil for nothing
	hard    context.Context         // ends when everything is to stop at once; set before the first trial
	crew    trialCrew               // who runs the devices
}

// trials reads a scenario as often as trials need it.
func (s settings) trials(e env, file string) (*loader, error) {
	text, err := scenarioText(file, e.stdin)
	if err != nil {
		return nil, withCode(codeUsage, err)
	}
	if file == standardInput {
		file = "stdin"
	}
	return &loader{env: e, file: file, text: text, own: s.v.GetStringSlice("set")}, nil
}

// start makes the engine of a trial, with who watches it.
func (x *trialing) start(o engine.Options) trial.Engine {
	o.Logger, o.Version = x.log, versionText()
	keep := &keeper{root: x.keeping, scenario: []byte(clean.Redact(string(o.Scenario.Source))), log: x.log}
	o.Observers = append(o.Observers, keep, x.shown.Observer())
	if x.figures != nil {
		o.Recorder.Register(x.figures)
	}
	handler := prom.Handler(o.Recorder)
	x.metrics.Store(&handler)
	if x.crew.site == nil {
		return tuned{engine.New(o), o.Scenario.Fleet.Client, keep, x.hard, nil}
	}
	ready, o := x.crew.engine(x.hard, o, func(text string) { x.log.Debug("preparing a trial", "agents", text) })
	if ready.why != nil {
		return broken{&ready}
	}
	o.Agents = &ready
	return tuned{engine.New(o), o.Scenario.Fleet.Client, keep, x.hard, &ready}
}

// check says whether this machine can make a trial.
func (x *trialing) check(sc *scenario.Scenario) error {
	if x.crew.site != nil { // its agents say what they hold
		return x.crew.check(sc)
	}
	_, err := preflight(sc, x.s.v.GetBool("force"))
	return err
}

// tuned is an engine whose process collects its garbage as runs do, and whose record is kept.
type tuned struct {
	*engine.Engine
	client string
	keep   *keeper
	hard   context.Context
	agents *readied // nil without agents
}

// Unmade is why agents could not make the load of the trial.
func (t tuned) Unmade() (why error, final bool) {
	if t.agents == nil {
		return nil, false
	}
	return t.agents.unmade()
}

// Dir is the folder of the record, beside the search's own file; "" when nothing is kept.
func (t tuned) Dir() string {
	if dir := t.keep.folder(); dir != "" {
		return filepath.Base(dir)
	}
	return ""
}

// Kept says why the record could not be written; nil when it was.
func (t tuned) Kept() error { return t.keep.lost }

// Run stops politely when ctx ends, as a run of its own does: it removes the identities that it made.
func (t tuned) Run(ctx context.Context) *report.Run {
	defer gc.For(t.client).Tune()()
	if t.agents != nil {
		defer t.agents.close()
	}
	stop := context.AfterFunc(ctx, t.Stop)
	defer stop()
	return t.Engine.Run(t.hard)
}

// serveMetrics serves the figures of the trial under way.
func (x *trialing) serveMetrics(w http.ResponseWriter, r *http.Request) {
	if h := x.metrics.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	http.Error(w, "no trial has begun", http.StatusServiceUnavailable)
}

// page serves the live page of a search or a study; the returned function ends it.
func (x *trialing) page(ctx context.Context, html func(w io.Writer, live string) error, asJSON func(w io.Writer) error) (end func(), url string, err error) {
	addr := x.s.v.GetString("ui-addr")
	if x.s.v.GetBool("no-ui") || addr == "" {
		return func() {}, "", nil
	}
	p := &dashboard.Page{
		Logger: x.log,
		HTML:   func(w io.Writer) error { return html(w, x.shown.Status()) },
		JSON:   asJSON,
	}
	url, err = p.Start(ctx, addr)
	if oserr.Is(err, oserr.InUse) && !x.s.given("ui-addr") {
		url, err = p.Start(ctx, freePort(addr))
	}
	if err != nil {
		return nil, "", usagef("--ui-addr %s: %w; give another address, or --no-ui", addr, err)
	}
	return func() {
		if err := p.Close(); err != nil {
			x.log.Debug("closing the live page", "error", err)
		}
	}, url, nil
}
