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

// The last device of a ramp is due before the ramp is over, and has the time to connect; so has the last of
// those who arrive at a rate, and so is the last event of a rate. The same downwards: who is to leave has left.
func TestTheLastIsDueBeforeTheEnd(t *testing.T) {
	const whole = 2 * time.Second
	for _, n := range []int{1, 2, 4, 99, 100} {
		rate := schedule.Curve{{Duration: whole, From: float64(n) / 2, To: float64(n) / 2}}
		for name, change := range map[string]func(t *testing.T, f *fleet.Fleet, goal int) error{
			"ramp": func(t *testing.T, f *fleet.Fleet, goal int) error {
				return f.Scale(t.Context(), schedule.Curve{{Duration: whole, From: float64(f.Active()), To: float64(goal)}})
			},
			"rate": func(t *testing.T, f *fleet.Fleet, goal int) error { return f.Arrive(t.Context(), goal, rate) },
		} {
			synctest.Test(t, func(t *testing.T) {
				h := newHub()
				f, rec := newFleet(t, h, 1, n, fleet.Group{Report: fleet.Reporting{Types: types(t, "wifi", 1)}, Telemetry: fleet.Telemetry{Rated: true}})
				began := time.Now()
				if err := change(t, f, n); err != nil {
					t.Fatal(err)
				}
				at := rec.Snapshot()
				if x := at.Find(metrics.OpConnect, "robots"); x.Count(metrics.OK) != uint64(n) || f.Active() != n || time.Since(began) != whole {
					t.Errorf("%s of %d: %d connected and %d active after %v", name, n, x.Count(metrics.OK), f.Active(), time.Since(began))
				}
				if x := at.Find(metrics.OpTwinReport, "robots"); x.Count(metrics.OK) != uint64(n) {
					t.Errorf("%s of %d: %d reported", name, n, x.Count(metrics.OK))
				}
				if err := f.Load(t.Context(), metrics.OpTelemetry, rate); err != nil {
					t.Fatal(err)
				}
				if x := rec.Snapshot().Find(metrics.OpTelemetry, "robots"); x.Scheduled() != uint64(n) || x.Count(metrics.OK) != uint64(n) {
					t.Errorf("%s of %d: %d messages are due, %d are sent", name, n, x.Scheduled(), x.Count(metrics.OK))
				}
				if err := change(t, f, 0); err != nil {
					t.Fatal(err)
				}
				if left := f.Counts()[fleet.StateConnected]; f.Active() != 0 || left != 0 || time.Since(began) != 3*whole {
					t.Errorf("%s of %d: %d are left after %v", name, n, left, time.Since(began))
				}
				f.Stop(t.Context())
				balanced(t, rec.Snapshot())
			})
		}
	}
}

// A ramp that is cut into stages, where each begins as the one before ended, starts each device once, at the
// times of the whole.
func TestStagesDoNotSkip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		f, rec := newFleet(t, h, 1, 100, fleet.Group{})
		began := time.Now()
		for _, n := range []int{1, 2, 10, 11, 60, 100} {
			to(t, f, n, time.Duration(n-f.Active())*100*time.Millisecond)
		}
		if x := rec.Snapshot().Find(metrics.OpConnect, "robots"); x.Count(metrics.OK) != 100 || time.Since(began) != 10*time.Second {
			t.Errorf("%d connected after %v", x.Count(metrics.OK), time.Since(began))
		}
		f.Stop(t.Context())
		at := make(map[time.Duration]bool)
		for id, dials := range h.told().dials {
			if len(dials) != 1 {
				t.Errorf("%s dialled %d times", id, len(dials))
			}
			at[dials[0].Sub(began).Round(time.Microsecond)] = true
		}
		for i := range 100 {
			if due := time.Duration(i)*100*time.Millisecond + 50*time.Millisecond; !at[due] {
				t.Errorf("nobody came after %v", due)
			}
		}
	})
}

// A session is as long as it is, however often the device connects anew in it: to renew its token, or because
// it lost its connection.
func TestSessionsOutlastConnections(t *testing.T) {
	for name, tt := range map[string]struct {
		tokens fleet.Tokens
		storms bool
		dials  int
	}{
		"one connection a session": {dials: 3},
		"tokens are renewed":       {tokens: fleet.Tokens{Life: 4 * time.Second, Margin: time.Second}, dials: 11}, // after 3 s, 6 s and 9 s of each ten
		"connections are lost":     {storms: true, dials: 6},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newHub()
			h.latency = 0
			f, _ := newFleet(t, h, 1, 1, fleet.Group{Tokens: tt.tokens, Session: schedule.Churn{
				Online:  chance.Fixed(10 * time.Second),
				Offline: chance.Fixed(5 * time.Second),
			}})
			to(t, f, 1, 0)
			offline := time.Duration(0)
			time.Sleep(500 * time.Millisecond)
			for at := range 38 { // three sessions, of which the last is cut short
				time.Sleep(time.Second)
				if f.Counts()[fleet.StateOffline] == 1 {
					offline += time.Second
				}
				if tt.storms && at%15 == 4 {
					f.Storm(1, 0, at)
				}
			}
			f.Stop(t.Context())
			if dials := len(h.told().dials["robots-000"]); dials != tt.dials || offline < 9*time.Second || offline > 11*time.Second {
				t.Errorf("%s: %d dials, offline for %v; want %d, some 10 s", name, dials, offline, tt.dials)
			}
		})
	}
}
