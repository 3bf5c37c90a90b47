package engine_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/swarm/lead"
	"github.com/twinfleet/twinfleet/report"
)

// Thresholds that end a run do not end one for what its agents tell late, neither as they always do, nor after ten seconds without a word: of
// windows, of a stage, of the whole run; rates, times and devices.
func TestThresholdsOfAgents(t *testing.T) {
	const rules = `
thresholds:
  telemetry:
    - {threshold: "rate > 36/s", stage: hold, window: 2s, abort_on_fail: true}
    - {threshold: "rate < 44/s", stage: hold, window: 2s, abort_on_fail: true}
    - {threshold: "rate > 36/s", stage: hold, abort_on_fail: true, delay_abort: 3s}
    - {threshold: "p(99) < 300ms", window: 5s, abort_on_fail: true}
    - {threshold: "max < 1s", abort_on_fail: true}
    - {threshold: "dropped == 0", stage: hold}
  twin_report:
    - {threshold: "p(99) < 300ms", stage: hold, abort_on_fail: true}
  devices:
    - {threshold: "connected_rate > 99%", stage: hold, window: 2s, abort_on_fail: true}
`
	for name, stopped := range map[string]bool{"all is well": false, "the bus stops": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := &swarmed{text: calmly() + rules, agents: 4}
				x.during = func(s *swarm, _ *lead.Lead) {
					if !stopped {
						return
					}
					time.Sleep(36 * time.Second)
					s.server.Stop(errors.New("the server was stopped"))
					time.Sleep(8 * time.Second)
					s.server.Start()
				}
				r := x.run(t)
				if r.Outcome != report.Passed {
					t.Error(figures(r))
				}
				for _, v := range r.Thresholds {
					if !v.Pass {
						t.Errorf("%+v", v)
					}
				}
			})
		})
	}
}
