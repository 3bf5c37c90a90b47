package engine_test

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
)

const suspecting = `
name: suspecting
target: {hub: "mqtt://broker.example:1883", topic: "plants/{device}"}
fleet: {client: lean, groups: [{name: a, count: 8, telemetry: {every: 1s}}]}
stages: [{name: up, duration: 1s, devices: 8}, {name: load, duration: 30s}]
thresholds: {connect: ["count > %d"]}
`

// That another client has the ids of a run's devices is a guess where the target does not say so: it is told as one, once, however many agents make it. The run
// neither fails of it nor passes, and what was missed is missed. Of what is certain it fails.
func TestGuesses(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ends  error
		bound int // of the threshold
		want  report.Outcome
		kind  fleet.ContradictionKind
	}{
		{"a guess", io.EOF, 7, report.Saturated, fleet.LikelyTakenOver},
		{"a guess, and a threshold is missed", io.EOF, 1000, report.Missed, fleet.LikelyTakenOver},
		{"certain", &link.DisconnectedError{Code: 0x8e}, 7, report.Failed, fleet.TakenOver},
		{"a network that fails", link.ErrLost, 7, report.Passed, ""},
	} {
		for _, agents := range []int{0, 2} {
			t.Run(fmt.Sprintf("%s/%d", tt.name, agents), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					warned, broker := 0, &air{ends: tt.ends}
					takesOver := func() {
						for i := range 60 {
							time.Sleep(time.Duration(i*i*37%600+50) * time.Millisecond)
							broker.cut(func(id string) bool {
								return strings.HasSuffix(id, fmt.Sprint(i%8)) || strings.HasSuffix(id, fmt.Sprint(i%8+1)) && i%3 == 0
							})
						}
					}
					x := &swarmed{text: fmt.Sprintf(suspecting, tt.bound), agents: agents, air: broker, watch: []report.Observer{report.Funcs{OnEvent: func(e report.Event) {
						switch {
						case e.Kind == report.KindStage && e.Text == "load":
							go takesOver()
						case e.Kind == report.KindWarning && e.Text == string(tt.kind):
							warned++
						}
					}}}}
					r := x.run(t)
					guess := tt.kind == fleet.LikelyTakenOver
					said := r.Suspicion != "" && strings.Contains(r.Suspicion, string(tt.kind)) && (r.Reason == r.Suspicion || slices.Contains(r.Notes, r.Suspicion))
					if r.Outcome != tt.want || said != guess || guess != (warned == 1) || !guess && !strings.Contains(r.Reason, string(tt.kind)) {
						t.Errorf("%s: %s; likely %q, noted %q, warned %d times", r.Outcome, r.Reason, r.Suspicion, r.Notes, warned)
					}
				})
			})
		}
	}
}

// One device whose connections another client ends is guessed too, by name, and its run is not titled as one whose generator was too slow. Those that a broker
// ends because of what they send are nobody's.
func TestGuessesOfOne(t *testing.T) {
	for _, agents := range []int{0, 2} {
		for _, qos := range []int{0, 1} {
			text := strings.Replace(fmt.Sprintf(suspecting, 7), "{every: 1s}", fmt.Sprintf("{every: 1s, qos: %d}", qos), 1)
			synctest.Test(t, func(t *testing.T) {
				broker := &air{ends: io.EOF}
				x := &swarmed{text: text, agents: agents, air: broker, watch: []report.Observer{report.Funcs{OnEvent: func(e report.Event) {
					if e.Kind == report.KindStage && e.Text == "load" {
						go func() {
							for i := range 40 {
								time.Sleep(time.Duration(i*i*37%600+150) * time.Millisecond)
								broker.cut(func(id string) bool { return strings.HasSuffix(id, "3") })
							}
						}()
					}
				}}}}
				r := x.run(t)
				if r.Outcome != report.Saturated || !r.Guessed() || r.Headline() != "cannot say" || !strings.Contains(r.Reason, string(fleet.LikelyOneTakenOver)) || !strings.Contains(r.Reason, "3: the last") {
					t.Errorf("QoS %d, %d agents: %s: %s", qos, agents, r.Headline(), r.Reason)
				}
				for _, f := range x.rec.Figures() {
					for _, v := range f.Samples {
						if f.Name == "twinfleet_run_verdict" && (v.Value == 1) != (v.Labels[1] == string(report.CannotSay)) {
							t.Errorf("QoS %d, %d agents: the verdict for boards: %s %v", qos, agents, v.Labels[1], v.Value)
						}
					}
				}
			})
			synctest.Test(t, func(t *testing.T) {
				var sent atomic.Int64
				broker := &air{ends: io.EOF, bars: func(link.Message, string) bool {
					n := sent.Add(1)
					return n*n*37%100 < 40
				}}
				x := &swarmed{text: strings.Replace(text, "every: 1s", "every: 400ms", 1), agents: agents, air: broker}
				if r := x.run(t); r.Suspicion != "" || len(r.Outages) < 10 {
					t.Errorf("QoS %d, %d agents, a broker with a rule: %s: %s; %d outages", qos, agents, r.Headline(), r.Reason, len(r.Outages))
				}
			})
		}
	}
}

// Why connections were lost is in the record, with the broker's own words, and named with the outage, also when agents lost them.
func TestReasonsOfLosses(t *testing.T) {
	for _, agents := range []int{0, 2} {
		synctest.Test(t, func(t *testing.T) {
			broker := &air{ends: &link.DisconnectedError{Code: 0x97, Words: "tenant over quota"}}
			x := &swarmed{text: fmt.Sprintf(suspecting, 7), agents: agents, air: broker, watch: []report.Observer{report.Funcs{OnEvent: func(e report.Event) {
				if e.Kind == report.KindStage && e.Text == "load" {
					time.AfterFunc(10*time.Second, func() { broker.cut(func(string) bool { return true }) })
				}
			}}}}
			r := x.run(t)
			const why = `the target disconnected: quota exceeded (reason code 151): "tenant over quota"`
			var lost uint64
			for _, e := range r.Totals.Errors {
				if e.Outcome == metrics.LostConnection && e.Operation == metrics.OpConnect && e.Reason == why {
					lost += e.Count
				}
			}
			if lost != 8 || r.Outcome != report.Passed || len(r.Outages) != 1 || r.Outages[0].Why != why || !strings.Contains(r.Outages[0].String(), why) {
				t.Errorf("%d agents: %s; %d were lost for the reason; outages %v", agents, r.Outcome, lost, r.Outages)
			}
		})
	}
}
