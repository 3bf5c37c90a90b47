package fleet_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/protocol"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
	"github.com/twinfleet/twinfleet/schedule/chance"
)

// bothVersions runs a test over MQTT 3.1.1 and 5, in virtual time.
func bothVersions(t *testing.T, test func(t *testing.T, v link.Version)) {
	for name, v := range map[string]link.Version{"3.1.1": link.V311, "5": link.V5} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, v) })
		})
	}
}

// boards has all who are called so listen to everything below t/.
func boards(id string) []link.Filter {
	if strings.HasPrefix(id, "boards") {
		return []link.Filter{{Topic: "t/#", QoS: 1}}
	}
	return nil
}

// kept is a fleet of sensors that send once a second, and of boards that listen.
func keptFleet(t *testing.T, b *broker, sensors, listeners int, change func(s, l *fleet.Group)) (*fleet.Fleet, *metrics.Recorder) {
	t.Helper()
	usual := fleet.Group{Timeout: 5 * time.Second, Backoff: schedule.Backoff{Base: 2 * time.Second}}
	s, l := usual, usual
	s.Name, l.Name, l.First, l.Listens = "sensors", "boards", sensors, true
	s.Telemetry = fleet.Telemetry{Every: time.Second, QoS: 1}
	for i := range sensors {
		s.IDs = append(s.IDs, fmt.Sprintf("sensors-%d", i))
	}
	for i := range listeners {
		l.IDs = append(l.IDs, fmt.Sprintf("boards-%d", i))
	}
	change(&s, &l)
	rec := metrics.NewRecorder(metrics.Options{})
	f, err := fleet.New(fleet.Config{Seed: 1, Target: b, Driver: b, Recorder: rec, Groups: []fleet.Group{s, l}})
	if err != nil {
		t.Fatal(err)
	}
	return f, rec
}

// What a device with a session has sent stays under way when its connection is lost, and ends well when it is back, if that is in time.
func TestOperationsOutliveConnections(t *testing.T) {
	bothVersions(t, func(t *testing.T, v link.Version) {
		b := newBroker(v, boards)
		f, rec := keptFleet(t, b, 1, 0, func(s, _ *fleet.Group) { s.Kept, s.Telemetry.Every = true, 10*time.Second })
		to(t, f, 1, 0)
		for len(b.told().sent) == 0 {
			time.Sleep(time.Second)
		}
		b.set(func() { b.mute = true })
		time.Sleep(10 * time.Second) // the second message is under way
		b.set(func() { b.mute = false })
		b.drop()
		time.Sleep(4 * time.Second)
		f.Stop(t.Context())
		s := rec.Snapshot()
		balanced(t, s)
		x := s.Find(metrics.OpTelemetry, "sensors")
		if x.Started() != 2 || x.Count(metrics.OK) != 2 || x.Latency(false).Maximum() < 2*time.Second {
			t.Errorf("%d started, %d well, after %v at most; want 2, one of them after the device was back", x.Started(), x.Count(metrics.OK), x.Latency(false).Maximum())
		}
		if n := len(b.told().sessions); n != 0 || f.Kept() != 0 {
			t.Errorf("%d sessions are left, %d as the fleet says", n, f.Kept())
		}
	})
}

// It runs out of time while the device is away, and ends with the run.
func TestOperationsEndWhileAway(t *testing.T) {
	for _, tt := range []struct {
		away time.Duration
		want metrics.Outcome
	}{{20 * time.Second, metrics.Timeout}, {time.Second, metrics.Failed}} {
		bothVersions(t, func(t *testing.T, v link.Version) {
			b := newBroker(v, boards)
			f, rec := keptFleet(t, b, 1, 0, func(s, _ *fleet.Group) {
				s.Kept, s.Telemetry.Every, s.Backoff = true, 10*time.Second, schedule.Backoff{Base: time.Hour}
			})
			to(t, f, 1, 0)
			b.set(func() { b.mute = true })
			time.Sleep(10*time.Second + time.Millisecond)
			b.drop()
			time.Sleep(tt.away)
			b.set(func() { b.away = true })
			f.Stop(t.Context())
			s := rec.Snapshot()
			balanced(t, s)
			x := s.Find(metrics.OpTelemetry, "sensors")
			if x.Started() != 1 || x.Count(tt.want) != 1 && x.Count(metrics.Timeout) != 1 {
				t.Errorf("away for %v: %d started, %d %s", tt.away, x.Started(), x.Count(tt.want), tt.want)
			}
			if f.Kept() != 1 {
				t.Errorf("%d sessions are left as the fleet says; want 1: the broker takes no connection", f.Kept())
			}
		})
	}
}

// Who comes back to its session does not subscribe anew; who comes back to none does, also when that fails the first time.
func TestSubscriptionsAreKept(t *testing.T) {
	bothVersions(t, func(t *testing.T, v link.Version) {
		b := newBroker(v, boards)
		f, rec := keptFleet(t, b, 0, 1, func(_, l *fleet.Group) { l.Kept = true })
		to(t, f, 1, 0)
		time.Sleep(time.Second)
		b.drop()
		time.Sleep(5 * time.Second)
		if n := b.told().subs["boards-0"]; n != 1 {
			t.Errorf("%d subscriptions; want 1, its session was there", n)
		}
		b.drop()
		b.set(func() { delete(b.sessions, "boards-0"); b.latency = 6 * time.Second }) // SUBSCRIBE runs out of time
		time.Sleep(3 * time.Second)
		b.set(func() { b.latency = 10 * time.Millisecond })
		time.Sleep(30 * time.Second)
		if n := b.told().subs["boards-0"]; n != 2 || f.Counts()[fleet.StateConnected] != 1 {
			t.Errorf("%d subscriptions, %v; want 2, and the device connected", n, f.Counts())
		}
		f.Stop(t.Context())
		balanced(t, rec.Snapshot())
		if len(b.told().sessions) != 0 || f.Kept() != 0 {
			t.Errorf("%d sessions are left", len(b.told().sessions))
		}
		// MQTT 5 ends a session with its connection, 3.1.1 by one more that begins clean.
		if n, want := len(b.told().options["boards-0"]), map[link.Version]int{link.V5: 0, link.V311: 1}[v]; b.told().options["boards-0"][n-1].CleanSession != (want == 1) {
			t.Errorf("the last connection is %+v", b.told().options["boards-0"][n-1])
		}
	})
}

// A session whose end the target did not take is ended by one more connection, and is no session that is left.
func TestEndsThatAreNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(link.V5, boards)
		f, _ := keptFleet(t, b, 0, 3, func(_, l *fleet.Group) { l.Kept, l.Connect.SessionExpiry = true, time.Hour })
		to(t, f, 3, 0)
		time.Sleep(time.Second)
		b.set(func() { b.unread = true })
		f.Stop(t.Context())
		if n := len(b.told().sessions); n != 0 || f.Kept() != 0 {
			t.Errorf("%d sessions are left, %d as the fleet says", n, f.Kept())
		}
	})
}

// A run that is killed, or a target that is gone, keeps nobody waiting: what is left is counted.
func TestSessionsThatAreLeft(t *testing.T) {
	bothVersions(t, func(t *testing.T, v link.Version) {
		for _, kill := range []bool{true, false} {
			b := newBroker(v, boards)
			f, _ := keptFleet(t, b, 0, 1000, func(_, l *fleet.Group) { l.Kept = true })
			to(t, f, 1000, 0)
			time.Sleep(time.Second)
			b.set(func() { b.latency = time.Hour })
			b.drop()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if !kill {
				cancel()
				ctx, cancel = context.WithCancel(t.Context())
			}
			began := time.Now()
			f.Stop(ctx)
			cancel()
			if took := time.Since(began); took > time.Minute || kill && took > 2*time.Second || f.Kept() != 1000 {
				t.Errorf("killed %v: %d sessions are left after %v", kill, f.Kept(), took)
			}
		}
	})
}

// What devices ask for when they connect reaches the driver.
func TestWhatDevicesAskFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(link.V5, boards)
		f, _ := keptFleet(t, b, 2, 0, func(s, _ *fleet.Group) {
			s.Kept = true
			s.Will = fleet.Will{Delay: 5 * time.Second, Message: func(d protocol.Device) link.Message {
				return link.Message{Topic: "gone/" + d.ID, Payload: []byte("x"), QoS: 2, Retain: true}
			}}
			s.Connect = fleet.Connecting{
				SessionExpiry: time.Minute, ReceiveMaximum: 7, MaximumPacket: 1000, TopicAliases: 3,
				User: func(d protocol.Device) []link.UserProperty { return []link.UserProperty{{Name: "id", Value: d.ID}} },
			}
		})
		to(t, f, 2, 0)
		time.Sleep(time.Second)
		b.drop()
		time.Sleep(5 * time.Second)
		f.Stop(t.Context())
		for i := range 2 {
			id := fmt.Sprintf("sensors-%d", i)
			for n, o := range b.told().options[id] {
				if o.Will == nil || o.Will.Topic != "gone/"+id || o.Will.QoS != 2 || !o.Will.Retain || o.WillDelay != 5*time.Second || o.SessionExpiry != time.Minute ||
					o.ReceiveMaximum != 7 || o.MaximumPacket != 1000 || o.TopicAliases != 3 || o.Aliases != 3 || len(o.User) != 1 || o.User[0].Value != id ||
					o.Session == nil || o.CleanSession != (n == 0) {
					t.Errorf("connection %d of %s asks for %+v", n, id, o)
				}
			}
			if len(b.told().options[id]) != 2 {
				t.Errorf("%s connected %d times; want 2", id, len(b.told().options[id]))
			}
		}
	})
}

// What came for a subscriber while it was away, and was kept for it, is a delivery that takes as long as it was away. What a broker forgets, as it was
// told, is not its loss.
func TestDeliveriesToWhoComesBack(t *testing.T) {
	for name, tt := range map[string]struct {
		kept   bool
		expiry time.Duration
		ok     bool // all are delivered
	}{
		"kept": {true, 0, true}, "expired": {true, time.Second, false}, "not kept": {false, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBroker(link.V5, boards)
				f, rec := keptFleet(t, b, 1, 2, func(s, l *fleet.Group) {
					s.Telemetry.Deliveries, s.Timeout = -1, 20*time.Second
					l.Kept, l.Connect.SessionExpiry, l.Backoff = tt.kept, tt.expiry, schedule.Backoff{Base: 10 * time.Second}
				})
				to(t, f, 3, 0)
				time.Sleep(5 * time.Second)
				b.drop("boards-0")
				time.Sleep(20 * time.Second)
				f.Stop(t.Context())
				s := rec.Snapshot()
				balanced(t, s)
				x, sent := s.Find(metrics.OpDelivery, "sensors"), s.Find(metrics.OpTelemetry, "sensors")
				d := f.Deliveries()[0]
				if x.Scheduled() != 2*sent.Started() || d.Missing != 0 || d.Duplicates != 0 || d.OutOfOrder != 0 || x.Count(metrics.Timeout) != 0 {
					t.Errorf("%d deliveries of %d messages, %+v, %d timed out", x.Scheduled(), sent.Started(), d, x.Count(metrics.Timeout))
				}
				if all := x.Count(metrics.OK) == x.Scheduled(); all != tt.ok {
					t.Errorf("%d of %d are well", x.Count(metrics.OK), x.Scheduled())
				}
				if most := x.Latency(false).Maximum(); tt.ok && (most < 8*time.Second || most > 11*time.Second) {
					t.Errorf("deliveries took %v at most; want the absence", most)
				}
				if !tt.ok && x.Dropped[metrics.DropNotConnected] < 7 {
					t.Errorf("dropped %v; want those to the one that was away", x.Dropped)
				}
			})
		})
	}
}

// In whatever order connections break and brokers fall silent, all that was scheduled ends, and nobody hangs.
func TestKeptAccountsClose(t *testing.T) {
	for seed := range uint64(8) {
		bothVersions(t, func(t *testing.T, v link.Version) {
			b := newBroker(v, boards)
			f, rec := keptFleet(t, b, 4, 3, func(s, l *fleet.Group) {
				s.Telemetry.Deliveries, s.Telemetry.Every, s.Wait, s.InFlight = -1, 300*time.Millisecond, seed%2 == 0, 3
				s.Kept, l.Kept = seed%3 > 0, seed%3 < 2
				s.Session = schedule.Churn{Online: chance.Fixed(7 * time.Second), Offline: chance.Fixed(2 * time.Second)}
				s.Kinds = []fleet.Kind{{Name: "alarms", Telemetry: fleet.Telemetry{Every: time.Second, QoS: 2, Deliveries: -1}}}
			})
			to(t, f, 7, time.Second)
			draws := chance.NewStream(seed, "trouble")
			for i := range int64(12) {
				switch u := draws.Unit(0, i); {
				case u < 0.3:
					b.drop()
				case u < 0.5:
					b.drop("boards-1", "sensors-2")
				case u < 0.65:
					b.set(func() { b.mute = !b.mute })
				case u < 0.8:
					b.set(func() { b.away = !b.away })
				default:
					to(t, f, int(u*100)%7+1, time.Second)
				}
				time.Sleep(time.Duration(draws.Unit(1, i) * float64(4*time.Second)))
			}
			b.set(func() { b.away = false })
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			began := time.Now()
			f.Stop(ctx)
			if took := time.Since(began); took > time.Minute {
				t.Errorf("seed %d: the fleet stopped after %v", seed, took)
			}
			s := rec.Snapshot()
			balanced(t, s)
			for _, d := range f.Deliveries() {
				if d.Duplicates > 0 {
					t.Errorf("seed %d: %+v", seed, d)
				}
			}
			if f.Kept() != len(b.told().sessions) {
				t.Errorf("seed %d: %d sessions are left, %d as the fleet says", seed, len(b.told().sessions), f.Kept())
			}
		})
	}
}
