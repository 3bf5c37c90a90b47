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
	"github.com/twinfleet/twinfleet/schedule/chance"
)

// beats is a topic that the hub takes from a device.
func beats(id string) string { return "devices/" + id + "/messages/events/kind=beat" }

// own is a fleet of devices whose activities are the test's.
func own(t *testing.T, h *hub, devices int, activities ...fleet.Activity) (*fleet.Fleet, *metrics.Recorder) {
	t.Helper()
	g := fleet.Group{Name: "robots", Activities: activities}
	for i := range devices {
		g.IDs = append(g.IDs, fmt.Sprintf("robots-%d", i))
	}
	rec := metrics.NewRecorder(metrics.Options{Operations: []metrics.Operation{"heartbeat", "position"}})
	f, err := fleet.New(fleet.Config{Seed: 1, Target: h, Driver: h, Recorder: rec, Groups: []fleet.Group{g}})
	if err != nil {
		t.Fatal(err)
	}
	return f, rec
}

// A program's own activity is due, measured and accounted for as those of this package are, on a schedule of its own and at a rate.
func TestActivityOfAProgram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		h.latency = 20 * time.Millisecond
		beat := fleet.Activity{Operation: "heartbeat", Every: time.Second, Rated: true, Start: func(x *fleet.Turn) {
			x.Publish(link.Message{Topic: beats(x.Device.ID), QoS: 1, Payload: fmt.Appendf(nil, "%d %d", x.N, x.Rand.IntN(1000))})
			x.Publish(link.Message{Topic: beats("twice")}) // does nothing
		}}
		position := fleet.Activity{Operation: "position", AtOnce: true, Start: func(x *fleet.Turn) {
			x.Report(fmt.Appendf(nil, `{"position":%d}`, x.Device.Index))
		}}
		f, rec := own(t, h, 10, beat, position)
		to(t, f, 10, 0)
		time.Sleep(10 * time.Second)
		if err := f.Load(t.Context(), "heartbeat", schedule.Curve{{Duration: 5 * time.Second, From: 20, To: 20}}); err != nil {
			t.Fatal(err)
		}
		f.Stop(t.Context())
		balanced(t, rec.Snapshot())
		x := rec.Snapshot().Find("heartbeat", "robots")
		// One is due before its device is connected.
		if want := uint64(10*15 + 5*20); x.Scheduled() != want || x.Count(metrics.OK)+x.Dropped[metrics.DropNotConnected] != want || x.Count(metrics.OK) < want-1 {
			t.Errorf("%d heartbeats of %d, dropped %v; want %d", x.Count(metrics.OK), x.Scheduled(), x.Dropped, want)
		}
		if p := x.Latency(false); p.Minimum().Round(time.Millisecond) != h.latency || p.Maximum().Round(time.Millisecond) != h.latency {
			t.Errorf("heartbeats took %v to %v; want %v", p.Minimum(), p.Maximum(), h.latency)
		}
		if x := rec.Snapshot().Find("position", "robots"); x.Count(metrics.OK) != 10 || x.Scheduled() != 10 {
			t.Errorf("%d positions of %d; want one a connection", x.Count(metrics.OK), x.Scheduled())
		}
		for id, messages := range h.told().messages {
			for n, m := range messages {
				if !strings.HasPrefix(string(m.Payload), fmt.Sprintf("%d ", n)) || m.Topic != beats(id) {
					t.Errorf("message %d of %s: %s %s", n, id, m.Topic, m.Payload)
				}
			}
		}
	})
}

// What is due and starts nothing is dropped, and what is due without a connection too: nothing vanishes.
func TestActivityThatStartsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		f, rec := own(t, h, 2, fleet.Activity{Operation: "heartbeat", Every: time.Second, Start: func(*fleet.Turn) {}})
		to(t, f, 2, 0)
		time.Sleep(5 * time.Second)
		h.set(func() { h.away = true })
		h.drop()
		time.Sleep(5 * time.Second)
		f.Stop(t.Context())
		x := rec.Snapshot().Find("heartbeat", "robots")
		if x.Scheduled() != 20 || x.Started() != 0 || x.Dropped[metrics.DropOther] != 10 || x.Dropped[metrics.DropNotConnected] != 10 {
			t.Errorf("%d scheduled, %d started, dropped %v; want 20, none, and half of them for each reason", x.Scheduled(), x.Started(), x.Dropped)
		}
	})
}

// Two runs with one seed draw the same, and an activity that cannot be done is refused.
func TestActivityDrawsAndMistakes(t *testing.T) {
	draws := func() (all []int64) {
		synctest.Test(t, func(t *testing.T) {
			h := newHub()
			gaps, err := chance.ParseDistribution("~500ms")
			if err != nil {
				t.Fatal(err)
			}
			f, rec := own(t, h, 1, fleet.Activity{Operation: "heartbeat", Gaps: gaps, Start: func(x *fleet.Turn) {
				all = append(all, x.Rand.Int64())
				x.Publish(link.Message{Topic: beats(x.Device.ID)})
			}})
			to(t, f, 1, 0)
			time.Sleep(20 * time.Second)
			f.Stop(t.Context())
			balanced(t, rec.Snapshot())
		})
		return all
	}
	first, second := draws(), draws()
	if len(first) < 15 || fmt.Sprint(first) != fmt.Sprint(second) {
		t.Errorf("%d and %d draws: %v, %v", len(first), len(second), first, second)
	}
	for _, bad := range []fleet.Activity{
		{},
		{Operation: "heartbeat"},
		{Operation: "heartbeat", Every: -1, Start: func(*fleet.Turn) {}},
		{Start: func(*fleet.Turn) {}},
	} {
		h := newHub()
		_, err := fleet.New(fleet.Config{Target: h, Driver: h, Recorder: metrics.NewRecorder(metrics.Options{}), Groups: []fleet.Group{{
			Name: "g",
			IDs:  []string{"a"}, Activities: []fleet.Activity{bad},
		}}})
		if err == nil || !strings.Contains(err.Error(), "group g: an activity needs") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
