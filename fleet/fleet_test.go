package fleet_test

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
)

// The n-th report and the n-th message of a device are the same with one seed, however often
// connections are lost; with another seed they are others.
func TestContentFollowsFromTheSeed(t *testing.T) {
	run := func(seed uint64, disturb func(*hub, *fleet.Fleet)) (h *hub) {
		synctest.Test(t, func(t *testing.T) {
			h = newHub()
			chain := schedule.NewChain(weights(t, "cellular wifi", 60, 40), map[string]schedule.Weighted[string]{
				"cellular": weights(t, "cellular wifi", 90, 10), "wifi": weights(t, "wifi cellular", 70, 30),
			})
			f, rec := newFleet(t, h, seed, 20, fleet.Group{
				Report:    fleet.Reporting{Types: chain, Every: time.Second, Extra: compile(t, map[string]any{"speed": "{{ uniform 0 120 }}", "n": "{{ seq }}"})},
				Telemetry: fleet.Telemetry{Every: 700 * time.Millisecond, QoS: 1, Payload: compile(t, map[string]any{"t": "{{ normal 21 3 }}", "s": `{{ pick "a" "b" }}`, "n": "{{ seq }}"})},
				Backoff:   schedule.ExponentialBackoff(),
			})
			to(t, f, 20, time.Second)
			for range 30 {
				disturb(h, f)
				time.Sleep(time.Second)
			}
			f.Stop(t.Context())
			balanced(t, rec.Snapshot())
		})
		return h
	}
	calm := run(42, func(*hub, *fleet.Fleet) {})
	round := 0
	broken := run(42, func(h *hub, f *fleet.Fleet) {
		round++
		switch round % 5 {
		case 1:
			h.drop()
		case 2:
			h.stall(1500 * time.Millisecond)
		case 3:
			f.Storm(0.5, time.Second, round)
		case 4:
			h.drop(fmt.Sprintf("robots-%03d", round%20))
		}
	})
	other := run(43, func(*hub, *fleet.Fleet) {})
	differ := 0
	for id := range calm.reports {
		a, b := calm.reports[id], broken.reports[id]
		if n := min(len(a), len(b)); n < 15 {
			t.Errorf("%s: only %d reports to compare", id, n)
		}
		for i := range min(len(a), len(b)) {
			if a[i] != b[i] {
				t.Fatalf("report %d of %s: %s and %s", i, id, a[i], b[i])
			}
			if i < len(other.reports[id]) && other.reports[id][i] != a[i] {
				differ++
			}
		}
		x, y := calm.messages[id], broken.messages[id]
		if n := min(len(x), len(y)); n < 15 {
			t.Errorf("%s: only %d messages to compare", id, n)
		}
		for i := range min(len(x), len(y)) {
			if string(x[i].Payload) != string(y[i].Payload) {
				t.Fatalf("message %d of %s: %s and %s", i, id, x[i].Payload, y[i].Payload)
			}
		}
	}
	if differ < 300 {
		t.Errorf("another seed changes %d reports only", differ)
	}
}

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
		if len(h.messages) != 50 {
			t.Fatalf("%d devices sent; want 50", len(h.messages))
		}
		for id, m := range h.messages {
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
		f, rec := newFleet(t, h, 1, 10, fleet.Group{Report: fleet.Reporting{Types: types(t, "wifi", 1), Every: time.Second}, Telemetry: fleet.Telemetry{Every: time.Second, QoS: 1}})
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

// Devices wait between attempts as their back-off says, and longer after the hub said that it is busy.
func TestBackoff(t *testing.T) {
	for _, tt := range []struct {
		name     string
		group    fleet.Group
		code     byte
		low, top []time.Duration // of the waits after the first attempts
	}{
		{"exponential", fleet.Group{Backoff: schedule.ExponentialBackoff(), Throttled: schedule.ThrottledBackoff()}, 5, ms(100, 100, 100), ms(101, 126, 176)},
		{"exponential, busy", fleet.Group{Backoff: schedule.ExponentialBackoff(), Throttled: schedule.ThrottledBackoff()}, 3, ms(10000, 10000, 10000), ms(10001, 11251, 13751)},
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
				for id, dials := range h.dials {
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

// Sessions last, and absences do, as the seed says, and a device that was away reports once more.
func TestChurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		churn := schedule.Churn{Online: schedule.Uniform(5*time.Second, 15*time.Second), Offline: schedule.Fixed(2 * time.Second)}
		f, rec := newFleet(t, h, 7, 5, fleet.Group{Report: fleet.Reporting{Types: types(t, "wifi", 1)}, Session: churn})
		to(t, f, 5, 0)
		time.Sleep(2 * time.Minute)
		f.Stop(t.Context())
		balanced(t, rec.Snapshot())
		stream := schedule.NewStream(7, "session")
		for i := range 5 {
			dials := h.dials[fmt.Sprintf("robots-%03d", i)]
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
			if n := len(h.reports[fmt.Sprintf("robots-%03d", i)]); n != len(dials) {
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
			for id, dials := range h.dials {
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

// Devices answer desired properties as IoT Plug and Play does, once, and the older of two not at all.
func TestDesiredAndMethods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		h.desired = `{"interval":5,"$version":3}`
		var told []string
		var mu sync.Mutex // protects the following
		var reporting []time.Time
		var reported []fleet.Report
		f, err := fleet.New(fleet.Config{
			Seed: 1, Target: h, Driver: h, Recorder: metrics.NewRecorder(metrics.Options{}),
			Groups:    []fleet.Group{{Name: "robots", IDs: []string{"r"}, Answer: true, Methods: fleet.Methods{Delay: schedule.Fixed(300 * time.Millisecond), Status: 202}}},
			OnDesired: func(u fleet.DesiredUpdate) { told = append(told, fmt.Sprint(u.Complete, u.Version)) },
			OnReporting: func(index int, sent time.Time) {
				mu.Lock()
				defer mu.Unlock()
				reporting = append(reporting, sent)
			},
			OnReported: func(r fleet.Report) {
				mu.Lock()
				defer mu.Unlock()
				reported = append(reported, r)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		to(t, f, 1, 0)
		time.Sleep(time.Second)
		for _, v := range []int{2, 4} {
			h.tell("r", link.Message{Topic: fmt.Sprintf("$iothub/twin/PATCH/properties/desired/?$version=%d", v), Payload: fmt.Appendf(nil, `{"interval":9,"old":null,"$version":%d}`, v)})
		}
		asked := time.Now()
		h.tell("r", link.Message{Topic: "$iothub/methods/POST/reboot/?$rid=1f"})
		time.Sleep(time.Second)
		h.drop()
		time.Sleep(time.Second) // the twin repeats version 3, which is answered already
		f.Stop(t.Context())
		if got := strings.Join(told, ", "); got != "true 3, false 4, true 3" {
			t.Errorf("told of %s", got)
		}
		want := []string{
			`{"interval":{"value":5,"ac":200,"av":3,"ad":"applied"}}`,
			`{"interval":{"value":9,"ac":200,"av":4,"ad":"applied"},"old":null}`,
		}
		if got := strings.Join(h.reports["r"], "\n"); got != strings.Join(want, "\n") {
			t.Errorf("answers:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
		}
		if r := h.replies["r"]; len(r) != 1 || r[0].topic != "$iothub/methods/res/202/?$rid=1f" || r[0].at.Sub(asked) != 300*time.Millisecond {
			t.Errorf("answers to the method: %v", r)
		}
		mu.Lock()
		defer mu.Unlock()
		for i, answered := range []int64{3, 4} {
			if len(reporting) != 2 || len(reported) != 2 || reported[i].Answered != answered || reported[i].Version != int64(i)+2 || !reported[i].Sent.Equal(reporting[i]) || reported[i].Acked.Sub(reporting[i]) != time.Millisecond {
				t.Fatalf("reporting at %v, reported %+v; want answers to 3 and 4", reporting, reported)
			}
		}
	})
}

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
