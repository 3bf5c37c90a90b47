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

// keptParts is what becomes of messages of one sensor to two boards with sessions, one of which is away for ten seconds, in a fleet of some parts.
func keptParts(t *testing.T, n, deliveries int, qos byte, lowers bool, expiry, timeout time.Duration) (account string, latest time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(link.V5, func(id string) []link.Filter {
			all := boards(id)
			for i := range all {
				all[i].QoS = qos
			}
			return all
		})
		b.lowers = lowers
		usual := fleet.Group{Timeout: timeout}
		s, l := usual, usual
		s.Name, s.IDs = "sensors", []string{"sensors-0"}
		s.Telemetry = fleet.Telemetry{Every: time.Second, QoS: 1, Deliveries: deliveries}
		l.Name, l.First, l.Listens, l.IDs = "boards", 1, true, []string{"boards-0", "boards-1"}
		l.Kept, l.Connect.SessionExpiry, l.Backoff = true, expiry, schedule.Backoff{Base: 10 * time.Second}
		config := fleet.Config{Target: b, Driver: b, Groups: []fleet.Group{s, l}}
		p, recs := divided(t, n, 50*time.Millisecond, config, func(p *post, part int) *fleet.Others {
			o := p.others(part)
			return &fleet.Others{
				Arrived: o.Arrived,
				Listens: func(l fleet.Listener) {
					o.Listens(l)
					o.Listens(l) // what is told twice has no effect
				},
			}
		})
		told := make(chan struct{})
		go func() {
			defer close(told)
			p.bring()
		}()
		p.each(func(f *fleet.Fleet) { to(t, f, 3, 0) })
		time.Sleep(5500 * time.Millisecond)
		b.drop("boards-0")
		time.Sleep(20 * time.Second)
		p.each(func(f *fleet.Fleet) { f.Pause(true) })
		time.Sleep(30 * time.Second)
		p.each(func(f *fleet.Fleet) { f.Stop(t.Context()) })
		close(p.arrived)
		<-told
		x, d := recs[0].Snapshot().Find(metrics.OpDelivery, "sensors"), p.fleets[0].Deliveries()[0]
		account = fmt.Sprintf("scheduled %d, ok %d, timeout %d, unanswered %d, dropped %v; %+v", x.Scheduled(), x.Count(metrics.OK), x.Count(metrics.Timeout),
			x.Count(metrics.Unanswered), x.Dropped, d)
		latest = x.Latency(false).Maximum()
	})
	return account, latest
}

// A subscriber of another part whose session is kept is as one of one's own: away, it misses what has QoS 0, and gets the rest when it is back, until the
// target forgets its session. Nothing of it is lost.
func TestKeptSubscribersOfOtherParts(t *testing.T) {
	for _, tt := range []struct {
		deliveries int
		qos        byte
		lowers     bool // the target grants QoS 0
		expiry     time.Duration
		timeout    time.Duration
		latest     time.Duration // the slowest delivery took no less
	}{
		{-1, 1, false, link.MaxExpiry, 20 * time.Second, 8 * time.Second},
		{-1, 0, false, link.MaxExpiry, 20 * time.Second, 0},
		{-1, 1, false, 3 * time.Second, 20 * time.Second, 0},
		{-1, 1, false, 3 * time.Second, 9 * time.Second, 0}, // the board is back before others know of all that came in time
		{2, 1, false, link.MaxExpiry, 20 * time.Second, 8 * time.Second},
		{2, 1, false, 2 * time.Second, 20 * time.Second, 0},
		{1, 0, false, link.MaxExpiry, 20 * time.Second, 0},
		{2, 0, false, link.MaxExpiry, 20 * time.Second, 0},
		{-1, 1, true, link.MaxExpiry, 20 * time.Second, 0},
		{2, 1, true, link.MaxExpiry, 20 * time.Second, 0},
	} {
		t.Run(fmt.Sprintf("%d deliveries, QoS %d, lowered %v, %v, %v", tt.deliveries, tt.qos, tt.lowers, tt.expiry, tt.timeout), func(t *testing.T) {
			want, _ := keptParts(t, 1, tt.deliveries, tt.qos, tt.lowers, tt.expiry, tt.timeout)
			for _, n := range []int{2, 3} {
				got, latest := keptParts(t, n, tt.deliveries, tt.qos, tt.lowers, tt.expiry, tt.timeout)
				if got != want || latest < tt.latest || (tt.deliveries < 0 || tt.qos == 0 || tt.lowers) && !strings.Contains(got, "timeout 0") {
					t.Errorf("%d parts, %v at most: %s\none fleet: %s", n, latest, got, want)
				}
			}
		})
	}
}

// Others hear late that a subscriber has left: what is sent meanwhile is not lost by the target, also when the subscriber is back, or away once more, before its
// time is up.
func TestSubscribersThatLeaveUnheard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(link.V5, boards)
		s, l := fleet.Group{Name: "sensors", Timeout: 20 * time.Second}, fleet.Group{Name: "boards", Timeout: 20 * time.Second, Listens: true, First: 10}
		s.Telemetry = fleet.Telemetry{Every: time.Second, QoS: 1, Deliveries: -1}
		for i := range 10 {
			s.IDs = append(s.IDs, fmt.Sprintf("sensors-%d", i))
		}
		l.IDs, l.Backoff = []string{"boards-0"}, schedule.Backoff{Base: 2 * time.Second}
		p, rec := &post{takes: 50 * time.Millisecond, arrived: make(chan fleet.Arrival, 10_000)}, metrics.NewRecorder(metrics.Options{})
		for part := range 2 {
			f, err := fleet.New(fleet.Config{
				Seed: 1, Target: b, Driver: b, Recorder: rec, Start: time.Now(), Groups: []fleet.Group{s, l}, Mine: func(index int) bool { return index/10 == part },
				Others: &fleet.Others{
					Arrived: func(a fleet.Arrival) { p.arrived <- a },
					Listens: func(l fleet.Listener) { time.AfterFunc(500*time.Millisecond, func() { p.fleets[1-part].Hears(l) }) },
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			p.fleets = append(p.fleets, f)
		}
		told := make(chan struct{})
		go func() {
			defer close(told)
			for a := range p.arrived {
				p.fleets[0].Reached(a)
			}
		}()
		p.each(func(f *fleet.Fleet) { to(t, f, 11, 0) })
		time.Sleep(5 * time.Second)
		b.drop("boards-0")
		time.Sleep(19 * time.Second)
		b.drop("boards-0")
		time.Sleep(30 * time.Second)
		p.each(func(f *fleet.Fleet) { f.Pause(true) })
		time.Sleep(30 * time.Second)
		p.each(func(f *fleet.Fleet) { f.Stop(t.Context()) })
		close(p.arrived)
		<-told
		x, d := rec.Snapshot().Find(metrics.OpDelivery, "sensors"), p.fleets[0].Deliveries()[0]
		if x.Count(metrics.Unanswered) < 8 || x.Count(metrics.OK) < 400 || x.Count(metrics.Timeout) != 0 || d.Missing != 0 {
			t.Errorf("%d ok, %d unanswered, %d timed out, %+v", x.Count(metrics.OK), x.Count(metrics.Unanswered), x.Count(metrics.Timeout), d)
		}
	})
}
