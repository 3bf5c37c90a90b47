package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/twinfleet/twinfleet/internal/dashboard"
	"github.com/twinfleet/twinfleet/internal/oserr"
	"github.com/twinfleet/twinfleet/internal/worker/freshness"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/clean"
	"github.com/twinfleet/twinfleet/scenario"
)

// live is the live page of a run. A nil one shows nothing.
type live struct {
	server *dashboard.Server
	url    string
	log    *slog.Logger
}

func addLiveFlags(c *cobra.Command) {
	f := c.Flags()
	f.String("ui-addr", "127.0.0.1:9466", "address that serves the live page; another port when this one is taken, unless it was asked for")
	f.Bool("no-ui", false, "serve no live page")
}

// newLive serves the page of a scenario's run. The default port may be another run's: then any other one serves.
func newLive(ctx context.Context, s settings, sc *scenario.Scenario, rec *metrics.Recorder, controls dashboard.Controls, log *slog.Logger) (*live, error) {
	addr := s.v.GetString("ui-addr")
	if s.v.GetBool("no-ui") || addr == "" {
		return nil, nil
	}
	o := dashboard.Options{
		Controls: controls, Logger: log, Thresholds: sc.Thresholds, Recorder: rec, Probe: freshness.ProbeName,
		Scenario: []byte(clean.Redact(string(sc.Source))),
	}
	for i := range sc.Stages {
		o.Stages = append(o.Stages, dashboard.Stage{Name: sc.Stages[i].Name, Duration: sc.Stages[i].Duration.Seconds()})
	}
	l := &live{server: dashboard.New(o), log: log}
	var err error
	l.url, err = l.server.Start(ctx, addr)
	if oserr.Is(err, oserr.InUse) && !s.given("ui-addr") {
		l.url, err = l.server.Start(ctx, freePort(addr))
	}
	if err != nil {
		return nil, usagef("--ui-addr %s: %w; give another address, or --no-ui", addr, err)
	}
	return l, nil
}

func (l *live) address() string {
	if l == nil {
		return ""
	}
	return l.url
}

// watching are those who watch the run by way of the page.
func (l *live) watching() []report.Observer {
	if l == nil {
		return nil
	}
	return []report.Observer{l.server}
}

func (l *live) close() {
	if l == nil {
		return
	}
	if err := l.server.Close(); err != nil {
		l.log.Debug("closing the live page", "error", err)
	}
}
