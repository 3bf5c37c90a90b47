package engine_test

import (
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
