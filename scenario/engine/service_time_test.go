package engine_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
)

// While a stage has a model of service, twin operations take their time; afterwards they do not. What arrives, and
// when, follows from the scenario.
func TestServiceModelOfAStage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := decode(t, `
name: served
seed: 9
fleet: {groups: [{name: robots, count: 20, reported: {connectivity: {type: wifi}}}]}
stages:
  - {name: ramp, duration: 1s, devices: 20}
  - {name: slow, duration: 3s, report_rate: 30/s, arrivals: poisson, hub: {service: {servers: 1000, time: 1200ms, distribution: fixed}}}
  - {name: fast, duration: 2s, report_rate: 30/s}
`)
		run := newEngine(s, newWatcher()).Run(t.Context())
		if run.Outcome != report.Passed {
			t.Fatalf("the run %s: %s", run.Outcome, run.Reason)
		}
		drawn := slices.Collect(s.Reports(1))
		if slices.Equal(drawn, slices.Collect(s.Reports(2))) || len(drawn) < 30 {
			t.Fatalf("%d arrivals in the slow stage; want some sixty, at random", len(drawn))
		}
		x := run.Totals.Select(metrics.OpTwinReport, "")
		if want := 20 + len(drawn) + len(slices.Collect(s.Reports(2))); int(x.Scheduled()) != want || int(x.Count(metrics.OK)) != want {
			t.Errorf("%d reports, %d ok; want %d", x.Scheduled(), x.Count(metrics.OK), want)
		}
		slow, latency := 0, x.Latency(false)
		for _, at := range drawn {
			if at < 1700*time.Millisecond { // the end of the stage frees those that are later
				slow++
			}
		}
		quick := int(latency.Below(1199 * time.Millisecond))
		if n := int(latency.Count) - quick; n < slow {
			t.Errorf("%d reports took 1.2s; want %d", n, slow)
		}
		if most := 20 + len(drawn) - slow; quick <= most {
			t.Errorf("%d reports took less; want more than %d, for the last stage takes no time", quick, most)
		}
	})
}

// A model that the next stage has too goes on: what waits in its queue is not let go at the boundary.
func TestServiceModelGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := decode(t, `
name: served
seed: 9
fleet: {groups: [{name: robots, count: 20, reported: {connectivity: {type: wifi}}}]}
stages:
  - {name: ramp, duration: 1s, devices: 20}
  - {name: one, duration: 3s, report_rate: 10/s, hub: {service: {servers: 1000, time: 1200ms, distribution: fixed}}}
  - {name: two, duration: 3s, report_rate: 10/s, hub: {service: {servers: 1000, time: 1200ms, distribution: fixed}}}
  - {name: other, duration: 3s, report_rate: 10/s, hub: {service: {servers: 1000, time: 600ms, distribution: fixed}}}
`)
		run := newEngine(s, newWatcher()).Run(t.Context())
		if run.Outcome != report.Passed {
			t.Fatalf("the run %s: %s", run.Outcome, run.Reason)
		}
		for i, quick := range []int{1: 0, 2: 12, 3: 6} { // those that the end of a model lets go
			if i == 0 {
				continue
			}
			x := run.Stages[i].Totals.Select(metrics.OpTwinReport, "")
			latency := x.Latency(false)
			if n := int(latency.Below(599 * time.Millisecond)); n > quick || latency.Count != 30 {
				t.Errorf("stage %s: %d of %d reports took less than the model says; want at most %d", run.Stages[i].Name, n, latency.Count, quick)
			}
		}
	})
}
