package fleet_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/fleet/protocol"
	"github.com/twinfleet/twinfleet/metrics"
)

func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, rec := own(t, newHub(), 3, fleet.Heartbeat(time.Second, func(d protocol.Device) string { return beats(d.ID) }))
		to(t, f, 3, 0)
		time.Sleep(10 * time.Second)
		f.Stop(t.Context())
		if x := rec.Snapshot().Find(metrics.OpHeartbeat, "robots"); x.Scheduled() != 30 {
			t.Errorf("%d heartbeats; want 30", x.Scheduled())
		}
	})
}
