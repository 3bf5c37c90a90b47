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
	"github.com/twinfleet/twinfleet/schedule/chance"
)

// Who leaves, politely or because its connection is cut, more than a second after a message passed, and has not got it, has lost it: to leave within
// its time-out excuses no loss. Nothing of a broker is lost that loses nothing.
func TestLeavingExcusesNoLoss(t *testing.T) {
	for _, tt := range []struct {
		name   string
		qos    byte
		filter string
		change func(l *fleet.Group)
		cuts   bool
	}{
		{name: "polite", qos: 1},
		{name: "polite, QoS 0", qos: 0},
		{name: "cut", qos: 1, cuts: true},
		{name: "a shared group", qos: 1, filter: "$share/a/t/#"},
		{name: "kept, but with QoS 0", qos: 0, change: func(l *fleet.Group) { l.Kept, l.Connect.SessionExpiry = true, link.MaxExpiry }},
	} {
		for _, loses := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, loses %v", tt.name, loses), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBroker(link.V5, func(id string) []link.Filter {
						filters := boards(id)
						for i := range filters {
							filters[i].QoS = tt.qos
							if tt.filter != "" {
								filters[i].Topic = tt.filter
							}
						}
						return filters
					})
					n := 0
					b.copies = func(link.Message) int {
						if n++; loses && n%5 > 0 {
							return 0
						}
						return 1
					}
					f, rec := keptFleet(t, b, 5, 1, func(s, l *fleet.Group) {
						s.Telemetry.Deliveries, s.Telemetry.QoS, s.Timeout = -1, tt.qos, 8*time.Second
						if !tt.cuts {
							l.Session = schedule.Churn{Online: chance.Fixed(6 * time.Second), Offline: chance.Fixed(500 * time.Millisecond)}
						}
						l.Backoff = schedule.Backoff{Base: 500 * time.Millisecond}
						if tt.change != nil {
							tt.change(l)
						}
					})
					to(t, f, 6, 0)
					for range 10 {
						time.Sleep(6500 * time.Millisecond)
						if tt.cuts {
							b.drop("boards-0")
						}
					}
					f.Pause(true)
					time.Sleep(10 * time.Second)
					f.Stop(t.Context())
					s := rec.Snapshot()
					balanced(t, s)
					x, d := s.Find(metrics.OpDelivery, "sensors"), f.Deliveries()[0]
					ok, lost, excused := x.Count(metrics.OK), x.Count(metrics.Timeout), x.Count(metrics.Unanswered)
					if loses != (lost > 0) || loses && (ok > x.Started()/4 || lost < 3*excused || excused == 0) || !loses && excused > 10 {
						t.Errorf("%d delivered, %d timed out, %d excused", ok, lost, excused)
					}
					if want := map[bool]uint64{true: lost}[tt.qos > 0]; d.Missing != want {
						t.Errorf("%d missing of %d timed out", d.Missing, lost)
					}
				})
			})
		}
	}
}

// A message that the target takes when its subscriber has left, as its sender lost the connection meanwhile, was not to reach it: the time runs from the
// acknowledgement.
func TestTakenWhenTheSubscriberHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(link.V5, boards)
		f, rec := keptFleet(t, b, 1, 1, func(s, l *fleet.Group) {
			s.Telemetry.Deliveries, s.Telemetry.Every, s.Timeout = -1, 10*time.Second, 9*time.Second
			s.Kept, s.Connect.SessionExpiry, s.Backoff = true, link.MaxExpiry, schedule.Backoff{Base: 5 * time.Second}
			l.Backoff = schedule.Backoff{Base: time.Hour}
		})
		to(t, f, 2, 0)
		b.set(func() { b.mute = true })
		sent := func() uint64 { return rec.Snapshot().Find(metrics.OpTelemetry, "sensors").Started() }
		for sent() == 0 {
			time.Sleep(100 * time.Millisecond)
		}
		b.set(func() { b.mute = false })
		b.drop("sensors-0")
		time.Sleep(2 * time.Second)
		b.drop("boards-0")
		time.Sleep(4 * time.Second)
		f.Pause(true)
		time.Sleep(10 * time.Second)
		f.Stop(t.Context())
		x, d := rec.Snapshot().Find(metrics.OpDelivery, "sensors"), f.Deliveries()[0]
		if acked := rec.Snapshot().Find(metrics.OpTelemetry, "sensors").Count(metrics.OK); acked != 1 || x.Count(metrics.Unanswered) != 1 || d.Missing != 0 {
			t.Errorf("%d acknowledged, %d excused, %d timed out, %+v", acked, x.Count(metrics.Unanswered), x.Count(metrics.Timeout), d)
		}
	})
}
