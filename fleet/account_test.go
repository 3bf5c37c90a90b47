package fleet_test

import (
	"context"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
	"github.com/twinfleet/twinfleet/schedule/chance"
)

const second = time.Second

// reporters are devices that report and send a message every so often, with a time-out of two seconds.
func reporters(t *testing.T, every time.Duration) fleet.Group {
	t.Helper()
	return fleet.Group{
		Report: fleet.Reporting{Types: types(t, "cellular", 1), Every: every}, Telemetry: fleet.Telemetry{Every: every},
		Timeout: 2 * second, Backoff: schedule.ExponentialBackoff(), InFlight: 1000,
	}
}

// A target that dies in the last seconds is not fast and not well: each operation is waited for until its own time is up.
func TestADeadEndCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		f, rec := newFleet(t, h, 1, 20, reporters(t, 200*time.Millisecond))
		rec.SetStage("hold")
		to(t, f, 20, second)
		time.Sleep(6 * second)
		h.set(func() { h.mute = true })
		rec.SetStage("dead")
		time.Sleep(second)
		rec.SetStage("")
		f.Finish()
		began := time.Now()
		f.Stop(t.Context())
		if took := time.Since(began); took < 1900*time.Millisecond || took > 2100*time.Millisecond {
			t.Errorf("the fleet stopped after %v; want the time-out of the last operation", took)
		}
		balanced(t, rec.Snapshot())
		hold, dead := rec.StageSnapshot("hold"), rec.StageSnapshot("dead")
		for _, op := range []metrics.Operation{metrics.OpTwinReport, metrics.OpTelemetry} {
			x := dead.Find(op, "robots")
			if x.Scheduled() != 100 || x.Count(metrics.Timeout) != 100 || x.Latency(false).Quantile(0.5) < 1900*time.Millisecond {
				t.Errorf("%s in the dead stage: %d scheduled, %d timed out, p50 %v; want all of 100, 2s", op, x.Scheduled(), x.Count(metrics.Timeout),
					x.Latency(false).Quantile(0.5))
			}
			if x := hold.Find(op, "robots"); x.Errors() != 0 {
				t.Errorf("%s: %d errors in the stage before", op, x.Errors())
			}
		}
	})
}

// What waits for its turn behind a target that does not answer is no better than what was sent: it is tried for one more
// time-out, and then has no answer either.
func TestADeadEndCountsWhatWaits(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer bool // in the last second the target is slow, and not dead
	}{{"dead", false}, {"slow", true}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHub()
				g := reporters(t, 100*time.Millisecond)
				g.InFlight, g.Wait, g.Telemetry = 1, true, fleet.Telemetry{}
				f, rec := newFleet(t, h, 1, 20, g)
				rec.SetStage("hold")
				to(t, f, 20, second)
				time.Sleep(3 * second)
				rec.SetStage("dead")
				h.set(func() { h.mute = !tt.answer; h.latency = 150 * time.Millisecond })
				time.Sleep(second)
				rec.SetStage("")
				f.Finish()
				began := time.Now()
				f.Stop(t.Context())
				if took := time.Since(began); took > 4100*time.Millisecond {
					t.Errorf("the fleet stopped after %v; want two time-outs at most", took)
				}
				balanced(t, rec.Snapshot())
				x := rec.StageSnapshot("dead").Find(metrics.OpTwinReport, "robots")
				good := uint64(0)
				if tt.answer {
					good = 200
				}
				if x.Scheduled() != 200 || x.Count(metrics.OK) != good || x.Errors() != 200-good || x.DroppedTotal() != 0 {
					t.Errorf("%d scheduled, %d ok, %d errors, dropped %v; want 200, %d of them ok, none dropped", x.Scheduled(), x.Count(metrics.OK), x.Errors(), x.Dropped,
						good)
				}
				if p50 := x.Latency(false).Quantile(0.5); !tt.answer && p50 < 2*second {
					t.Errorf("p50 = %v; want a time-out at least", p50)
				}
			})
		})
	}
}

// When somebody will not wait, what has no answer is unanswered, with the time that it has reached.
func TestAHardStopCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		f, rec := newFleet(t, h, 1, 20, reporters(t, 200*time.Millisecond))
		to(t, f, 20, second)
		time.Sleep(6 * second)
		h.set(func() { h.mute = true })
		time.Sleep(second)
		now, cancel := context.WithCancel(t.Context())
		cancel()
		f.Stop(now)
		balanced(t, rec.Snapshot())
		x := rec.Snapshot().Find(metrics.OpTwinReport, "robots")
		if x.Count(metrics.Unanswered) < 95 || x.Errors() != x.Count(metrics.Unanswered) || x.Latency(false).Maximum() < 900*time.Millisecond {
			t.Errorf("%d unanswered of %d, %d errors, at most %v; want about 100, up to a second", x.Count(metrics.Unanswered), x.Scheduled(), x.Errors(),
				x.Latency(false).Maximum())
		}
		if r := x.Reasons; len(r) != 1 || r[0].Outcome != "unanswered" || r[0].Reason != "the run was stopped first" {
			t.Errorf("reasons = %+v", r)
		}
	})
}

// A session that ends does not last longer because the target does not answer, and no operation is waited for longer
// than its time-out.
func TestSessionsKeepTheirTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		h.twins, h.mute = false, true
		g := fleet.Group{
			Telemetry: fleet.Telemetry{Every: 200 * time.Millisecond, QoS: 1}, Timeout: second, InFlight: 100,
			Session: schedule.Churn{Online: chance.Fixed(2 * second), Offline: chance.Fixed(second)},
		}
		f, rec := newFleet(t, h, 1, 10, g)
		to(t, f, 10, 0)
		time.Sleep(20*second - time.Millisecond)
		for id, dials := range h.told().dials {
			if len(dials) != 7 {
				t.Errorf("%s connected %d times in 20 s; want 7", id, len(dials))
			}
		}
		f.Stop(t.Context())
		balanced(t, rec.Snapshot())
		x := rec.Snapshot().Find(metrics.OpTelemetry, "robots")
		if x.Latency(false).Maximum() > 1001*time.Millisecond || x.Count(metrics.Timeout) != x.Started() || x.Started() < 600 {
			t.Errorf("%d of %d timed out, after at most %v; want all, after a second", x.Count(metrics.Timeout), x.Started(), x.Latency(false).Maximum())
		}
	})
}

// An offline time that is shorter than the wait for the last answers: the device comes late, and that is the target's doing.
func TestALateReturnIsTheTargetsDoing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		h.twins, h.mute = false, true
		g := fleet.Group{
			Telemetry: fleet.Telemetry{Every: 200 * time.Millisecond, QoS: 1}, Timeout: 5 * second, InFlight: 100,
			Session: schedule.Churn{Online: chance.Fixed(2 * second), Offline: chance.Fixed(second)},
		}
		f, rec := newFleet(t, h, 1, 5, g)
		to(t, f, 5, 0)
		time.Sleep(20 * second)
		f.Stop(t.Context())
		x := rec.Snapshot().Find(metrics.OpConnect, "robots")
		if x.Late == 0 || x.LateOwn != 0 || x.Latency(false).Maximum() < 3*second {
			t.Errorf("%d late, %d by the generator, at most %v; want some, none, and some four seconds", x.Late, x.LateOwn, x.Latency(false).Maximum())
		}
	})
}

// A target that takes connections and says nothing: connecting has the time-out of every operation.
func TestConnectingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		h.stall(time.Hour)
		g := reporters(t, second)
		g.Backoff = schedule.Backoff{Base: second, Max: second}
		f, rec := newFleet(t, h, 1, 10, g)
		to(t, f, 10, 0)
		time.Sleep(35 * second)
		f.Stop(t.Context())
		balanced(t, rec.Snapshot())
		x := rec.Snapshot().Find(metrics.OpConnect, "robots")
		if x.Count(metrics.Timeout) != x.Started() || x.Started() < 100 || x.Latency(false).Maximum() > 2001*time.Millisecond {
			t.Errorf("%d of %d connections timed out, at most %v; want all, about 12 a device, 2s", x.Count(metrics.Timeout), x.Started(), x.Latency(false).Maximum())
		}
		// The first failed attempt opens the gap: from then on what is due is dropped, and counted when it is due.
		if x := rec.Snapshot().Find(metrics.OpTelemetry, "robots"); x.Dropped[metrics.DropNotConnected] < 320 {
			t.Errorf("%v dropped of some 330 messages that were due", x.Dropped)
		}
	})
}

// What is due while the very first connection hangs is due all the same: the device was to be there.
func TestAFirstConnectionThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		h.stall(time.Hour)
		g := reporters(t, second)
		g.Timeout = 30 * second
		f, rec := newFleet(t, h, 1, 10, g)
		to(t, f, 10, 0)
		time.Sleep(10*second - time.Millisecond)
		now, cancel := context.WithCancel(t.Context())
		f.Finish()
		cancel()
		f.Stop(now)
		balanced(t, rec.Snapshot())
		for _, op := range []metrics.Operation{metrics.OpTelemetry, metrics.OpTwinReport} {
			if x := rec.Snapshot().Find(op, "robots"); x.Dropped[metrics.DropNotConnected] != 100 {
				t.Errorf("%s: %v dropped; want those of ten seconds", op, x.Dropped)
			}
		}
	})
}

// What is due while a device waits to reconnect is counted when it is due, not when it is back.
func TestDropsAreCountedAsTheyAreDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		g := reporters(t, second)
		g.Backoff = schedule.Backoff{Base: time.Minute, Max: time.Minute}
		f, rec := newFleet(t, h, 1, 10, g)
		to(t, f, 10, 0)
		time.Sleep(5 * second)
		rec.SetStage("away")
		h.set(func() { h.away = true })
		h.drop()
		for n := range 30 {
			before := rec.Snapshot().Find(metrics.OpTelemetry, "robots").DroppedTotal()
			time.Sleep(second)
			if after := rec.Snapshot().Find(metrics.OpTelemetry, "robots").DroppedTotal(); after-before != 10 {
				t.Fatalf("second %d: %d messages were dropped; want 10", n, after-before)
			}
		}
		if x := rec.StageSnapshot("away").Find(metrics.OpTelemetry, "robots"); x.DroppedTotal() != 300 || x.Started() != 0 {
			t.Errorf("%d dropped and %d started in the stage; want all of 300", x.DroppedTotal(), x.Started())
		}
		f.Stop(t.Context())
	})
}

// A device that is scaled away waits for its last answers, too, also when it is connecting.
func TestScalingDownWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		h.latency = 700 * time.Millisecond
		f, rec := newFleet(t, h, 1, 30, reporters(t, 250*time.Millisecond))
		to(t, f, 10, 0)
		time.Sleep(5 * second)
		to(t, f, 30, 500*time.Millisecond)
		to(t, f, 0, 0)
		time.Sleep(10 * second)
		s := rec.Snapshot()
		balanced(t, s)
		for i := range s.Series {
			if x := &s.Series[i]; x.Errors() > 0 {
				t.Errorf("%s: %d errors of a target that answers", x.Operation, x.Errors())
			}
		}
		if n := f.Counts()[fleet.StateWaiting]; n != 30 {
			t.Errorf("%d devices wait; want all of 30", n)
		}
		f.Stop(t.Context())
	})
}

// Whatever the target does and whenever, for every operation, group and stage
//
//	scheduled = ok + throttled + refused + error + timeout + unanswered + dropped
//
// and what was scheduled is what the devices' own schedules say.
func TestNothingVanishes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const n, every = 12, 300 * time.Millisecond
		seed := rapid.Uint64().Draw(rt, "seed")
		wait := rapid.Bool().Draw(rt, "wait")
		inFlight := rapid.IntRange(1, 12).Draw(rt, "in flight")
		hard := rapid.Bool().Draw(rt, "hard stop")
		type act struct {
			kind  string
			after time.Duration
			size  time.Duration
		}
		millis := func(most int, name string) time.Duration {
			return time.Duration(rapid.IntRange(0, most).Draw(rt, name)) * time.Millisecond
		}
		independent, err := chance.ParseDistribution("~" + every.String())
		if err != nil {
			rt.Fatal(err)
		}
		kinds := []string{"stall", "drop", "drop one", "away", "back", "refuse", "mute", "storm", "stage", "slow", "pause", "go on"}
		gaps := rapid.SampledFrom([]chance.Distribution{{}, chance.Uniform(every/2, 3*every/2), independent}).Draw(rt, "gaps")
		var acts []act
		for range rapid.IntRange(1, 12).Draw(rt, "acts") {
			acts = append(acts, act{rapid.SampledFrom(kinds).Draw(rt, "kind"), millis(2000, "after"), millis(5000, "size")})
		}
		synctest.Test(t, func(t *testing.T) {
			h := newHub()
			g := reporters(t, every)
			g.InFlight, g.Wait = inFlight, wait
			g.Telemetry.Gaps = gaps
			f, rec := newFleet(t, h, seed, n, g)
			rec.SetStage("ramp")
			to(t, f, n, 0)
			began := time.Now()
			time.Sleep(100 * time.Millisecond) // all are connected
			for i, a := range acts {
				time.Sleep(a.after)
				switch a.kind {
				case "stall":
					h.stall(a.size)
				case "drop":
					h.drop()
				case "drop one":
					h.drop("robots-003")
				case "away":
					h.set(func() { h.away = true })
				case "back":
					h.set(func() { h.away, h.mute, h.code = false, false, 0 })
				case "refuse":
					h.set(func() { h.code = byte(1 + a.size%5) })
				case "mute":
					h.set(func() { h.mute = true })
				case "storm":
					f.Storm(0.5, a.size, i)
				case "stage":
					rec.SetStage(string(rune('a' + i)))
				case "slow":
					h.set(func() { h.latency = a.size / 4 })
				case "pause":
					f.Pause(true)
				case "go on":
					f.Pause(false)
				}
			}
			over := time.Now()
			rec.SetStage("")
			f.Finish()
			ctx, cancel := context.WithCancel(t.Context())
			if hard {
				cancel()
			}
			f.Stop(ctx)
			cancel()
			whole, stages := rec.Snapshot(), rec.Stages()
			accounts(rt, whole, stages)
			why := uint64(0)
			for _, e := range rec.Losses() {
				why += e.Count
			}
			if n := uint64(f.Losses()); why < n { // those that were lost before they were of use are told of too
				rt.Errorf("%d reasons for %d connections that were lost", why, n)
			}
			if x := whole.Find(metrics.OpTelemetry, "robots"); !hard && x.Count(metrics.Unanswered) > 0 {
				rt.Errorf("%d unanswered, and nobody was in a hurry", x.Count(metrics.Unanswered))
			}
			var due, connected uint64
			for i := range n {
				var c schedule.Cursor
				due += uint64(schedule.NewCalendar(seed).Messages(i, every, gaps, false).Count(&c, 0, over.Sub(began)))
				connected++
			}
			if x := whole.Find(metrics.OpTelemetry, "robots"); x.Scheduled() != due {
				rt.Errorf("%d messages were scheduled; %d were due", x.Scheduled(), due)
			}
			if x := whole.Find(metrics.OpConnect, "robots"); x.Scheduled() < connected {
				rt.Errorf("%d connects of %d devices", x.Scheduled(), connected)
			}
		})
	})
}

// accounts holds the account of a run: of the whole, and of the stages, which add up to it.
func accounts(t fataler, whole *metrics.Snapshot, stages []*metrics.Snapshot) {
	t.Helper()
	balanced(t, whole)
	sum := &metrics.Snapshot{}
	for _, s := range stages {
		balanced(t, s)
		sum = sum.Merge(s)
	}
	for i := range whole.Series {
		x := &whole.Series[i]
		var outcomes, reasons uint64
		for _, o := range metrics.Outcomes() {
			outcomes += x.Count(o)
		}
		for _, r := range x.Reasons {
			if r.Outcome != metrics.LostConnection {
				reasons += r.Count
			}
		}
		if x.Scheduled() != outcomes+x.DroppedTotal() {
			t.Errorf("%s: %d scheduled, %d with an outcome, %d dropped", x.Operation, x.Scheduled(), outcomes, x.DroppedTotal())
		}
		if reasons != x.Errors()+x.Count(metrics.Throttled) {
			t.Errorf("%s: %d reasons for %d errors", x.Operation, reasons, x.Errors()+x.Count(metrics.Throttled))
		}
		y := sum.Find(x.Operation, x.Group)
		if x.Scheduled() == 0 && y == nil {
			continue
		}
		if y == nil || y.Scheduled() != x.Scheduled() || y.Ended() != x.Ended() || !maps.Equal(y.Dropped, x.Dropped) {
			t.Errorf("%s: the stages do not add up to %d scheduled, %d ended, %v dropped", x.Operation, x.Scheduled(), x.Ended(), x.Dropped)
		}
	}
}

// Who waits for the fleet reads a whole account, also when the last answer is still being told of.
func TestStopWaitsForWhatIsBeingCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, told := newHub(), 0
		f, err := fleet.New(fleet.Config{
			Groups: []fleet.Group{{Name: "robots", IDs: []string{"robots-000"}, Report: fleet.Reporting{Types: types(t, "cellular", 1)}, Timeout: 2 * second}},
			Target: h, Driver: h, Recorder: metrics.NewRecorder(metrics.Options{}),
			OnReported: func(fleet.Report) {
				time.Sleep(second)
				told++
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		to(t, f, 1, 0)
		time.Sleep(100 * time.Millisecond)
		f.Stop(t.Context())
		if told != 1 {
			t.Errorf("%d reports were told of; want the one", told)
		}
	})
}
