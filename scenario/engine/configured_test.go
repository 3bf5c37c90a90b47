package engine_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
)

const byConfiguration = `
name: by-configuration
seed: 5
fleet:
  groups:
    - {name: robots, count: 40, reported: {connectivity: {type: wifi}, every: 1s}}
    - {name: mute, count: 10, desired: {answer: false}}
stages:
  - {name: ramp, duration: 1s, devices: 50}
  - {name: hold, duration: 1m}
service:
  tags: {robots: {plant: A}, mute: {plant: B}}
  rollouts:
    - {name: firmware, by: configuration, group: robots, properties: {firmware: "2.1.0", mode: {eco: true}}, condition: "tags.plant = 'A'", stage: hold, timeout: 30s}
    - {name: quiet, by: configuration, group: mute, properties: {a: 1}, condition: "tags.plant = 'B'", stage: hold, timeout: 30s, shares: [100%]}
`

// A rollout by a configuration, from the file to the record: the hub writes the twins, and all is counted.
func TestRolloutByConfiguration(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		run := newEngine(decode(t, byConfiguration), newWatcher()).Run(t.Context())
		if run.Outcome != report.Passed {
			t.Errorf("the run %s: %s", run.Outcome, run.Reason)
		}
		rows := make(map[string]report.Configured)
		for _, c := range run.Configured {
			rows[c.Rollout] = c
		}
		c := rows["firmware"]
		if c.Devices != 40 || c.Told != 40 || c.Answered != 40 || c.Targeted != 40 || c.Applied != 40 || c.Before != 0 || c.Missed != "" || c.Left != "" || len(c.Shares) != 3 {
			t.Errorf("firmware: %+v", c)
		}
		for _, s := range c.Shares {
			if !s.Reached || s.Took <= 0 || s.Took > 5*time.Second {
				t.Errorf("firmware: share %+v", s)
			}
		}
		if c := rows["quiet"]; c.Told != 10 || c.Answered != 0 || c.Missed != "" {
			t.Errorf("quiet: %+v", c)
		}
		for op, n := range map[metrics.Operation]uint64{metrics.OpDesiredPatch: 1, metrics.OpDesired: 40, metrics.OpDesiredReply: 40} {
			if x := run.Totals.Find(op, "robots"); x == nil || x.Count(metrics.OK) != n || x.Started() != x.Ended() {
				t.Errorf("%s: %s; want %d good", op, outcomes(x), n)
			}
		}
	})
}

// A share that is not reached fails the run and says why, thresholds or not; the run goes on to its end.
func TestRolloutByConfigurationThatMisses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string][3]string{
		"the condition is of others": {"tags.plant = 'A'", "tags.plant = 'C'", "0 of 40 devices answered"},
		"the condition is of a few":  {"tags.plant = 'A'", "deviceId = 'robots-000001'", "1 of 40 devices answered it within 30s, and the service says that it was applied to 1 of 1 twins; 40 were wanted"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				run := newEngine(decode(t, strings.Replace(byConfiguration, change[0], change[1], 1)), newWatcher()).Run(t.Context())
				if run.Outcome != report.Failed || !strings.Contains(run.Reason, change[2]) {
					t.Errorf("the run %s: %s; want %q", run.Outcome, run.Reason, change[2])
				}
				if len(run.Configured) != 2 || run.Duration() < time.Minute {
					t.Errorf("%d rollouts in a run of %v", len(run.Configured), run.Duration())
				}
			})
		})
	}
}
