package fleet_test

import (
	"testing"
	"time"

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
