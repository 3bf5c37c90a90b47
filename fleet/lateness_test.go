package fleet_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
	"github.com/twinfleet/twinfleet/schedule/chance"
)

// In virtual time the generator is never late by its own doing, whatever the target does: what waits for an answer that makes
// room, for the last answers of a session or for a back-off waits for the target.
func TestLatenessOfTheTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		h.latency = 30 * time.Millisecond
		f, rec := brokerFleet(t, h, func(sensors, _ *fleet.Group) {
			sensors.InFlight, sensors.Wait = 1, true
			sensors.Telemetry.Every = 200 * time.Millisecond
			sensors.Session = schedule.Churn{Online: chance.Fixed(4 * time.Second), Offline: chance.Fixed(time.Second)}
		})
		to(t, f, 12, 2*time.Second)
		for range 3 {
			h.stall(1500 * time.Millisecond)
			time.Sleep(2500 * time.Millisecond)
		}
		f.Storm(0.5, time.Second, 1)
		time.Sleep(5 * time.Second)
		f.Stop(t.Context())
		s := rec.Snapshot()
		balanced(t, s)
		for i := range s.Series {
			if x := &s.Series[i]; x.LateOwn > 0 || x.OwnLag.Maximum() > time.Millisecond {
				t.Errorf("%s %s: %d of %d late by the generator's own doing, by up to %v", x.Operation, x.Group, x.LateOwn, x.Started(), x.OwnLag.Maximum())
			}
		}
		for _, op := range []metrics.Operation{metrics.OpTelemetry, metrics.OpDelivery} {
			if x := s.Select(op, ""); x.Late < 50 {
				t.Errorf("%d of %d %s started late; the stalls must show", x.Late, x.Started(), op)
			}
		}
	})
}
