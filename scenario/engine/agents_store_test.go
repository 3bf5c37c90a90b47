package engine_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/swarm/lead"
	"github.com/twinfleet/twinfleet/internal/swarm/protocol"
	"github.com/twinfleet/twinfleet/report"
)

// What the bus kept of the run is gone in the middle of it, as when its server comes back without its data: the run ends soon, as one that failed,
// with what was told until then; the devices leave, and the agents are free for other runs.
func TestStoreIsLost(t *testing.T) {
	for _, choice := range []string{lead.Fail, lead.Continue, lead.Redistribute} {
		t.Run(choice, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := &swarmed{text: calmly(), agents: 3, lead: lead.Options{OnLoss: choice}}
				x.during = func(s *swarm, _ *lead.Lead) {
					time.Sleep(25 * time.Second)
					b := s.server.Connect()
					defer b.Close()
					if err := b.Drop(t.Context(), protocol.StoreName("20261128-run")); err != nil {
						t.Error(err)
					}
				}
				start := time.Now()
				r := x.run(t)
				if took := time.Since(start); took < 24*time.Second || took > 35*time.Second {
					t.Errorf("it took %s", took)
				}
				if r.Outcome != report.Failed || !strings.Contains(r.Reason, "the last figures of agents are missing: agent-1, agent-2, agent-3: what NATS kept of the run is gone") {
					t.Error(figures(r))
				}
				for _, a := range r.Agents {
					if a.Lost == nil || a.Totals == nil || a.Totals.Scheduled == 0 || a.Totals.InFlight != 0 {
						t.Errorf("%s: %+v, %+v", a.Name, a.Lost, a.Totals)
					}
				}
			})
		})
	}
}

// The bus keeps nothing any more, as when its server's disk is full: the run ends, as one that failed, and says why. A time without it that is short
// is none of that.
func TestStoreIsFull(t *testing.T) {
	for _, tt := range []struct {
		after, long time.Duration
		outcome     report.Outcome
	}{{12 * time.Second, 5 * time.Second, report.Passed}, {12 * time.Second, time.Hour, report.Failed}, {45 * time.Second, time.Hour, report.Failed}} {
		t.Run(tt.after.String()+" "+tt.long.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := &swarmed{text: calmly(), agents: 3}
				x.during = func(s *swarm, _ *lead.Lead) {
					time.Sleep(tt.after)
					s.server.Fill(1)
					ctx, cancel := context.WithTimeout(t.Context(), tt.long)
					defer cancel()
					<-ctx.Done()
					s.server.Fill(0)
				}
				r := x.run(t)
				if took := r.Ended.Sub(r.Started); took > 2*time.Minute {
					t.Errorf("it took %s", took)
				}
				if r.Outcome != tt.outcome || tt.outcome == report.Failed && !strings.Contains(r.Reason, "NATS has kept nothing for 30.0s") {
					t.Error(figures(r))
				}
			})
		})
	}
}

// What the run was started with is no more, as a process of its hub: it ends as one that failed, and says why.
func TestWhatTheRunNeedsEnds(t *testing.T) {
	for _, after := range []time.Duration{0, 15 * time.Second} {
		t.Run(after.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := &swarmed{text: calmly(), agents: 2}
				x.during = func(_ *swarm, l *lead.Lead) {
					time.Sleep(after)
					l.Fail(errors.New("hub-2, a process of the embedded hub, ended: signal: killed"))
				}
				r := x.run(t)
				if took := r.Ended.Sub(r.Started); took > after+5*time.Second {
					t.Errorf("it took %s", took)
				}
				if r.Outcome != report.Failed || !strings.Contains(r.Reason, "hub-2, a process of the embedded hub, ended: signal: killed") {
					t.Error(figures(r))
				}
			})
		})
	}
}
