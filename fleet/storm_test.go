package fleet_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
)

// A storm cuts exactly its share, and the fleet counts who is gone and who came back.
func TestStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		f, rec := newFleet(t, h, 1, 1000, fleet.Group{Backoff: schedule.ExponentialBackoff()})
		to(t, f, 1000, time.Second)
		time.Sleep(time.Second)
		if n := f.Storm(0.8, time.Second, 1); n != 800 {
			t.Errorf("a storm of 80 %% cuts %d of 1,000", n)
		}
		time.Sleep(500 * time.Millisecond)
		if n := f.Losses(); n < 300 || n > 500 {
			t.Errorf("%d losses in the middle of the storm", n)
		}
		time.Sleep(10 * time.Second)
		if f.Losses() != 800 || f.Returns() != 800 || f.Lost() != 0 {
			t.Errorf("%d losses, %d returns, %d gone; want 800, 800, 0", f.Losses(), f.Returns(), f.Lost())
		}
		f.Stop(t.Context())
		balanced(t, rec.Snapshot())
	})
}

// groupsOfHundred is a fleet with a hundred devices in each of some groups.
func groupsOfHundred(t *testing.T, h *hub, names ...string) (*fleet.Fleet, *metrics.Recorder) {
	t.Helper()
	rec := metrics.NewRecorder(metrics.Options{})
	config := fleet.Config{Seed: 3, Target: h, Driver: h, Recorder: rec}
	for i, name := range names {
		g := fleet.Group{Name: name, First: i * 100}
		for n := range 100 {
			g.IDs = append(g.IDs, fmt.Sprintf("%s-%d", name, n))
		}
		config.Groups = append(config.Groups, g)
	}
	f, err := fleet.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return f, rec
}

// A storm on some groups cuts its share of their active devices, and nobody else.
func TestStormOnGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		f, rec := groupsOfHundred(t, h, "robots", "gates", "doors")
		to(t, f, 300, time.Second)
		time.Sleep(time.Second)
		connects := func(group string) uint64 { return rec.Snapshot().Find(metrics.OpConnect, group).Scheduled() }
		if n := f.Storm(0.5, time.Second, 1, "gates"); n != 50 {
			t.Errorf("a storm of half of the gates cuts %d", n)
		}
		time.Sleep(10 * time.Second)
		if n := f.Storm(1, 0, 2, "robots", "doors"); n != 200 {
			t.Errorf("a storm of all robots and doors cuts %d", n)
		}
		time.Sleep(10 * time.Second)
		if r, g, d := connects("robots"), connects("gates"), connects("doors"); r != 200 || g != 150 || d != 200 {
			t.Errorf("connects of robots, gates and doors: %d, %d, %d; want 200, 150, 200", r, g, d)
		}
		f.Stop(t.Context())
		balanced(t, rec.Snapshot())
	})
}
