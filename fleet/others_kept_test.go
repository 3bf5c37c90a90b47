package fleet_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
)

// keptParts is what becomes of messages of one sensor to two boards with sessions, one of which is away for ten seconds, in a fleet of some parts.
func keptParts(t *testing.T, n, deliveries int, qos byte, expiry time.Duration) (account string, latest time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(link.V5, func(id string) []link.Filter {
			all := boards(id)
			for i := range all {
				all[i].QoS = qos
			}
			return all
		})
		usual := fleet.Group{Timeout: 20 * time.Second}
		s, l := usual, usual
		s.Name, s.IDs = "sensors", []string{"sensors-0"}
		s.Telemetry = fleet.Telemetry{Every: time.Second, QoS: 1, Deliveries: deliveries}
		l.Name, l.First, l.Listens, l.IDs = "boards", 1, true, []string{"boards-0", "boards-1"}
		l.Kept, l.Connect.SessionExpiry, l.Backoff = true, expiry, schedule.Backoff{Base: 10 * time.Second}
		p, start := &post{takes: 50 * time.Millisecond, arrived: make(chan fleet.Arrival, 1000)}, time.Now()
		var recs []*metrics.Recorder
		for part := range n {
			rec := metrics.NewRecorder(metrics.Options{})
			config := fleet.Config{Seed: 1, Target: b, Driver: b, Recorder: rec, Start: start, Groups: []fleet.Group{s, l}}
			if n > 1 {
				config.Mine = func(index int) bool { return index%n == part }
				config.Others = &fleet.Others{
					Arrived: func(a fleet.Arrival) { p.arrived <- a },
					Listens: func(l fleet.Listener) {
						for other, f := range p.fleets {
							if other != part {
								f.Hears(l)
								f.Hears(l) // what is told twice has no effect
							}
						}
					},
				}
			}
			f, err := fleet.New(config)
			if err != nil {
				t.Fatal(err)
			}
			p.fleets, recs = append(p.fleets, f), append(recs, rec)
		}
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
		expiry     time.Duration
		latest     time.Duration // the slowest delivery took no less
	}{
		{-1, 1, link.MaxExpiry, 8 * time.Second},
		{-1, 0, link.MaxExpiry, 0},
		{-1, 1, 3 * time.Second, 0},
		{2, 1, link.MaxExpiry, 8 * time.Second},
		{1, 0, link.MaxExpiry, 0},
	} {
		t.Run(fmt.Sprintf("%d deliveries, QoS %d, %v", tt.deliveries, tt.qos, tt.expiry), func(t *testing.T) {
			want, _ := keptParts(t, 1, tt.deliveries, tt.qos, tt.expiry)
			for _, n := range []int{2, 3} {
				got, latest := keptParts(t, n, tt.deliveries, tt.qos, tt.expiry)
				if got != want || latest < tt.latest {
					t.Errorf("%d parts, %v at most: %s\none fleet: %s", n, latest, got, want)
				}
			}
		})
	}
}
