package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/twinfleet/twinfleet/internal/capacity/buy"
	"github.com/twinfleet/twinfleet/internal/capacity/purchase"
	"github.com/twinfleet/twinfleet/internal/gc"
	"github.com/twinfleet/twinfleet/internal/swarm/parcel"
	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/clean"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/engine"
	"github.com/twinfleet/twinfleet/scenario/plan"
)

func newRun(e env) *cobra.Command {
	c := &cobra.Command{
		Use:   "run [SCENARIO]",
		Short: "Run a scenario and say whether the target held",
		Long: `Run a scenario: open its target, make the identities, start the fleet and the service side, walk
through the stages, and end with a summary and a verdict. SCENARIO is a file, or the name of a
built-in one ("twinfleet examples" lists them), or - for standard input. Ctrl-C once stops politely
and still reports; twice stops at once.

Without SCENARIO, --devices says how many devices to run, and --hub, --every, --tag, --query,
--threshold and --duration what they do. The scenario that this stands for is printed first; --print
prints it alone, to keep it.

On a terminal of 40 columns or more the run is drawn in place, and ? lists its keys; elsewhere, in CI,
with TERM=dumb and with --plain it is told in lines.

Exit codes: 0 passed, 1 the run failed, 2 the scenario or the usage is wrong, 98 the generator
was the bottleneck, 99 a threshold was missed or had no data, 130 interrupted.`,
		Example: "  twinfleet run connectivity\n  twinfleet run my.yaml --set fleet.groups.robots.count=100 --set seed=7\n  twinfleet run --devices 1000 --every 30s --duration 2m",
		Args:    scenarioArgs,
	}
	addCommonFlags(c)
	addScenarioFlags(c)
	addQuickFlags(c)
	addPushFlags(c)
	addReportFlags(c)
	addAgentFlags(c)
	f := c.Flags()
	f.String("metrics-addr", "127.0.0.1:9464", "address that serves /metrics for Prometheus; another port when this one is taken, unless it was asked for; none when empty")
	f.Duration("linger", 0, "keep /metrics open so long after the run, for a last scrape")
	f.String("out", "runs", "folder that takes a record of the run with its reports; none when empty")
	f.String("raw", "", "file that takes every operation, a row each: its name ends in .csv.gz or .parquet; agents of this machine have one each beside it; none when empty")
	f.Bool("force", false, "start although this machine has too little for the scenario")
	f.Bool("allow-saturated", false, "let the run pass although the generator was the bottleneck")
	addLiveFlags(c)
	f.Bool("quiet", false, "print no progress, only the summary")
	f.Bool("plain", false, "print lines of progress, also on a terminal that could be drawn on")
	f.Bool("alternate-screen", false, "draw on the terminal's alternate screen: what was there comes back afterwards")
	f.Bool("json", false, "print one line of JSON for everything that happens, for programs, and no other output; with --quiet the summary alone")
	f.String("color", "auto", "colours: auto, always or never")
	c.RunE = func(cmd *cobra.Command, args []string) error { return runScenario(cmd.Context(), e, cmd, args) }
	return c
}

func runScenario(ctx context.Context, e env, cmd *cobra.Command, args []string) error {
	e.outlive()
	if e.closed {
		e.stdout = e.stderr
		fmt.Fprintln(e.stderr, "standard output is closed: what belongs there is printed here")
	}
	s, err := loadSettings(cmd)
	if err != nil {
		return err
	}
	logs := &logSink{w: e.stderr}
	log, err := s.logger(logs)
	if err != nil {
		return err
	}
	var sc *scenario.Scenario
	var travels *parcel.Parcel
	if s.v.GetInt("agents") != 0 && len(args) > 0 {
		sc, travels, err = packed(e, args[0], s)
	} else {
		sc, err = loadAsked(e, cmd, args, s)
	}
	if err != nil {
		return err
	}
	if s.v.GetBool("print") {
		return printScenario(e, sc)
	}
	if len(args) == 0 {
		sayScenario(e, s, sc)
	}
	sayTrust(e, sc)
	if s.v.GetInt("agents") == 0 { // else they say what they hold
		if sc, err = preflight(sc, s.v.GetBool("force")); err != nil {
			return err
		}
	}
	colored, err := s.color(e)
	if err != nil {
		return err
	}
	shows, err := s.reports()
	if err != nil {
		return err
	}
	rawFile, err := openRaw(rawName(s.v.GetString("raw"), s.v.GetInt("agents") > 0 && s.v.GetString("resume") != ""))
	if err != nil {
		return err
	}
	defer rawFile.abandon()
	if travels == nil && s.v.GetInt("agents") != 0 {
		if sc, travels, err = parcel.Pack("flags", sc.Source, scenario.Options{}); err != nil {
			return err
		}
	}
	sc, swarm, err := newSwarm(ctx, e, s, sc, travels, log)
	if err != nil {
		return err
	}
	var agents engine.Agents
	var resume *engine.Resume
	var began time.Time
	if swarm != nil {
		defer swarm.close()
		agents = swarm.lead
		if resume = swarm.resume; resume != nil {
			began = resume.Record.Started
		}
	}
	rec := metrics.NewRecorder(metrics.Options{Tap: rawFile.tap(), Start: began})
	server, err := serveMetrics(s.v.GetString("metrics-addr"), !s.given("metrics-addr"), rec, log)
	if err != nil {
		return err
	}
	defer server.close()
	push, err := startPush(s, rec, log)
	if err != nil {
		return err
	}
	eng := engine.New(engine.Options{
		Agents: agents, Resume: resume, Scenario: sc, Recorder: rec, Logger: log, Version: versionText(), AllowSaturated: s.v.GetBool("allow-saturated"), Grafana: shows.Grafana, Purchase: purchaseFor(sc, log),
	})
	page, err := newLive(ctx, s, sc, rec, eng, log)
	if err != nil {
		return err
	}
	defer page.close()
	keep := &keeper{root: s.v.GetString("out"), scenario: []byte(clean.Redact(string(sc.Source))), log: log, shows: shows}
	out := newWatcher(e, s, planOf(sc, page.address(), server.url()), colored, controlsOf(eng))
	defer out.Close() // also when something panics: the terminal is the user's
	logs.set(out)
	eng.Observe(rawFile.watching()...) // before the record, which has its notes
	eng.Observe(keep, out)
	if swarm != nil {
		eng.Observe(swarm.lead.Observer())
	}
	eng.Observe(page.watching()...)
	defer gc.For(sc.Fleet.Client).Tune()()
	// Signals are watched until the summary is out: one that comes late must not take it away.
	lingering, noLinger := context.WithCancel(ctx)
	defer noLinger()
	hard, done := e.stopper(ctx, stopLog(out, log), func() {
		eng.Stop()
		noLinger()
	})
	defer done()
	if swarm != nil && swarm.handOver() {
		eng.Stop()
		noLinger()
	}
	record := eng.Run(hard)
	push.Close(hard)
	logs.set(e.stderr)
	if err := out.Close(); err != nil {
		log.Error("showing the run failed", "error", err)
	}
	if err := summarize(e, out, record, keep, colored); err != nil {
		// What the run found stays its exit code; one that passed has not told anybody.
		return withCode(cmp.Or(exitCodeOf(record.Outcome), codeFailed), fmt.Errorf("printing the summary: %w", err))
	}
	rawFile.say(e, s)
	linger(lingering, s.v.GetDuration("linger"), server)
	return withCode(exitCodeOf(record.Outcome), errSilent)
}

// purchaseFor is what must be bought for a scenario, for the reports of its run; nil when that cannot be told.
func purchaseFor(sc *scenario.Scenario, log *slog.Logger) *report.Purchase {
	market, err := buy.BuiltIn()
	var p *plan.Plan
	if err == nil {
		p, err = plan.Make(sc, plan.Options{Quick: true})
	}
	var found *report.Purchase
	if err == nil {
		o := purchase.Options{Market: market}
		if p.Tier != nil {
			o.Tier, o.Units = p.Tier.Tier, p.Tier.Units
		}
		found, err = purchase.Of(sc, p, o)
	}
	if err != nil { // the run goes on without
		log.Warn("what must be bought cannot be told", "error", err)
		return nil
	}
	return found
}

// errSilent ends a command whose summary has said everything.
var errSilent = errors.New("")

func exitCodeOf(o report.Outcome) int {
	switch o {
	case report.Passed:
		return codeOK
	case report.Missed:
		return codeThreshold
	case report.Saturated:
		return codeSaturated
	case report.Interrupted:
		return codeInterrupted
	default:
		return codeFailed
	}
}

// linger keeps /metrics open for a last scrape.
func linger(ctx context.Context, d time.Duration, server *metricsServer) {
	if d <= 0 || server == nil || ctx.Err() != nil {
		return
	}
	_ = wait.For(ctx, d) // whoever stops it has seen enough
}
