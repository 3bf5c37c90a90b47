package fleet_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
)

// A device that sends one thing at a time, on a hub that stalls for a second: from the intended time the
// stall shows as the schedule says it must, from the send it hides. This is coordinated omission.
func TestAStallShowsFromTheIntendedTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const (
			devices = 100
			rate    = 2000.0
			whole   = 10 * time.Second
			stall   = time.Second
		)
		h := newHub()
		h.latency = 100 * time.Microsecond
		f, rec := newFleet(t, h, 1, devices, fleet.Group{Report: fleet.Reporting{Types: types(t, "wifi", 1)}, InFlight: 1, Wait: true})
		to(t, f, devices, time.Millisecond)
		time.Sleep(time.Second)
		before := rec.Snapshot()
		time.AfterFunc(whole/2, func() { h.stall(stall) })
		if err := f.Load(t.Context(), metrics.OpTwinReport, schedule.Curve{{Duration: whole, From: rate, To: rate}}); err != nil {
			t.Fatal(err)
		}
		f.Stop(t.Context())
		balanced(t, rec.Snapshot())
		x := rec.Snapshot().Sub(before).Find(metrics.OpTwinReport, "robots")
		if x.Scheduled() != uint64(rate*whole.Seconds()) || x.DroppedTotal() != 0 {
			t.Fatalf("%d scheduled, %v dropped; want %.0f and none", x.Scheduled(), x.Dropped, rate*whole.Seconds())
		}
		// What was due in the stall waited for its end, and in its device for what was due before. The
		// slowest hundredth of all became due in the stall's first tenth of a second.
		want := stall - time.Duration(0.01*float64(whole))
		got := x.Latency(false).Quantile(0.99)
		if diff := (got - want).Abs(); diff > 10*time.Millisecond {
			t.Errorf("p99 from the intended time = %v; the schedule says %v", got, want)
		}
		// Each device had one report under way when the stall began: 100 of 20,000 were slow.
		if got := x.Latency(true).Quantile(0.99); got > time.Millisecond {
			t.Errorf("p99 from the send = %v; want about %v", got, h.latency)
		}
		// All but the one that each device sent at the beginning of the stall started late.
		if want := uint64(rate*stall.Seconds()) - devices; x.Late < want*98/100 || x.Late > want*102/100 {
			t.Errorf("%d started late; want about %d", x.Late, want)
		}
	})
}

// Beyond the bound on unanswered operations, what is due is dropped and counted.
func TestInFlightDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		h.twins = false
		f, rec := newFleet(t, h, 1, 1, fleet.Group{Telemetry: fleet.Telemetry{Every: 100 * time.Millisecond, QoS: 1}, InFlight: 4})
		to(t, f, 1, time.Millisecond)
		time.Sleep(time.Second)
		h.stall(2 * time.Second)
		time.Sleep(3 * time.Second)
		f.Stop(t.Context())
		x := rec.Snapshot().Find(metrics.OpTelemetry, "robots")
		if x.Dropped[metrics.DropInFlight] != 16 || x.Scheduled() < 39 || x.Scheduled() > 41 {
			t.Errorf("%v dropped of %d; want 16 of 20 in the stall, of 40", x.Dropped, x.Scheduled())
		}
		balanced(t, rec.Snapshot())
	})
}

// A rate is kept and dealt evenly however many devices are away, and dropped when all are.
func TestRateIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		h.twins = false
		f, rec := newFleet(t, h, 1, 500, fleet.Group{Telemetry: fleet.Telemetry{Rated: true, QoS: 1}})
		to(t, f, 50, time.Second) // the other 450 wait
		time.Sleep(time.Second)
		if err := f.Load(t.Context(), metrics.OpTelemetry, schedule.Curve{{Duration: 10 * time.Second, From: 100, To: 300}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		x := rec.Snapshot().Find(metrics.OpTelemetry, "robots")
		if x.OnTime != 2000 || x.Scheduled() != 2000 {
			t.Errorf("%d on time of %d; want all 2000", x.OnTime, x.Scheduled())
		}
		if len(h.told().messages) != 50 {
			t.Fatalf("%d devices sent; want 50", len(h.told().messages))
		}
		for id, m := range h.told().messages {
			if len(m) != 40 {
				t.Errorf("%s sent %d; want 40", id, len(m))
			}
		}
		to(t, f, 0, 0)
		time.Sleep(time.Second)
		if err := f.Load(t.Context(), metrics.OpTelemetry, schedule.Curve{{Duration: time.Second, From: 100, To: 100}}); err != nil {
			t.Fatal(err)
		}
		f.Stop(t.Context())
		if x := rec.Snapshot().Find(metrics.OpTelemetry, "robots"); x.Dropped[metrics.DropNotConnected] != 100 {
			t.Errorf("dropped = %v; want 100 disconnected", x.Dropped)
		}
	})
}

// What is due while a connection is lost is dropped with a reason: nothing of a schedule is missing.
func TestNothingOfAScheduleIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		h.twins = false
		f, rec := newFleet(t, h, 1, 10, fleet.Group{Telemetry: fleet.Telemetry{Every: time.Second, QoS: 1}, Backoff: schedule.FixedBackoff()})
		to(t, f, 10, 0)
		time.Sleep(20 * time.Second)
		h.drop()
		time.Sleep(40 * time.Second)
		x := rec.Snapshot().Find(metrics.OpTelemetry, "robots")
		if x.Scheduled() < 599 || x.Scheduled() > 600 {
			t.Errorf("%d scheduled; want 10 a second for a minute", x.Scheduled())
		}
		if n := x.Dropped[metrics.DropNotConnected]; n < 98 || n > 102 {
			t.Errorf("%v dropped; want those of ten seconds", x.Dropped)
		}
		f.Stop(t.Context())
		balanced(t, rec.Snapshot())
	})
}

// A paused fleet stays connected and starts nothing on its own; what was due is counted.
func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		f, rec := newFleet(t, h, 1, 10, fleet.Group{
			Report:    fleet.Reporting{Types: types(t, "wifi", 1), Every: time.Second},
			Telemetry: fleet.Telemetry{Every: time.Second, QoS: 1},
		})
		to(t, f, 10, 0)
		time.Sleep(10 * time.Second)
		before := rec.Snapshot()
		f.Pause(true)
		time.Sleep(5 * time.Second)
		f.Pause(false)
		during := rec.Snapshot().Sub(before)
		for _, op := range []metrics.Operation{metrics.OpTwinReport, metrics.OpTelemetry} {
			if x := during.Find(op, "robots"); x.Started() != 0 || x.Dropped[metrics.DropPaused] != 50 {
				t.Errorf("%s: %d started, %v dropped; want 0 and 50 paused", op, x.Started(), x.Dropped)
			}
		}
		if n := f.Counts()[fleet.StateConnected]; n != 10 {
			t.Errorf("%d connected; want 10", n)
		}
		before = rec.Snapshot()
		time.Sleep(5 * time.Second)
		if x := rec.Snapshot().Sub(before).Find(metrics.OpTelemetry, "robots"); x.Started() != 50 {
			t.Errorf("%d started after the pause; want 50", x.Started())
		}
		f.Stop(t.Context())
	})
}
