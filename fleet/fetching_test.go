package fleet_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
	"github.com/twinfleet/twinfleet/schedule/chance"
)

// fetched stops a fleet of sensors and robots, some of which are away with sessions that are kept, and says what became of the messages.
func fetched(t *testing.T, v link.Version, robots func(*fleet.Group), trouble func(*broker)) (x *metrics.SeriesSnapshot, missing uint64, took time.Duration) {
	b := newBroker(v, boards)
	f, rec := keptFleet(t, b, 3, 4, func(s, l *fleet.Group) {
		s.Telemetry.Deliveries, s.Telemetry.Every, s.Timeout, l.Timeout = -1, 200*time.Millisecond, 12*time.Second, 12*time.Second
		l.Kept, l.Connect.SessionExpiry = true, link.MaxExpiry
		l.Session = schedule.Churn{Online: chance.Fixed(3 * time.Second), Offline: chance.Fixed(3 * time.Second)}
		if robots != nil {
			robots(l)
		}
	})
	to(t, f, 7, 2*time.Second)
	time.Sleep(10 * time.Second)
	trouble(b)
	began := time.Now()
	f.Stop(t.Context())
	took = time.Since(began)
	s := rec.Snapshot()
	balanced(t, s)
	if n := len(b.told().sessions); n != f.Kept() {
		t.Errorf("%d sessions are left, %d as the fleet says", n, f.Kept())
	}
	return s.Find(metrics.OpDelivery, "sensors"), f.Deliveries()[0].Missing, took
}

// Robots that are away when the fleet stops come back for what is kept for them: nothing of it is excused, and nothing is lost of a broker that
// loses nothing. The fleet waits no longer than it has to.
func TestWhoIsAwayAtTheEndFetchesWhatWaits(t *testing.T) {
	bothVersions(t, func(t *testing.T, v link.Version) {
		x, missing, took := fetched(t, v, nil, func(*broker) {})
		if x.Count(metrics.OK) != x.Scheduled() || missing != 0 || took > 4*time.Second {
			t.Errorf("%d of %d delivered, %d unanswered, %d timed out, %d missing, after %v", x.Count(metrics.OK), x.Scheduled(), x.Count(metrics.Unanswered),
				x.Count(metrics.Timeout), missing, took)
		}
	})
}

// What the broker has forgotten, or cannot give them as they do not get in, is lost; they try until its time is up, and no longer.
func TestWhatCannotBeFetchedAtTheEndIsLost(t *testing.T) {
	for name, trouble := range map[string]func(*broker){
		"forgotten": func(b *broker) {
			b.set(func() {
				for _, s := range b.sessions {
					s.queue = nil
				}
			})
		},
		"closed":      func(b *broker) { b.set(func() { b.away = true }) },
		"closed soon": func(b *broker) { time.AfterFunc(time.Millisecond, func() { b.set(func() { b.away = true }) }) },
	} {
		t.Run(name, func(t *testing.T) {
			bothVersions(t, func(t *testing.T, v link.Version) {
				x, missing, took := fetched(t, v, nil, trouble)
				if lost := x.Count(metrics.Timeout); lost < 20 || missing != lost || x.Count(metrics.Unanswered) > 0 || took > 26*time.Second {
					t.Errorf("%d timed out, %d missing, %d unanswered, after %v", lost, missing, x.Count(metrics.Unanswered), took)
				}
			})
		})
	}
}

// A broker that is away for a while when the fleet stops is tried until it is back.
func TestFetchingIsTriedUntilItWorks(t *testing.T) {
	bothVersions(t, func(t *testing.T, v link.Version) {
		x, missing, _ := fetched(t, v, func(l *fleet.Group) { l.Backoff = schedule.Backoff{Base: time.Second} }, func(b *broker) {
			b.set(func() { b.away = true })
			time.AfterFunc(6*time.Second, func() { b.set(func() { b.away = false }) })
		})
		if x.Count(metrics.OK) != x.Scheduled() || missing != 0 {
			t.Errorf("%d of %d delivered, %d timed out, %d missing", x.Count(metrics.OK), x.Scheduled(), x.Count(metrics.Timeout), missing)
		}
	})
}

// Robots that are scaled away while they are absent fetch what waits, too, and those that stay away for longer than a message's time lose it.
func TestScaledAwayWhileAbsent(t *testing.T) {
	bothVersions(t, func(t *testing.T, v link.Version) {
		for _, offline := range []time.Duration{3 * time.Second, time.Minute} {
			b := newBroker(v, boards)
			f, rec := keptFleet(t, b, 2, 1, func(s, l *fleet.Group) {
				s.Telemetry.Deliveries, s.Telemetry.Every, s.Timeout, l.Timeout = -1, 200*time.Millisecond, 12*time.Second, 12*time.Second
				l.Kept, l.Connect.SessionExpiry = true, link.MaxExpiry
				l.Session = schedule.Churn{Online: chance.Fixed(3 * time.Second), Offline: chance.Fixed(offline)}
			})
			to(t, f, 3, 0)
			time.Sleep(5 * time.Second) // it is away since 2 s
			if err := f.ScaleGroups(t.Context(), []int{2, 0}, 0); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Second)
			f.Stop(t.Context())
			s := rec.Snapshot()
			balanced(t, s)
			x, lost := s.Find(metrics.OpDelivery, "sensors"), f.Deliveries()[0].Missing
			if stays := offline > 12*time.Second; stays != (lost > 10) || x.Count(metrics.Timeout) != lost || !stays && x.Count(metrics.OK) < 40 {
				t.Errorf("away for %v: %d delivered, %d timed out, %d missing, %d unanswered, dropped %v", offline, x.Count(metrics.OK), x.Count(metrics.Timeout), lost,
					x.Count(metrics.Unanswered), x.Dropped)
			}
		}
	})
}

// Of a broker that loses nothing nothing is lost, nor excused, whenever the fleet stops, with whoever away, of sessions that are kept for ever; and the same
// holds of fleets that are parts of one, which hear of each other.
func TestNothingIsLostAtTheEnd(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		version := rapid.SampledFrom([]link.Version{link.V311, link.V5}).Draw(rt, "version")
		n := rapid.IntRange(1, 3).Draw(rt, "parts")
		shared := rapid.Bool().Draw(rt, "shared")
		online, offline := rapid.IntRange(500, 5000).Draw(rt, "online"), rapid.IntRange(500, 8000).Draw(rt, "offline")
		runs := rapid.IntRange(1000, 15_000).Draw(rt, "runs")
		drops := rapid.SliceOfN(rapid.IntRange(0, 3), 0, 3).Draw(rt, "drops")
		synctest.Test(t, func(t *testing.T) {
			b := newBroker(version, func(id string) []link.Filter {
				all := boards(id)
				if shared && id >= "boards-2" && len(all) > 0 {
					all[0].Topic = "$share/g/t/#"
				}
				return all
			})
			s, l := fleet.Group{Name: "sensors", Timeout: 12 * time.Second}, fleet.Group{Name: "boards", Timeout: 12 * time.Second, Listens: true, First: 5}
			s.Telemetry = fleet.Telemetry{Every: 300 * time.Millisecond, QoS: 1, Deliveries: -1}
			l.Backoff, l.Kept, l.Connect.SessionExpiry = schedule.Backoff{Base: 2 * time.Second}, true, link.MaxExpiry
			l.Session = schedule.Churn{
				Online: chance.Fixed(time.Duration(online) * time.Millisecond), Offline: chance.Fixed(time.Duration(offline) * time.Millisecond),
			}
			for i := range 5 {
				s.IDs = append(s.IDs, fmt.Sprintf("sensors-%d", i))
			}
			for i := range 4 {
				l.IDs = append(l.IDs, fmt.Sprintf("boards-%d", i))
			}
			p, recs := divided(t, n, 50*time.Millisecond, fleet.Config{Target: b, Driver: b, Groups: []fleet.Group{s, l}}, (*post).others)
			var telling sync.WaitGroup
			telling.Go(p.bring)
			p.each(func(f *fleet.Fleet) { to(t, f, 9, 0) })
			time.Sleep(time.Duration(runs) * time.Millisecond)
			for _, board := range drops {
				b.drop(fmt.Sprintf("boards-%d", board))
			}
			began := time.Now()
			p.each(func(f *fleet.Fleet) { f.Stop(t.Context()) })
			took := time.Since(began)
			close(p.arrived)
			telling.Wait()
			var ok, lost uint64
			for i, f := range p.fleets {
				balanced(t, recs[i].Snapshot())
				x, d := recs[i].Snapshot().Find(metrics.OpDelivery, "sensors"), f.Deliveries()[0]
				if x != nil {
					ok, lost = ok+x.Count(metrics.OK), lost+x.Count(metrics.Timeout)+x.Count(metrics.Unanswered)+d.Missing+d.Late+d.Duplicates
				}
			}
			if lost > 0 || ok == 0 || took > 12*time.Second {
				rt.Errorf("%d lost or excused, %d delivered, after %v", lost, ok, took)
			}
		})
	})
}
