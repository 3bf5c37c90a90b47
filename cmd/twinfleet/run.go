package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/twinfleet/twinfleet/internal/report"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

func newRun(e env) *cobra.Command {
	c := &cobra.Command{
		Use:   "run SCENARIO",
		Short: "Run a scenario and say whether the target held",
		Long: `Run a scenario: open its target, make the identities, start the fleet and the service side, walk
through the stages, and end with a summary and a verdict. Ctrl-C once stops politely and still
reports; twice stops at once.

Exit codes: 0 passed, 1 the run failed, 2 the scenario or the usage is wrong, 98 the generator
was the bottleneck, 99 a threshold was missed or had no data, 130 interrupted.`,
		Example: "  twinfleet run configs/scenarios/connectivity.yaml\n  twinfleet run my.yaml --set fleet.groups.robots.count=100 --set seed=7",
		Args:    cobra.ExactArgs(1),
	}
	addCommonFlags(c)
	addScenarioFlags(c)
	f := c.Flags()
	f.String("metrics-addr", "127.0.0.1:9464", "address that serves /metrics for Prometheus; none when empty")
	f.Duration("linger", 0, "keep /metrics open so long after the run, for a last scrape")
	f.String("out", "runs", "folder that takes a record of the run with its reports; none when empty")
	f.Bool("force", false, "start although this machine has too little for the scenario")
	f.Bool("allow-saturated", false, "let the run pass although the generator was the bottleneck")
	addLiveFlags(c)
	f.Bool("quiet", false, "print no progress, only the summary")
	f.String("color", "auto", "colours in the summary: auto, always or never")
	c.RunE = func(cmd *cobra.Command, args []string) error { return runScenario(cmd.Context(), e, cmd, args[0]) }
	return c
}

func runScenario(ctx context.Context, e env, cmd *cobra.Command, file string) error {
	s, err := loadSettings(cmd)
	if err != nil {
		return err
	}
	log, err := s.logger(e.stderr)
	if err != nil {
		return err
	}
	sc, err := loadScenario(file, s)
	if err != nil {
		return err
	}
	if err := preflight(sc, s.v.GetBool("force")); err != nil {
		return err
	}
	color, err := s.color(e)
	if err != nil {
		return err
	}
	rec := metrics.NewRecorder(metrics.Options{})
	server, err := serveMetrics(s.v.GetString("metrics-addr"), rec, log)
	if err != nil {
		return err
	}
	defer server.close()
	out := &console{w: e.stderr, quiet: s.v.GetBool("quiet"), style: report.Style{Color: color}}
	keep := &keeper{root: s.v.GetString("out"), scenario: sc.Source, log: log}
	var page *live
	eng := engine.New(engine.Options{
		Scenario: sc, Recorder: rec, Logger: log, Version: versionText(), AllowSaturated: s.v.GetBool("allow-saturated"),
		Begin: func(r *report.Run) error {
			page.begin(r)
			return keep.begin(r)
		},
		Event: func(ev engine.Event) {
			out.event(ev)
			if event, ok := notable(ev); ok {
				keep.event(event)
				page.event(event)
			}
		},
		Progress: func(p engine.Progress) {
			out.progress(p)
			keep.progress(p)
			page.progress(p)
		},
		OnTarget: func(t engine.Target) {
			if t.Hub != nil {
				registerHub(rec, t.Hub)
			}
		},
	})
	if page, err = newLive(ctx, cmd, s, sc, eng, log); err != nil {
		return err
	}
	defer page.close()
	out.head(sc.Name, sc.Description, page.address(), server.url())
	engine.RelaxGC()
	// Signals are watched until the summary is out: one that comes late must not take it away.
	lingering, noLinger := context.WithCancel(ctx)
	defer noLinger()
	hard, done := e.stopper(ctx, log, func() {
		eng.Stop()
		noLinger()
	})
	defer done()
	record := eng.Run(hard)
	dir := keep.end(record)
	page.end(record)
	if err := report.WriteSummary(e.stdout, record, out.style); err != nil {
		return err
	}
	if dir != "" {
		fmt.Fprintf(e.stdout, "  %s\n", reportPaths(dir))
	}
	linger(lingering, s.v.GetDuration("linger"), server)
	return withCode(exitCodeOf(record.Outcome), errSilent)
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
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// console prints what a person follows while a run goes on, on standard error: one line a second,
// and a line for everything that happens.
type console struct {
	w     io.Writer
	quiet bool
	style report.Style

	mu   sync.Mutex // orders lines
	last time.Time  // of the last line about progress in a count
}

func (c *console) head(name, description, pageURL, metricsURL string) {
	if c.quiet {
		return
	}
	if description != "" {
		name += ": " + description
	}
	fmt.Fprintln(c.w, name)
	if pageURL != "" {
		fmt.Fprintf(c.w, "live page at %s\n", pageURL)
	}
	if metricsURL != "" {
		fmt.Fprintf(c.w, "metrics at %s\n", metricsURL)
	}
}

// countEvery is how often a count that goes up is printed.
const countEvery = time.Second

func (c *console) event(ev engine.Event) {
	if c.quiet {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	at := fmt.Sprintf("%7s  ", report.Duration(ev.At))
	switch ev.Kind {
	case engine.EventTarget:
		fmt.Fprintf(c.w, "%starget: %s\n", at, ev.Detail)
	case engine.EventProvision, engine.EventTagging:
		if ev.Done < ev.Total && time.Since(c.last) < countEvery {
			return
		}
		if ev.Done == ev.Total && ev.Kind == engine.EventProvision && ev.Detail == "" && ev.Text == "identities made" {
			return // the line with the time it took follows
		}
		c.last = time.Now()
		took := ""
		if ev.Detail != "" {
			took = " in " + ev.Detail
		}
		fmt.Fprintf(c.w, "%s%s: %s of %s%s\n", at, ev.Text, report.Count(int64(ev.Done)), report.Count(int64(ev.Total)), took)
	case engine.EventStage:
		fmt.Fprintf(c.w, "%sstage %d of %d: %s (%s)\n", at, ev.Done, ev.Total, ev.Text, ev.Detail)
	case engine.EventStep:
		mark := c.style.Mark(ev.OK)
		fmt.Fprintf(c.w, "%s%s %s\n             %s\n", at, mark, ev.Text, ev.Detail)
	case engine.EventStopping:
	default:
		fmt.Fprintf(c.w, "%s%s: %s\n", at, ev.Text, ev.Detail)
	}
}

func (c *console) progress(p engine.Progress) {
	if c.quiet || p.Interval.Elapsed < countEvery/2 { // the rest at the end is too short for a rate
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintln(c.w, report.ProgressLine(p.Stage, p.Total, p.Interval))
}
