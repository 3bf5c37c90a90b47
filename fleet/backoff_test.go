package fleet_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
)

// Devices wait between attempts as their back-off says, and longer after the hub said that it is busy.
func TestBackoff(t *testing.T) {
	for _, tt := range []struct {
		name     string
		group    fleet.Group
		code     byte
		low, top []time.Duration // of the waits after the first attempts
	}{
		{"exponential", fleet.Group{Backoff: schedule.ExponentialBackoff(), Throttled: schedule.ThrottledBackoff()}, 5, ms(100, 100, 100), ms(101, 126, 176)},
		{"exponential, busy", fleet.Group{Backoff: schedule.ExponentialBackoff(), Throttled: schedule.ThrottledBackoff()}, 3, ms(10000, 10000, 10000), ms(10001,
			11251, 13751)},
		{"steep", fleet.Group{Backoff: schedule.SteepBackoff()}, 3, ms(100, 180, 340), ms(101, 221, 461)},
		{"fixed", fleet.Group{Backoff: schedule.FixedBackoff()}, 3, ms(10000, 10000, 10000), ms(10001, 10001, 10001)},
		{"none", fleet.Group{Backoff: schedule.NoBackoff()}, 5, ms(0, 0, 0), ms(1, 1, 1)},
		{"nothing said", fleet.Group{}, 5, ms(100, 100, 100), ms(101, 126, 176)},
		{"nothing said, busy", fleet.Group{}, 3, ms(10000, 10000, 10000), ms(10001, 11251, 13751)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHub()
				h.code = tt.code
				f, rec := newFleet(t, h, 1, 20, tt.group)
				to(t, f, 20, 0)
				time.Sleep(35 * time.Second / 10 * time.Duration(1+tt.top[0]/time.Second))
				f.Stop(t.Context())
				for id, dials := range h.told().dials {
					for i := range tt.low {
						if gap := dials[i+1].Sub(dials[i]) - h.latency; gap < tt.low[i] || gap > tt.top[i] {
							t.Errorf("%s waited %v after attempt %d; want %v to %v", id, gap, i+1, tt.low[i], tt.top[i])
						}
					}
				}
				outcome := metrics.Refused
				if tt.code == 3 {
					outcome = metrics.Throttled
				}
				if x := rec.Snapshot().Find(metrics.OpConnect, "robots"); x.Count(outcome) != x.Ended() || x.Ended() < 80 {
					t.Errorf("%d of %d connections ended %s", x.Count(outcome), x.Ended(), outcome)
				}
			})
		})
	}
}

func ms(n ...int) []time.Duration {
	out := make([]time.Duration, len(n))
	for i, x := range n {
		out[i] = time.Duration(x) * time.Millisecond
	}
	return out
}
