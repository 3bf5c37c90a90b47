package fleet_test

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
)

// Groups go to numbers of their own, each on its line, and what a total then asks for comes and goes in the order of all.
func TestScaleGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		f, rec := groupsOfHundred(t, h, "robots", "gates")
		connected := func() (robots, gates int64) {
			for _, d := range rec.Snapshot().Devices {
				if d.State == fleet.StateConnected && d.Group == "robots" {
					robots = int64(d.Count)
				} else if d.State == fleet.StateConnected {
					gates = int64(d.Count)
				}
			}
			return robots, gates
		}
		for _, x := range []struct {
			goals                    []int
			halfRobots, halfGates    int64 // in the middle of ten seconds
			wantRobots, wantGates    int64
			connectRobots, connGates uint64
		}{
			{[]int{100, 5}, 50, 3, 100, 5, 100, 5},
			{[]int{-1, 25}, 100, 15, 100, 25, 100, 25},
			{[]int{0, 100}, 50, 63, 0, 100, 100, 100},
			{[]int{10, 0}, 5, 50, 10, 0, 110, 100},
		} {
			done := make(chan error, 1)
			go func() { done <- f.ScaleGroups(t.Context(), x.goals, 10*time.Second) }()
			time.Sleep(5*time.Second + 10*time.Millisecond)
			if r, g := connected(); r != x.halfRobots || g != x.halfGates {
				t.Errorf("half way to %v: %d robots, %d gates; want %d and %d", x.goals, r, g, x.halfRobots, x.halfGates)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if r, g := connected(); r != x.wantRobots || g != x.wantGates || f.Active() != int(r+g) {
				t.Errorf("at %v: %d robots, %d gates, %d active; want %d and %d", x.goals, r, g, f.Active(), x.wantRobots, x.wantGates)
			}
			at := rec.Snapshot()
			if r, g := at.Find(metrics.OpConnect, "robots").Scheduled(), at.Find(metrics.OpConnect, "gates").Scheduled(); r != x.connectRobots || g != x.connGates {
				t.Errorf("%d and %d connects by %v; want %d and %d", r, g, x.goals, x.connectRobots, x.connGates)
			}
		}
		// A storm hits those who are there, wherever they stand in the order.
		if n := f.Storm(1, 0, 1); n != 10 {
			t.Errorf("a storm of all cuts %d of 10", n)
		}
		time.Sleep(10 * time.Second)
		f.Stop(t.Context())
		if f.Active() != 0 {
			t.Errorf("%d are active after all", f.Active())
		}
		balanced(t, rec.Snapshot())
	})
}

// The number of devices follows its curve up and down, and a device that comes back soon is one device.
func TestScale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		f, rec := newFleet(t, h, 1, 100, fleet.Group{Report: fleet.Reporting{Types: types(t, "wifi", 1)}})
		began := time.Now()
		done := make(chan error)
		go func() {
			done <- f.Scale(t.Context(), schedule.Curve{{Duration: 10 * time.Second, To: 100}, {Duration: 5 * time.Second, From: 100, To: 20}})
		}()
		for _, want := range []struct {
			at time.Duration
			n  int
		}{{5 * time.Second, 50}, {10 * time.Second, 100}, {12500 * time.Millisecond, 60}, {15 * time.Second, 20}} {
			time.Sleep(time.Until(began.Add(want.at + 20*time.Millisecond)))
			if n := f.Counts()[fleet.StateConnected]; math.Abs(float64(n-want.n)) > 1 {
				t.Errorf("%d connected after %v; want %d", n, want.at, want.n)
			}
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		h.stall(time.Second) // who leaves now waits for an answer before it is gone
		for range 5 {
			to(t, f, 0, 0)
			to(t, f, 20, 0)
		}
		time.Sleep(5 * time.Second)
		if n := f.Counts()[fleet.StateConnected]; n != 20 || len(h.open) != 20 {
			t.Errorf("%d connected, %d connections; want 20", n, len(h.open))
		}
		f.Stop(t.Context())
		balanced(t, rec.Snapshot())
		if n := f.Counts()[fleet.StateWaiting]; n != 100 {
			t.Errorf("%d wait at the end; want all", n)
		}
	})
}

// Devices arrive at a rate, and leave at one.
func TestArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		f, _ := newFleet(t, h, 1, 100, fleet.Group{})
		constant := schedule.Curve{{Duration: time.Minute, From: 10, To: 10}}
		for _, tt := range []struct {
			goal int
			rate schedule.Curve
			n    int
			took time.Duration
		}{
			{50, constant, 50, 5 * time.Second},
			{50, constant, 50, 0},
			{30, constant, 30, 2 * time.Second},
			{90, schedule.Curve{{Duration: 10 * time.Second, To: 20}}, 90, 7745967 * time.Microsecond}, // t² = 60
			{100, schedule.Curve{{Duration: time.Second, From: 5, To: 5}}, 95, time.Second},
		} {
			began := time.Now()
			if err := f.Arrive(t.Context(), tt.goal, tt.rate); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); f.Active() != tt.n || (took-tt.took).Abs() > time.Millisecond {
				t.Errorf("to %d: %d after %v; want %d after %v", tt.goal, f.Active(), took, tt.n, tt.took)
			}
		}
		f.Stop(t.Context())
	})
}
