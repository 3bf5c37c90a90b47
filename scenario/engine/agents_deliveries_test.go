package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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
		rest   bool // nothing is under way in the end: what comes after the last time-out depends on who has left
	}{{"a good broker", nil, false, false}, {"a slow broker", slow, true, false}, {"a moody broker", moody, false, true}, {"wrong clocks", moody, true, true}} {
		t.Run(tt.name, func(t *testing.T) {
			var runs []*report.Run
			for _, agents := range []int{0, 1, 2, 4} {
				synctest.Test(t, func(t *testing.T) {
					x := &swarmed{text: fmt.Sprintf(exchanging, tt.rest), agents: agents, air: &air{takes: tt.takes}}
					if start := time.Now(); tt.clocks {
						x.clocks = []clock.Clock{clock.Shifted(time.Now, 7*time.Second, 0, start), clock.Shifted(time.Now, -3*time.Second, 50, start)}
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
