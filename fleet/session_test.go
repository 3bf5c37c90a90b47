package fleet_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
	"github.com/twinfleet/twinfleet/schedule/chance"
)

// Sessions last, and absences do, as the seed says, and a device that was away reports once more.
func TestChurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		churn := schedule.Churn{Online: chance.Uniform(5*time.Second, 15*time.Second), Offline: chance.Fixed(2 * time.Second)}
		f, rec := newFleet(t, h, 7, 5, fleet.Group{Report: fleet.Reporting{Types: types(t, "wifi", 1)}, Session: churn})
		to(t, f, 5, 0)
		time.Sleep(2 * time.Minute)
		f.Stop(t.Context())
		balanced(t, rec.Snapshot())
		stream := chance.NewStream(7, "session")
		for i := range 5 {
			dials := h.told().dials[fmt.Sprintf("robots-%03d", i)]
			if len(dials) < 8 {
				t.Fatalf("device %d connected %d times", i, len(dials))
			}
			for n := range len(dials) - 1 {
				online, offline := churn.Session(stream, i, int64(n))
				want := online + offline
				// Connecting, subscribing and saying farewell take some milliseconds.
				if got := dials[n+1].Sub(dials[n]); got < want || got > want+20*time.Millisecond {
					t.Errorf("session %d of device %d: %v; the seed says %v", n, i, got, want)
				}
			}
			if n := len(h.told().reports[fmt.Sprintf("robots-%03d", i)]); n != len(dials) {
				t.Errorf("device %d: %d reports in %d sessions", i, n, len(dials))
			}
		}
		if n := f.Losses(); n != 0 {
			t.Errorf("%d losses: who leaves on purpose is not lost", n)
		}
	})
}

// Tokens are renewed by connecting anew before they end: all at once, or spread.
func TestTokenRenewal(t *testing.T) {
	for spread, distinct := range map[time.Duration]bool{0: false, 20 * time.Second: true} {
		synctest.Test(t, func(t *testing.T) {
			h := newHub()
			f, rec := newFleet(t, h, 3, 10, fleet.Group{Tokens: fleet.Tokens{Life: time.Minute, Margin: 15 * time.Second, Spread: spread}})
			to(t, f, 10, 0)
			time.Sleep(46 * time.Second)
			f.Stop(t.Context())
			at := make(map[time.Duration]bool)
			for id, dials := range h.told().dials {
				if len(dials) < 2 {
					t.Fatalf("%s has not renewed its token", id)
				}
				age := dials[1].Sub(dials[0])
				if age < 45*time.Second-spread || age > 45*time.Second+20*time.Millisecond {
					t.Errorf("%s renewed after %v", id, age)
				}
				at[age] = true
			}
			if (len(at) > 5) != distinct {
				t.Errorf("spread %v: %d different times", spread, len(at))
			}
			if x := rec.Snapshot().Find(metrics.OpConnect, "robots"); x.Errors() != 0 {
				t.Errorf("%d errors", x.Errors())
			}
		})
	}
}
