package engine_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/swarm/agent"
	"github.com/twinfleet/twinfleet/internal/swarm/lead"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

// handed is a run on agents whose coordinators are lost, each after a time since the start, and which another takes over then. Nobody is left who
// hears the one before.
type handed struct {
	text   string
	agents int
	lead   lead.Options
	gone   []time.Duration     // when a coordinator is lost
	back   []time.Duration     // and the next one takes the run over
	during func(s *swarm)      // from the start on; may be nil
	sample func(report.Sample) // is shown what the last coordinator sees; may be nil
}

func (x *handed) run(t *testing.T) *report.Run {
	t.Helper()
	h, sc, p := swarmTarget(t, x.text)
	defer h.Close()
	s := newTestSwarm(t)
	defer s.over()
	for i := range x.agents {
		s.join(fmt.Sprintf("agent-%d", i+1), agent.Options{Dial: h.Dial, Sampler: calm()})
	}
	start := time.Now()
	if x.during != nil {
		s.going.Go(func() { x.during(s) })
	}
	for n := 0; ; n++ {
		conn := s.server.Connect()
		defer conn.Close()
		o := x.lead
		o.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})).With("coordinator", n)
		o.Bus, o.Run, o.Token, o.Agents, o.Parcel = conn, "20261128-run", s.token, x.agents, p
		l, err := lead.New(o)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		run := engine.Options{Scenario: sc, Recorder: metrics.NewRecorder(metrics.Options{}), Agents: l, Observers: []report.Observer{l.Observer()}}
		if n > 0 {
			if run.Resume, err = l.Takeover(t.Context(), sc); err != nil {
				t.Fatal(err)
			}
			run.Recorder = metrics.NewRecorder(metrics.Options{Start: run.Resume.Record.Started})
		}
		if n == len(x.gone) && x.sample != nil {
			run.Observers = append(run.Observers, report.Funcs{OnSample: x.sample})
		}
		e := engine.New(engine.InMemory(engine.Sampled(run, calm()), h.Dial))
		if n == len(x.gone) {
			return e.Run(t.Context())
		}
		ctx, kill := context.WithCancel(t.Context())
		s.going.Go(func() { e.Run(ctx) })
		time.Sleep(time.Until(start.Add(x.gone[n])))
		conn.Cut(errors.New("gone"))
		kill()
		l.Close()
		time.Sleep(time.Until(start.Add(x.back[n])))
	}
}
