package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/swarm/bus"
	"github.com/twinfleet/twinfleet/internal/swarm/protocol"

	"github.com/twinfleet/twinfleet/internal/swarm/lead"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/swarm/clock"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
)

const exchanging = `
name: delivering
seed: 11
target: {hub: "mqtt://broker.example:1883", topic: "plants/{group}/{device}"}
fleet:
  client: lean
  groups:
    - {name: boards, count: 6, timeout: 5s, subscribe: {topics: ["plants/#"], qos: 1}}
    - {name: halls, count: 8, timeout: 5s, subscribe: {topics: ["plants/meters/+", "$share/halls/plants/sensors/+"], qos: 1}}
    - {name: sensors, count: 40, timeout: 5s, telemetry: {every: 1s, qos: 1, deliveries: all, payload: {n: "{{ seq }}", device: "{{ device }}"}}}
    - {name: meters, count: 10, timeout: 5s, telemetry: {every: 2s, qos: 1, deliveries: 14, payload: {n: "{{ seq }}", device: "{{ device }}"}}}
stages:
  - {name: ramp, duration: 10s, devices: 100%%}
  - {name: hold, duration: 20s}
  - {name: rest, duration: 12s, paused: %v}
thresholds: {delivery: ["missing < 1000"]}
`

// moody is what a broker does that is not good at it: it loses copies, brings some twice, some late, and some after what was sent later.
func moody(m link.Message, id string) []time.Duration {
	const usual = 7 * time.Millisecond
	switch drawn(m, id) % 40 {
	case 0:
		return nil
	case 1:
		return []time.Duration{usual, 3 * usual}
	case 2:
		return []time.Duration{2100 * time.Millisecond} // after the next ones
	case 3:
		return []time.Duration{5500 * time.Millisecond} // its time was up, and it came
	case 4:
		return []time.Duration{8 * time.Second}
	}
	return []time.Duration{usual}
}

// slow is a broker's that is slow, to the end.
func slow(m link.Message, id string) []time.Duration {
	return []time.Duration{2500*time.Millisecond + time.Duration(drawn(m, id)%1_999_993)*time.Microsecond} // no two at once
}

// sedate is a broker's that has little to do, and takes its time.
func sedate(m link.Message, id string) []time.Duration {
	return []time.Duration{400*time.Millisecond + time.Duration(drawn(m, id)%499_979)*time.Microsecond} // no two at once
}

// deliveredLines are what a run says of deliveries.
func deliveredLines(r *report.Run) (all []string) {
	for _, name := range []string{"sensors", "meters"} {
		sent, x := r.Totals.Find(metrics.OpTelemetry, name), r.Totals.Find(metrics.OpDelivery, name)
		if x == nil || sent == nil {
			all = append(all, name+": none")
			continue
		}
		all = append(all, fmt.Sprintf("%s: sent %d; scheduled %d, ok %d, timeout %d, unanswered %d, failed %d, dropped %v, open %d", name, sent.Count(metrics.OK), x.Scheduled(),
			x.Count(metrics.OK), x.Count(metrics.Timeout), x.Count(metrics.Unanswered), x.Count(metrics.Failed), x.Dropped, x.InFlight()))
	}
	for _, t := range r.Thresholds {
		all = append(all, t.Observed)
	}
	if r.Deliveries != nil {
		for _, g := range r.Deliveries.Groups {
			all = append(all, fmt.Sprintf("%+v", g))
		}
	}
	return all
}

// Deliveries are the same in one process and on agents, from each to each, whatever a broker does to them, and however wrong the agents' clocks are:
// what came, what did not, what came twice, late, and out of order, and how long it took.
func TestDeliveriesOnAgents(t *testing.T) {
	for _, tt := range []struct {
		name   string
		takes  func(link.Message, string) []time.Duration
		clocks bool
		loses  bool // the bus loses answers
		rest   bool // nothing is under way in the end: what comes after the last time-out depends on who has left
	}{{"a good broker", nil, false, false, false}, {"a slow broker", slow, true, false, false}, {"a moody broker", moody, false, false, true}, {"wrong clocks", moody, true, false, true}, {"a bad bus", moody, false, true, true}} {
		t.Run(tt.name, func(t *testing.T) {
			var runs []*report.Run
			for _, agents := range []int{0, 1, 2, 4} {
				synctest.Test(t, func(t *testing.T) {
					x := &swarmed{text: fmt.Sprintf(exchanging, tt.rest), agents: agents, air: &air{takes: tt.takes}}
					if start := time.Now(); tt.clocks {
						x.clocks = []clock.Clock{clock.Shifted(time.Now, 7*time.Second, 0, start), clock.Shifted(time.Now, -3*time.Second, 50, start)}
					}
					if tt.loses {
						x.wrap = func(_ string, b bus.Bus) bus.Bus { return &forgetful{Bus: b} }
					}
					r := x.run(t)
					runs = append(runs, r)
					if r.Outcome != report.Passed {
						t.Errorf("%d agents: %s", agents, figures(r))
					}
				})
				if len(runs) == 1 {
					continue
				}
				one, all := runs[0], runs[len(runs)-1]
				if want, got := deliveredLines(one), deliveredLines(all); !slices.Equal(got, want) {
					t.Errorf("%d agents:\n%s\none process:\n%s", agents, strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
				for _, name := range []string{"sensors", "meters"} {
					want, got := one.Totals.Find(metrics.OpDelivery, name), all.Totals.Find(metrics.OpDelivery, name)
					if want == nil || got == nil {
						continue
					}
					for _, q := range []float64{0, 0.5, 0.99, 1} {
						a, b := want.Latency(false).Quantile(q), got.Latency(false).Quantile(q)
						if (a - b).Abs() > 2*time.Millisecond+a/20 {
							t.Errorf("%d agents: %s took %v at %v; in one process %v", agents, name, b, q, a)
						}
					}
				}
			}
			if x := runs[0].Totals.Find(metrics.OpDelivery, "sensors"); x == nil || x.Count(metrics.OK) < 5000 {
				t.Errorf("%q", deliveredLines(runs[0]))
			}
		})
	}
}

// forgetful is a bus that hears what it is asked, and now and then loses the answer, or the question.
type forgetful struct {
	bus.Bus
	asked atomic.Int64
}

func (f *forgetful) Ask(ctx context.Context, instance, endpoint string, data []byte) ([]byte, error) {
	if endpoint != protocol.Exchange && endpoint != protocol.Events {
		return f.Bus.Ask(ctx, instance, endpoint, data)
	}
	n := f.asked.Add(1)
	if n%5 == 0 {
		return nil, bus.ErrLost
	}
	b, err := f.Bus.Ask(ctx, instance, endpoint, data)
	if n%3 == 0 {
		return nil, bus.ErrLost
	}
	return b, err
}

// ended holds what a run says of deliveries against itself: each has an end, and its agents' accounts are that of the whole.
func ended(t *testing.T, r *report.Run) {
	t.Helper()
	for _, name := range []string{"sensors", "meters"} {
		x := r.Totals.Find(metrics.OpDelivery, name)
		if x == nil || x.InFlight() != 0 || x.Scheduled() != x.Ended()+x.DroppedTotal() || x.Count(metrics.Failed) > 0 {
			t.Errorf("%s: scheduled %d, ended %d, dropped %d, open %d", name, x.Scheduled(), x.Ended(), x.DroppedTotal(), x.InFlight())
		}
	}
	var sum, whole report.Account
	for _, a := range r.Agents {
		sum.Scheduled, sum.OK, sum.Dropped, sum.InFlight = sum.Scheduled+a.Totals.Scheduled, sum.OK+a.Totals.OK, sum.Dropped+a.Totals.Dropped, sum.InFlight+a.Totals.InFlight
	}
	for i := range r.Totals.Series {
		x := &r.Totals.Series[i]
		if !x.Operation.OfDevices() {
			continue
		}
		whole.Scheduled, whole.OK = whole.Scheduled+x.Scheduled(), whole.OK+x.Count(metrics.OK)
		whole.Dropped, whole.InFlight = whole.Dropped+x.DroppedTotal(), whole.InFlight+x.InFlight()
	}
	if sum != whole {
		t.Errorf("agents %+v; whole %+v", sum, whole)
	}
}

// cutting has listeners of three boards away for a while, over and over.
func cutting(a *air) {
	for range 3 {
		time.Sleep(7 * time.Second)
		a.cut(func(id string) bool { return strings.HasPrefix(id, "boards-") && id < "boards-000003" })
	}
}

// Subscribers that lose their connections, and come back, are of no broker's doing: what was sent to them meanwhile is dropped, or has no answer, whichever
// agent runs them: it was under way for less than a second. Nothing is lost, and what they get is delivered.
func TestSubscribersOfOtherAgentsAreAway(t *testing.T) {
	var runs []*report.Run
	for _, agents := range []int{0, 3} {
		synctest.Test(t, func(t *testing.T) {
			x := &swarmed{text: fmt.Sprintf(exchanging, true), agents: agents, air: &air{takes: sedate}}
			x.during = func(*swarm, *lead.Lead) { cutting(x.air) }
			if agents == 0 {
				var going sync.WaitGroup
				defer going.Wait()
				going.Go(func() { cutting(x.air) })
			}
			r := x.run(t)
			runs = append(runs, r)
			for _, name := range []string{"sensors", "meters"} {
				d := r.Totals.Find(metrics.OpDelivery, name)
				if d.Count(metrics.Timeout) > 0 || d.Count(metrics.OK) < 1400 {
					t.Errorf("%d agents: %s", agents, strings.Join(deliveredLines(r), "\n"))
				}
			}
			if agents > 0 {
				ended(t, r)
			}
		})
	}
	one, many := runs[0].Totals.Find(metrics.OpDelivery, "sensors"), runs[1].Totals.Find(metrics.OpDelivery, "sensors")
	if one.Scheduled() != many.Scheduled() || one.Count(metrics.Unanswered) == 0 || many.Count(metrics.Unanswered) == 0 {
		t.Errorf("one process:\n%s\nagents:\n%s", strings.Join(deliveredLines(runs[0]), "\n"), strings.Join(deliveredLines(runs[1]), "\n"))
	}
	if a, b := int(one.Count(metrics.OK)), int(many.Count(metrics.OK)); a-b > a/50 || b-a > a/50 {
		t.Errorf("%d delivered in one process, %d on agents", a, b)
	}
}

// An agent that is lost takes its subscribers with it: what was sent to them was not lost on the way.
func TestLostAgentsSubscribersAreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &swarmed{text: strings.Replace(fmt.Sprintf(exchanging, false), "deliveries: 14", "deliveries: 3", 1), agents: 3, air: &air{}, lead: lead.Options{OnLoss: lead.Continue}}
		x.during = func(s *swarm, _ *lead.Lead) {
			time.Sleep(20 * time.Second)
			s.stops["agent-2"]()
		}
		r := x.run(t)
		d := r.Totals.Find(metrics.OpDelivery, "sensors")
		if r.Outcome != report.Saturated || d.Count(metrics.Timeout) > 0 || d.Count(metrics.Unanswered) == 0 || d.Dropped[metrics.DropNotConnected] == 0 {
			t.Errorf("%s\n%s", figures(r), strings.Join(deliveredLines(r), "\n"))
		}
		ended(t, r)
	})
}

// A bus that is away for less than a delivery waits for costs nothing; one that is away for longer is said, and the run does not pass.
func TestDeliveriesWhileTheBusIsAway(t *testing.T) {
	for _, tt := range []struct {
		away    time.Duration
		outcome report.Outcome
	}{{time.Second, report.Passed}, {20 * time.Second, report.Saturated}} {
		t.Run(tt.away.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := &swarmed{text: fmt.Sprintf(exchanging, false), agents: 3, air: &air{}}
				x.during = func(s *swarm, _ *lead.Lead) {
					time.Sleep(15 * time.Second)
					s.server.Stop(errors.New("the server was stopped"))
					time.Sleep(tt.away)
					s.server.Start()
				}
				r := x.run(t)
				d := r.Totals.Find(metrics.OpDelivery, "sensors")
				if r.Outcome != tt.outcome || tt.outcome == report.Passed && d.Count(metrics.OK) != d.Scheduled() {
					t.Errorf("%s\n%s", figures(r), strings.Join(deliveredLines(r), "\n"))
				}
				if tt.outcome != report.Passed && !strings.Contains(fmt.Sprintf("%+v", r.Generator.Stages), "was told other agents") {
					t.Errorf("%+v", r.Generator.Stages)
				}
				ended(t, r)
			})
		})
	}
}

// What agents cannot do with deliveries is refused in a line that says what to do.
func TestAgentsRefuseDeliveries(t *testing.T) {
	hubs := strings.Replace(swarming, "telemetry: {}", "telemetry: {deliveries: 1}", 1)
	for _, tt := range []struct {
		name, text, choice, want string
	}{
		{"others take devices over", fmt.Sprintf(exchanging, false), lead.Redistribute, "use --on-agent-loss fail or continue"},
		{"a hub", hubs, lead.Fail, "are read from the hub by one process"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := &swarmed{text: tt.text, agents: 2, lead: lead.Options{OnLoss: tt.choice}}
				if strings.Contains(tt.text, "mqtt://") {
					x.air = &air{}
				}
				if r := x.run(t); r.Outcome != report.Failed || !strings.Contains(r.Reason, tt.want) {
					t.Errorf("%s: %s; want %q", r.Outcome, r.Reason, tt.want)
				}
			})
		})
	}
}

// Subscribers that are scaled away while messages are on their way to them, from any agent, leave when they have them: nothing counts as lost, and
// next to nothing as unanswered.
func TestSubscribersOfAgentsLeave(t *testing.T) {
	text := strings.Replace(fmt.Sprintf(exchanging, false), "- {name: rest,", "- {name: less, duration: 5s, devices: {boards: 2, halls: 5}}\n  - {name: rest,", 1)
	text = strings.Replace(text, "deliveries: 14", "deliveries: 2", 1)
	var runs []*report.Run
	for _, agents := range []int{0, 3} {
		synctest.Test(t, func(t *testing.T) {
			r := (&swarmed{text: text, agents: agents, air: &air{takes: func(link.Message, string) []time.Duration { return []time.Duration{300 * time.Millisecond} }}}).run(t)
			runs = append(runs, r)
			x := r.Totals.Find(metrics.OpDelivery, "sensors")
			if r.Outcome != report.Passed || x.Count(metrics.Timeout) > 0 || x.Count(metrics.Unanswered) > x.Scheduled()/100 || x.DroppedTotal() == 0 {
				t.Errorf("%d agents: %s\n%s", agents, figures(r), strings.Join(deliveredLines(r), "\n"))
			}
		})
	}
	one, many := runs[0].Totals.Find(metrics.OpDelivery, "sensors"), runs[1].Totals.Find(metrics.OpDelivery, "sensors")
	if a, b := int(one.Count(metrics.OK)), int(many.Count(metrics.OK)); one.Scheduled() != many.Scheduled() || a-b > a/50 || b-a > a/50 {
		t.Errorf("one process:\n%s\nagents:\n%s", strings.Join(deliveredLines(runs[0]), "\n"), strings.Join(deliveredLines(runs[1]), "\n"))
	}
}

// A run that is ended at once has an end for each delivery, and does not wait for what agents have yet to tell each other.
func TestDeliveriesOfAgentsEndAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		r := (&swarmed{text: fmt.Sprintf(exchanging, false), agents: 3, air: &air{takes: slow}, hard: 20 * time.Second}).run(t)
		if took := time.Since(start); took > 30*time.Second || r.Outcome != report.Interrupted {
			t.Errorf("after %v: %s", took, figures(r))
		}
		if x := r.Totals.Find(metrics.OpDelivery, "sensors"); x.Count(metrics.Unanswered) == 0 {
			t.Errorf("%s", strings.Join(deliveredLines(r), "\n"))
		}
		ended(t, r)
	})
}

const keeping = `
name: keeping
seed: 11
target: {hub: "mqtt://broker.example:1883", topic: "plants/{group}/{device}"}
fleet:
  client: lean
  groups:
    - {name: boards, count: 6, timeout: 20s, subscribe: {topics: ["plants/#"], qos: 1}, session: {clean: false}}
    - {name: sensors, count: 20, timeout: 20s, telemetry: {every: 1s, qos: 1, deliveries: all, payload: {n: "{{ seq }}"}}}
    - {name: meters, count: 10, timeout: 20s, telemetry: {every: 1s, qos: 0, deliveries: all, payload: {n: "{{ seq }}"}}}
stages:
  - {name: ramp, duration: 5s, devices: 100%}
  - {name: hold, duration: 40s}
  - {name: rest, duration: 25s, paused: true}
`

// What has QoS 1 waits for subscribers whose sessions are kept, and what has QoS 0 does not, whichever agent runs them: no absence is a loss of the broker.
// Sessions that could not be ended are told, of all agents.
func TestKeptSubscribersOfAgents(t *testing.T) {
	for _, agents := range []int{0, 1, 3} {
		synctest.Test(t, func(t *testing.T) {
			var full atomic.Bool
			x := &swarmed{text: keeping, agents: agents, air: &air{keeps: true, full: full.Load}}
			during := func() {
				time.Sleep(12 * time.Second)
				full.Store(true)
				x.air.cut(func(id string) bool { return strings.HasPrefix(id, "boards-") && id < "boards-000003" })
				time.Sleep(8 * time.Second)
				full.Store(false)
				time.Sleep(45 * time.Second)
				full.Store(true)
			}
			var going sync.WaitGroup
			defer going.Wait()
			going.Go(during)
			r := x.run(t)
			lines := strings.Join(deliveredLines(r), "\n")
			sensors, meters := r.Totals.Find(metrics.OpDelivery, "sensors"), r.Totals.Find(metrics.OpDelivery, "meters")
			if sensors.Count(metrics.Timeout)+meters.Count(metrics.Timeout) > 0 || sensors.Latency(false).Maximum() < 7*time.Second ||
				sensors.Count(metrics.OK)+sensors.Dropped[metrics.DropNotConnected] != sensors.Scheduled() || meters.DroppedTotal() < 3*10*7 {
				t.Errorf("%d agents: %s\n%s", agents, figures(r), lines)
			}
			if r.SessionsLeft != 6 {
				t.Errorf("%d agents: %d sessions are left; want 6", agents, r.SessionsLeft)
			}
		})
	}
}
