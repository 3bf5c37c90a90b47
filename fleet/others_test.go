package fleet_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/metrics"
)

// post is what fleets that are parts of one tell each other: arrivals take a while, who is there is known at once.
type post struct {
	takes  time.Duration
	fleets []*fleet.Fleet

	arrived chan fleet.Arrival
}

// parts makes a fleet of ten sensors, each of which sends once a second, and three boards that listen to all, in some parts.
func parts(t *testing.T, h *hub, n, deliveries int, takes time.Duration) (*post, []*metrics.Recorder) {
	t.Helper()
	h.twins = false
	sensors := fleet.Group{Name: "sensors", Telemetry: fleet.Telemetry{Every: time.Second, QoS: 1, Deliveries: deliveries, Payload: compile(t,
		map[string]any{"n": "{{ seq }}"})}, Timeout: 5 * time.Second}
	boards := fleet.Group{Name: "boards", First: 10, Listens: true, Timeout: 5 * time.Second}
	for i := range 10 {
		sensors.IDs = append(sensors.IDs, fmt.Sprintf("sensors-%d", i))
	}
	boards.IDs = []string{"boards-0", "boards-1", "boards-2"}
	return divided(t, n, takes, fleet.Config{Target: h, Driver: h, Groups: []fleet.Group{sensors, boards}}, (*post).others)
}

// divided makes a fleet in some parts, which begin now; others is what each tells.
func divided(t *testing.T, n int, takes time.Duration, config fleet.Config, others func(p *post, part int) *fleet.Others) (p *post, recs []*metrics.Recorder) {
	t.Helper()
	p = &post{takes: takes, arrived: make(chan fleet.Arrival, 100_000)}
	config.Seed, config.Start = 1, time.Now()
	for part := range n {
		config.Recorder = metrics.NewRecorder(metrics.Options{})
		if n > 1 {
			config.Mine = func(index int) bool { return index%n == part }
			config.Others = others(p, part)
		}
		f, err := fleet.New(config)
		if err != nil {
			t.Fatal(err)
		}
		p.fleets, recs = append(p.fleets, f), append(recs, config.Recorder)
	}
	return p, recs
}

// others is what the fleet that is a part tells, and hears.
func (p *post) others(part int) *fleet.Others {
	return &fleet.Others{
		Arrived: func(a fleet.Arrival) { p.arrived <- a },
		Listens: func(l fleet.Listener) {
			for other, f := range p.fleets {
				if other != part {
					f.Hears(l)
				}
			}
		},
		Open: func(_ time.Time, over bool) bool {
			for other, f := range p.fleets {
				if other != part && (f.Undelivered() > 0 || over && f.Talking() > 0) {
					return true
				}
			}
			return false
		},
	}
}

// bring brings what has arrived to the fleets that have the publishers, until the post is closed.
func (p *post) bring() {
	for a := range p.arrived {
		time.Sleep(time.Until(a.At.Add(p.takes)))
		p.fleets[a.Publisher%len(p.fleets)].Reached(a)
	}
}

// each does something with all fleets at once.
func (p *post) each(do func(*fleet.Fleet)) {
	var all sync.WaitGroup
	for _, f := range p.fleets {
		all.Go(func() { do(f) })
	}
	all.Wait()
}

// exchanged is what becomes of messages in a fleet of some parts.
func exchanged(t *testing.T, n, deliveries int, takes, lag time.Duration, copies func(link.Message) int) (account string) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		h.latency, h.lag, h.copies = 3*time.Millisecond, lag, copies
		p, recs := parts(t, h, n, deliveries, takes)
		var post sync.WaitGroup
		post.Go(p.bring)
		p.each(func(f *fleet.Fleet) { to(t, f, 13, 2*time.Second) })
		time.Sleep(10 * time.Second)
		for i := range 6 {
			h.tell(fmt.Sprintf("boards-%d", i%3), link.Message{Topic: "t", Retain: true, Payload: fmt.Appendf(nil, `{"_delivery":"%d-0"}`, i)})
		}
		p.each(func(f *fleet.Fleet) { f.Pause(true) }) // what comes after the last time-out depends on who has left
		time.Sleep(10 * time.Second)
		p.each(func(f *fleet.Fleet) { f.Stop(t.Context()) })
		close(p.arrived)
		post.Wait()
		var sum fleet.Deliveries
		var scheduled, ok, timeout, unanswered, dropped, first, last uint64
		for i, f := range p.fleets {
			balanced(t, recs[i].Snapshot())
			d := f.Deliveries()[0]
			sum.Retained += d.Retained
			sum.Duplicates, sum.Late, sum.Missing, sum.OutOfOrder = sum.Duplicates+d.Duplicates, sum.Late+d.Late, sum.Missing+d.Missing, sum.OutOfOrder+d.OutOfOrder
			x := recs[i].Snapshot().Find(metrics.OpDelivery, "sensors")
			if x == nil || x.Scheduled() == 0 {
				continue
			}
			scheduled, ok, timeout = scheduled+x.Scheduled(), ok+x.Count(metrics.OK), timeout+x.Count(metrics.Timeout)
			unanswered, dropped = unanswered+x.Count(metrics.Unanswered), dropped+x.DroppedTotal()
			if p := x.Latency(false); p.Count > 0 {
				first, last = max(first, uint64(p.Minimum().Round(time.Millisecond))), max(last, uint64(p.Maximum().Round(time.Millisecond)))
			}
		}
		if scheduled != ok+timeout+unanswered+dropped {
			t.Errorf("scheduled %d, ok %d, timeout %d, unanswered %d, dropped %d", scheduled, ok, timeout, unanswered, dropped)
		}
		account = fmt.Sprintf("scheduled %d, ok %d, timeout %d, unanswered %d, dropped %d, from %v to %v; %+v", scheduled, ok, timeout, unanswered, dropped, time.Duration(first), time.Duration(last), sum)
	})
	return account
}

// Fleets that are parts of one measure deliveries as one fleet does, whatever the target does to messages and however long they take to tell each other:
// what came in time is in time, what came too late is late, and took as long as it took.
func TestDeliveriesFromPartToPart(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		deliveries := rapid.SampledFrom([]int{-1, 2, 3}).Draw(rt, "deliveries")
		lag := rapid.SampledFrom([]time.Duration{0, 200 * time.Millisecond, 4900 * time.Millisecond, 5500 * time.Millisecond}).Draw(rt, "lag")
		lost, twice := rapid.IntRange(0, 9).Draw(rt, "lost"), rapid.IntRange(0, 9).Draw(rt, "twice")
		copies := func(m link.Message) int {
			switch {
			case deliveries < 3 && deliveries > 0: // of more subscribers than a message is for, who has it when its time is up is not known
			case strings.Contains(string(m.Payload), fmt.Sprintf(`"n":%d}`, lost)):
				return 0
			case strings.Contains(string(m.Payload), fmt.Sprintf(`"n":%d}`, twice)):
				return 2
			}
			return 1
		}
		takes := time.Duration(rapid.IntRange(0, 1900).Draw(rt, "takes")) * time.Millisecond
		n := rapid.SampledFrom([]int{2, 3, 5}).Draw(rt, "parts")
		want, got := exchanged(t, 1, deliveries, 0, lag, copies), exchanged(t, n, deliveries, takes, lag, copies)
		if got != want || strings.HasPrefix(want, "scheduled 0") || !strings.Contains(want, "Retained:6") {
			rt.Fatalf("%d parts: %s\none fleet: %s", n, got, want)
		}
	})
}

// What a fleet is told of messages that its devices never sent contradicts what is known, as if its own subscribers had them; what makes no sense
// is not heard.
func TestReachedByStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		p, _ := parts(t, h, 2, -1, 0)
		close(p.arrived)
		for _, a := range []fleet.Arrival{
			{Publisher: 0, Turn: 7, Subscriber: 11},
			{Publisher: 0, Kind: -1, Subscriber: 11},
			{Publisher: 0, Kind: 3, Subscriber: 11},
			{Publisher: 0, Turn: -1, Subscriber: 11},
			{Publisher: 1, Subscriber: 11},
			{Publisher: 99, Subscriber: 11},
			{Publisher: 0, Subscriber: 99},
		} {
			p.fleets[0].Reached(a)
		}
		for _, l := range []fleet.Listener{{Subscriber: 0, There: true}, {Subscriber: 99, There: true}, {Subscriber: -1}} {
			p.fleets[0].Hears(l)
		}
		p.each(func(f *fleet.Fleet) { f.Stop(t.Context()) })
		for _, f := range p.fleets {
			if d := f.Deliveries()[0]; d != (fleet.Deliveries{Group: "sensors"}) {
				t.Errorf("%+v", d)
			}
		}
	})
}
