package engine_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/swarm/lead"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

// failing are agents that are never ready: the run is asked to stop while they say why.
type failing struct {
	engine.Agents
	stop func()
}

func (f *failing) Prepare(context.Context, engine.Work) (time.Time, error) {
	f.stop()
	return time.Time{}, fmt.Errorf("agent-1: %w", lead.ErrAgents)
}

// A run that is asked to stop while it waits for its agents was interrupted, as one that is stopped at any other time; what had failed by then
// stays a failure.
func TestStopWhileAgentsAreAwaited(t *testing.T) {
	for _, tt := range []struct {
		name    string
		waits   time.Duration // for agents; 0 for those that fail as the run is stopped
		end     func(e *engine.Engine, cancel func())
		outcome report.Outcome
		reason  string
	}{
		{"stop", time.Minute, func(e *engine.Engine, _ func()) { e.Stop() }, report.Interrupted, "stopped before its first stage"},
		{"at once", time.Minute, func(_ *engine.Engine, cancel func()) { cancel() }, report.Interrupted, "stopped at once before its first stage"},
		{"too few before", time.Second, func(e *engine.Engine, _ func()) { e.Stop() }, report.Failed, "0 of 2 are there"},
		{"failed as it was stopped", 0, func(e *engine.Engine, _ func()) { e.Stop() }, report.Failed, "agent-1: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, sc, p := swarmTarget(t, swarming)
				defer h.Close()
				s := newTestSwarm(t)
				b := s.server.Connect()
				defer b.Close()
				l, err := lead.New(lead.Options{Bus: b, Run: "20261128-run", Token: s.token, Agents: 2, Parcel: p, Wait: max(time.Second, tt.waits)})
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var e *engine.Engine
				o := engine.Options{Scenario: sc, Recorder: metrics.NewRecorder(metrics.Options{}), Agents: l}
				if tt.waits == 0 {
					o.Agents = &failing{l, func() { tt.end(e, cancel) }}
				}
				e = engine.New(engine.InMemory(engine.Sampled(o, calm()), h.Dial))
				if tt.waits > 0 {
					s.going.Go(func() {
						time.Sleep(3 * time.Second)
						tt.end(e, cancel)
					})
				}
				r := e.Run(ctx)
				s.going.Wait()
				if r.Outcome != tt.outcome || !strings.Contains(r.Reason, tt.reason) {
					t.Errorf("want %s, %s: %s", tt.outcome, tt.reason, figures(r))
				}
			})
		})
	}
}
