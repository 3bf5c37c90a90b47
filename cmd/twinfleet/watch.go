package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/terminal"
	"github.com/twinfleet/twinfleet/internal/terminal/jsonlines"
	"github.com/twinfleet/twinfleet/internal/terminal/plain"
	"github.com/twinfleet/twinfleet/internal/terminal/runstate"
	"github.com/twinfleet/twinfleet/internal/terminal/view"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/clean"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/text"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

// watcher shows a run while it goes on, and takes the log lines that are written meanwhile.
type watcher interface {
	io.WriteCloser
	report.Observer
}

var (
	_ watcher = (*terminal.Display)(nil)
	_ watcher = (*plain.Writer)(nil)
	_ watcher = jsonWatcher{}
	_ watcher = quietJSON{}
	_ watcher = silent{}
)

// countEvery is how often a count that goes up is printed.
const countEvery = time.Second

// newWatcher is the one that the settings and the terminal ask for.
func newWatcher(e env, s settings, plan runstate.Plan, colored bool, controls terminal.Controls) watcher {
	switch {
	case s.v.GetBool("json") && s.v.GetBool("quiet"):
		return quietJSON{Writer: e.stderr}
	case s.v.GetBool("json"):
		return jsonWatcher{jsonlines.New(e.stdout, plan), e.stderr}
	case s.v.GetBool("quiet"):
		return silent{Writer: e.stderr}
	}
	if screen := e.screen(); screen != nil && !s.v.GetBool("plain") && e.terminal() >= view.MinWidth {
		screen.Color, screen.Alternate = colored, s.v.GetBool("alternate-screen")
		return terminal.Start(*screen, plan, controls)
	}
	return plain.New(e.stderr, plan, color.Style{Color: colored})
}

// controlsOf are what keys do to a run. To stop it they do what Ctrl-C does, so that there is one way to stop.
func controlsOf(eng *engine.Engine) terminal.Controls {
	return terminal.Controls{Pause: eng.Pause, Stop: func() {
		if self, err := os.FindProcess(os.Getpid()); err == nil {
			_ = self.Signal(os.Interrupt)
		}
	}}
}

// stopLog is where it is said that a run stops: a view that is drawn says so itself.
func stopLog(out watcher, log *slog.Logger) *slog.Logger {
	if _, drawn := out.(*terminal.Display); drawn {
		return slog.New(slog.DiscardHandler)
	}
	return log
}

// planOf is what a run will do, for those who watch it.
func planOf(sc *scenario.Scenario, pageURL, metricsURL string) runstate.Plan {
	p := runstate.Plan{Name: sc.Name, Description: clean.Text(sc.Description)}
	for _, t := range sc.Stages {
		p.Stages = append(p.Stages, runstate.Stage{Name: t.Name, Duration: t.Duration})
	}
	for _, g := range sc.Fleet.Groups {
		p.Groups = append(p.Groups, runstate.Group{Name: g.Name, Count: g.Count})
	}
	for _, l := range []runstate.Link{{Name: "live page", Address: pageURL}, {Name: "metrics", Address: metricsURL}} {
		if l.Address != "" {
			p.Links = append(p.Links, l)
		}
	}
	return p
}

// summarize ends the output of a run: with the summary for people or for programs, and where the reports are.
func summarize(e env, out watcher, record *report.Run, keep *keeper, colored bool) error {
	dir := keep.folder()
	switch j := out.(type) {
	case jsonWatcher:
		return j.Summary(record, dir)
	case quietJSON:
		return jsonlines.WriteSummary(e.stdout, record, dir)
	}
	if err := text.WriteWith(e.stdout, record, color.Style{Color: colored}, keep.shows.Percentiles); err != nil {
		return err
	}
	if dir == "" {
		return nil
	}
	_, err := fmt.Fprintf(e.stdout, "  %s\n", reportPaths(dir))
	return err
}

// jsonWatcher tells programs on standard output, and people of log lines on standard error.
type jsonWatcher struct {
	*jsonlines.Writer
	logs io.Writer
}

func (j jsonWatcher) Write(b []byte) (int, error) { return j.logs.Write(b) }

// quietJSON shows nothing but log lines, and is for a summary in JSON.
type quietJSON silent

func (quietJSON) Close() error { return nil }

// silent shows nothing but log lines.
type silent struct {
	io.Writer
	report.Funcs
}

func (silent) Close() error { return nil }

// logSink is where log lines go: to standard error, or to who draws on it meanwhile.
type logSink struct {
	mu sync.Mutex // protects w
	w  io.Writer
}

func (l *logSink) set(w io.Writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.w = w
}

func (l *logSink) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}
