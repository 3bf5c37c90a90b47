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
)

// A broker that loses nothing is told to have lost nothing, whenever its subscribers come and go, whether or not it keeps their sessions, and for how long, and
// however late, within reason, fleets hear of each other.
func TestNothingIsLost(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		qos := byte(rapid.IntRange(0, 1).Draw(rt, "QoS"))
		shared := rapid.Bool().Draw(rt, "shared")
		keeps := rapid.Bool().Draw(rt, "kept")
		expiry := rapid.SampledFrom([]time.Duration{link.MaxExpiry, time.Second, 3 * time.Second, 6 * time.Second}).Draw(rt, "expiry")
		away := time.Duration(rapid.IntRange(1, 8000).Draw(rt, "away")) * time.Millisecond
		takes := time.Duration(rapid.IntRange(0, 1900).Draw(rt, "takes")) * time.Millisecond
		news := time.Duration(rapid.IntRange(0, 1500).Draw(rt, "news")) * time.Millisecond
		timeout := time.Duration(rapid.IntRange(9000, 20_000).Draw(rt, "timeout")) * time.Millisecond
		n := rapid.IntRange(1, 3).Draw(rt, "parts")
		type drop struct{ after, board int }
		var drops []drop
		for range rapid.IntRange(1, 12).Draw(rt, "drops") {
			drops = append(drops, drop{rapid.IntRange(0, 6000).Draw(rt, "after"), rapid.IntRange(0, 3).Draw(rt, "board")})
		}
		synctest.Test(t, func(t *testing.T) {
			b := newBroker(link.V5, func(id string) []link.Filter {
				all := boards(id)
				for i := range all {
					all[i].QoS = qos
				}
				if shared && id >= "boards-2" && len(all) > 0 {
					all[0].Topic = "$share/g/t/#"
				}
				return all
			})
			s, l := fleet.Group{Name: "sensors", Timeout: timeout}, fleet.Group{Name: "boards", Timeout: timeout, Listens: true, First: 5}
			s.Telemetry = fleet.Telemetry{Every: time.Second, QoS: 1, Deliveries: -1}
			l.Backoff, l.Kept, l.Connect.SessionExpiry = schedule.Backoff{Base: away}, keeps, expiry
			for i := range 5 {
				s.IDs = append(s.IDs, fmt.Sprintf("sensors-%d", i))
			}
			for i := range 4 {
				l.IDs = append(l.IDs, fmt.Sprintf("boards-%d", i))
			}
			type rumour struct {
				fleet.Listener
				of int // part
				at time.Time
			}
			heard := make(chan rumour, 10_000)
			p, recs := divided(t, n, takes, fleet.Config{Target: b, Driver: b, Groups: []fleet.Group{s, l}}, func(p *post, part int) *fleet.Others {
				return &fleet.Others{
					Arrived: func(a fleet.Arrival) { p.arrived <- a },
					Listens: func(l fleet.Listener) { heard <- rumour{l, part, time.Now().Add(news)} },
				}
			})
			var telling sync.WaitGroup
			telling.Go(p.bring)
			telling.Go(func() {
				for x := range heard {
					time.Sleep(time.Until(x.at))
					for other, f := range p.fleets {
						if other != x.of {
							f.Hears(x.Listener)
						}
					}
				}
			})
			p.each(func(f *fleet.Fleet) { to(t, f, 9, 0) })
			time.Sleep(2 * time.Second)
			for _, d := range drops {
				time.Sleep(time.Duration(d.after) * time.Millisecond)
				b.drop(fmt.Sprintf("boards-%d", d.board))
			}
			time.Sleep(10 * time.Second)
			p.each(func(f *fleet.Fleet) { f.Pause(true) })
			time.Sleep(25 * time.Second)
			p.each(func(f *fleet.Fleet) { f.Stop(t.Context()) })
			close(p.arrived)
			close(heard)
			telling.Wait()
			var ok, lost uint64
			for i, f := range p.fleets {
				x, d := recs[i].Snapshot().Find(metrics.OpDelivery, "sensors"), f.Deliveries()[0]
				if x == nil {
					continue
				}
				ok, lost = ok+x.Count(metrics.OK), lost+x.Count(metrics.Timeout)+d.Missing+d.Late+d.Duplicates
			}
			if lost > 0 || ok == 0 {
				for i, f := range p.fleets {
					rt.Logf("%+v %v", f.Deliveries(), recs[i].Snapshot().Find(metrics.OpDelivery, "sensors"))
				}
				rt.Errorf("%d lost, %d delivered", lost, ok)
			}
		})
	})
}
