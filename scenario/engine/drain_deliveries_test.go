package engine_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
)

// ending is a run whose stage hold ends with what is under way: the messages of it come when it is over.
const ending = `
name: ending
seed: 11
target: {hub: "mqtt://broker.example:1883", topic: "plants/{group}/{device}"}
fleet:
  client: lean
  groups:
    - {name: boards, count: 4, timeout: 6s, subscribe: {topics: ["plants/#"], qos: 1}%s}
    - {name: sensors, count: 20, timeout: 6s, telemetry: {every: 1s, qos: 1, deliveries: %s, payload: {n: "{{ seq }}", device: "{{ device }}"}}}
stages:
  - {name: ramp, duration: 5s, devices: 100%%}
  - {name: hold, duration: 10s}
%s
thresholds:
  delivery:
    - {threshold: "duplicates == 0", stage: hold}
    - {threshold: "duplicate_rate < 0.01%%", stage: hold}
    - {threshold: "out_of_order == 0", stage: hold}
    - {threshold: "out_of_order_rate < 0.01%%", stage: hold}
    - {threshold: "missing == 0", stage: hold}
    - {threshold: "missing_rate < 0.01%%", stage: hold}
    - {threshold: "duplicates == 0", stage: ramp}
    - {threshold: "out_of_order == 0", stage: ramp}
    - {threshold: "missing == 0", stage: ramp}
`

// What becomes of a message counts in the stage in which it was due, whenever that shows: in that stage, in a later one, or while the run waits for its
// last answers, in one process and on agents, and for subscribers whose sessions are kept.
func TestCopiesCountWhereTheirMessagesWereDue(t *testing.T) {
	const rest, kept = "  - {name: rest, duration: 12s, paused: true}", ", session: {clean: false}"
	for _, tt := range []struct {
		name, session, deliveries, later string
	}{
		{"in the drain", "", "all", ""},
		{"in the drain, by a number", "", "4", ""},
		{"in a later stage", "", "all", rest},
		{"kept, in the drain", kept, "all", ""},
		{"kept, in a later stage", kept, "all", rest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var lines []string
			for _, agents := range []int{0, 3} {
				synctest.Test(t, func(t *testing.T) {
					var hold atomic.Pointer[time.Time] // since when that stage runs
					x := &swarmed{text: fmt.Sprintf(ending, tt.session, tt.deliveries, tt.later), agents: agents, air: &air{keeps: tt.session != ""}}
					x.watch = []report.Observer{report.Funcs{OnEvent: func(e report.Event) {
						if now := time.Now(); e.Kind == report.KindStage && e.Text == "hold" {
							hold.Store(&now)
						}
					}}}
					x.air.takes = func(m link.Message, id string) []time.Duration {
						const usual, after = 7 * time.Millisecond, 4 * time.Second
						if from := hold.Load(); from != nil && time.Since(*from) > 7*time.Second && time.Since(*from) < 9*time.Second {
							switch drawn(m, id) % 10 {
							case 0:
								return nil
							case 1:
								return []time.Duration{usual, after}
							case 2:
								return []time.Duration{after}
							}
						}
						return []time.Duration{usual}
					}
					r := x.run(t)
					whole, parts := r.Totals.Find(metrics.OpDelivery, "sensors"), make(map[string]*metrics.SeriesSnapshot)
					for i := range r.Stages {
						if parts[r.Stages[i].Name] = r.Stages[i].Totals.Find(metrics.OpDelivery, "sensors"); parts[r.Stages[i].Name] == nil {
							parts[r.Stages[i].Name] = &metrics.SeriesSnapshot{}
						}
					}
					of := func(s *metrics.SeriesSnapshot) string {
						return fmt.Sprintf("%d duplicates, %d out of order, %d missing", s.Duplicates, s.OutOfOrder, s.Missing)
					}
					if whole.Duplicates == 0 || whole.OutOfOrder == 0 || whole.Missing == 0 || of(parts["hold"]) != of(whole) {
						t.Errorf("%d agents: hold has %s; the run %s", agents, of(parts["hold"]), of(whole))
					}
					if x := parts["hold"]; x.Duplicates != r.Deliveries.Groups[0].Duplicates || x.OutOfOrder != r.Deliveries.Groups[0].OutOfOrder || uint64(x.Missing) != r.Deliveries.Groups[0].Missing {
						t.Errorf("%d agents: hold has %s; its group %+v", agents, of(x), r.Deliveries.Groups[0])
					}
					for i, rule := range r.Thresholds {
						if want := i >= 6; rule.Pass != want {
							t.Errorf("%d agents: %s: %s; pass %v, want %v", agents, rule.Threshold, rule.Observed, rule.Pass, want)
						}
					}
					if r.Outcome != report.Missed {
						t.Errorf("%d agents: %s", agents, figures(r))
					}
					lines = append(lines, of(whole))
				})
			}
			if lines[0] != lines[len(lines)-1] {
				t.Errorf("one process and agents: %q", lines)
			}
		})
	}
}
