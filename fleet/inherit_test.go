package fleet_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
)

// first has boards listen to the first sensor.
func first(id string) []link.Filter {
	if strings.HasPrefix(id, "boards") {
		return []link.Filter{{Topic: "t/sensors-0", QoS: 1}}
	}
	return nil
}

// remembered is a session from before the run, with other subscriptions.
func remembered() *memory { return &memory{filters: []link.Filter{{Topic: "t/#", QoS: 1}}} }

// cleans are the connections of a client, in their order: C for one with a clean session.
func (b *broker) cleans(id string) (text string) {
	for _, o := range b.told().options[id] {
		if o.CleanSession {
			text += "C"
		} else {
			text += "k"
		}
	}
	return text
}

// A session that the target has from before the run is ended before anything of it counts, also where it cannot be ended at first: nothing that
// comes of it is held against the target.
func TestSessionsFromBefore(t *testing.T) {
	bothVersions(t, func(t *testing.T, v link.Version) {
		b := newBroker(v, first)
		b.sessions["boards-0"], b.eager = remembered(), true
		at := time.Now().Add(5 * time.Second)
		b.refuses = func(o link.Options) bool { // so that messages of this run wait in the session, and then that it cannot be ended
			board := strings.HasPrefix(o.ClientID, "boards")
			return board && (time.Now().Before(at) || v == link.V311 && o.CleanSession && time.Now().Before(at.Add(5*time.Second)))
		}
		usual := fleet.Group{Timeout: 5 * time.Second, Backoff: schedule.Backoff{Base: 2 * time.Second, Max: 2 * time.Second}}
		s, l := usual, usual
		s.Name, s.IDs, s.Telemetry = "sensors", []string{"sensors-0", "sensors-1"}, fleet.Telemetry{Every: time.Second, QoS: 1, Deliveries: -1}
		l.Name, l.IDs, l.First, l.Listens, l.Kept = "boards", []string{"boards-0", "boards-1"}, 2, true, true
		rec := metrics.NewRecorder(metrics.Options{})
		f, err := fleet.New(fleet.Config{
			Seed: 1, Target: b, Driver: b, Recorder: rec, Groups: []fleet.Group{s, l},
			OnContradiction: func(c fleet.Contradiction) { t.Errorf("%+v", c) },
		})
		if err != nil {
			t.Fatal(err)
		}
		to(t, f, 4, 0)
		time.Sleep(30 * time.Second)
		f.Pause(true)
		time.Sleep(10 * time.Second)
		f.Stop(t.Context())
		snap := rec.Snapshot()
		balanced(t, snap)
		if x := snap.Find(metrics.OpDelivery, "sensors"); x.Count(metrics.OK) < 30 || x.Ended() != x.Count(metrics.OK) {
			t.Errorf("%d of %d deliveries ended well", x.Count(metrics.OK), x.Ended())
		}
		want := map[link.Version]int{link.V311: 1, link.V5: 0}[v]
		if got := f.Reach()[1]; got.Inherited != want || got.Connected != 2 {
			t.Errorf("%+v; want %d of whom there was a session", got, want)
		}
		if n := len(b.told().sessions); n != 0 || f.Kept() != 0 {
			t.Errorf("%d sessions are left, %d as the fleet says", n, f.Kept())
		}
		if got := b.cleans("boards-0"); v == link.V311 && !strings.HasSuffix(got, "kCkCkC") {
			t.Errorf("connections of boards-0: %s", got)
		}
		// Each connection counts but those that end a session; of these, the ones that failed.
		if x := snap.Find(metrics.OpConnect, "boards"); v == link.V311 {
			failed := uint64(len(b.told().options["boards-0"])-2+len(b.told().options["boards-1"])-1) - x.Count(metrics.OK)
			if x.Count(metrics.Refused) != failed {
				t.Errorf("%d refused, %d connected; connections %s and %s", x.Count(metrics.Refused), x.Count(metrics.OK), b.cleans("boards-0"), b.cleans("boards-1"))
			}
		}
	})
}

// A session may be of this run, where a connection failed of which the target knows: it is none from before. One that could not be ended is left.
func TestSessionsOfUnknownOrigin(t *testing.T) {
	for name, tt := range map[string]struct {
		away      time.Duration
		never     bool // a clean connection is taken
		inherited int
		left      int
		cleans    string
	}{
		"from before":         {0, false, 1, 0, "kCkC"},
		"perhaps its own":     {time.Second, false, 0, 0, "kkCkC"},
		"it cannot be ended":  {0, true, 1, 1, "kC"},
		"nor what is its own": {time.Second, true, 0, 1, "kkC"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBroker(link.V311, boards)
				b.sessions["boards-0"] = remembered()
				b.away = tt.away > 0
				b.refuses = func(o link.Options) bool { return tt.never && o.CleanSession }
				f, rec := keptFleet(t, b, 0, 1, func(_, l *fleet.Group) { l.Kept = true })
				to(t, f, 1, 0)
				time.Sleep(tt.away)
				b.set(func() { b.away = false })
				time.Sleep(30 * time.Second)
				f.Stop(t.Context())
				balanced(t, rec.Snapshot())
				got := fmt.Sprint(f.Reach()[1].Inherited, f.Kept(), len(b.told().sessions))
				if want := fmt.Sprint(tt.inherited, tt.left, tt.left); got != want || !strings.HasPrefix(b.cleans("boards-0"), tt.cleans) {
					t.Errorf("inherited, left, at the broker: %s; want %s; connections %s; want %s", got, want, b.cleans("boards-0"), tt.cleans)
				}
			})
		})
	}
}

// The session of a device that was taken over is of this run, with what waits for it.
func TestSessionsOfAdoptedDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(link.V311, boards)
		b.sessions["boards-0"] = remembered()
		f, err := fleet.New(fleet.Config{
			Seed: 1, Target: b, Driver: b, Recorder: metrics.NewRecorder(metrics.Options{}), Mine: func(int) bool { return false },
			Groups: []fleet.Group{{Name: "boards", IDs: []string{"boards-0"}, Listens: true, Kept: true, Timeout: time.Minute}},
		})
		if err != nil {
			t.Fatal(err)
		}
		to(t, f, 1, 0)
		f.Adopt([]int{0}, func(int) string { return "boards-0" })
		time.Sleep(time.Second)
		if got, r := b.cleans("boards-0"), f.Reach()[0]; got != "k" || r.Inherited != 0 || r.Connected != 1 {
			t.Errorf("connections %s, %+v", got, r)
		}
		f.Stop(t.Context())
	})
}
