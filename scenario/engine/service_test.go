package engine_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
)

const serviceSide = `
name: service-side
seed: 5
fleet:
  groups:
    - {name: robots, count: 40, reported: {connectivity: {type: wifi}, every: 1s}}
    - {name: absent, count: 3, session: {online: 100ms, offline: 1h}}
stages:
  - {name: ramp, duration: 1s, devices: 43}
  - {name: ready, steps: [{query: {name: all, expect: 40, within: 3m}}, {await: {connected: 40, reported: 40, within: 3m}}]}
  - {name: hold, duration: 3s}
  - {name: tail, duration: 500ms}
service:
  tags: {robots: {plant: A}}
  queries:
    - {name: all, every: 500ms, expect: 40, sql: "SELECT deviceId FROM devices WHERE tags.plant = 'A'", stages: [hold]}
    - {name: never, every: 500ms, expect: ">= 41", sql: "SELECT deviceId FROM devices WHERE tags.plant = 'A'", stages: [hold]}
    - {name: clock, cron: "* * * * * *", sql: "SELECT COUNT() AS n FROM devices"}
  rollouts:
    - {name: firmware, group: robots, properties: {firmware: "2.1.0"}, stage: hold, at: 200ms, rate: 200/s, timeout: 20s, waves: [{percent: 25}, {percent: 100}]}
    - {name: doomed, group: absent, properties: {firmware: "9"}, stage: hold, timeout: 300ms, stop_over: 10%, waves: [{percent: 50}, {percent: 100}]}
  methods:
    - {name: reboot, group: robots, method: reboot, payload: {delay: 1}, rate: 0/s..40/s, timeout: 10s, stages: [hold]}
    - {name: ghost, group: absent, method: reboot, rate: 10/s, timeout: 5s, stages: [hold]}
  twin_reads: [{group: robots, rate: 20/s}]
  jobs:
    - {name: retag, type: twin, stage: hold, at: 500ms, query: "tags.plant = 'A'", tags: {batch: 7}, desired: {mode: night}}
    - {name: restart, type: method, stage: hold, query: "deviceId IN ['robots-000001', 'absent-000001']", method: {name: restart, timeout: 5s}}
    - {name: late, type: twin, at: 1h, desired: {x: 1}}
thresholds:
  query{name=all}: ["expected_rate >= 100%"]
  method{name=reboot}: ["p(50) < 5s", "error_rate < 1%"]
  desired: ["count > 0"]
  job{name=retag}: ["error_rate < 1%"]
  # What is to fail is asked for: a kind of operation that never succeeds fails the run otherwise.
  desired{group=absent}: ["error_rate >= 100%"]
  desired_reply{group=absent}: ["error_rate >= 100%"]
  method{name=ghost}: ["error_rate >= 50%"] # a slow machine may have an absent one linger
`

// One run with everything that the service side does: what is measured, and what the record says.
func TestServiceSide(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		run := newEngine(decode(t, serviceSide), newWatcher()).Run(t.Context())
		if run.Outcome != report.Passed {
			t.Errorf("the run %s: %s %+v", run.Outcome, run.Reason, run.Thresholds)
		}
		for i := range run.Totals.Series {
			x := &run.Totals.Series[i]
			if x.Started() != x.Ended() {
				t.Errorf("%s %s: %d started, %d ended, %d unanswered", x.Operation, x.Group, x.Started(), x.Ended(), x.Count(metrics.Unanswered))
			}
		}
		for _, tt := range []struct {
			op       metrics.Operation
			group    string
			outcome  metrics.Outcome
			low, top uint64 // how many ended so; no bound above when top is 0: what a busy machine does in a stage is less or more
		}{
			{metrics.OpDesiredPatch, "robots", metrics.OK, 40, 40},
			{metrics.OpDesired, "robots", metrics.OK, 40, 40},
			{metrics.OpDesiredReply, "robots", metrics.OK, 40, 40},
			{metrics.OpDesired, "absent", metrics.Timeout, 2, 2},
			{metrics.OpMethod, "reboot", metrics.OK, 20, 0},
			{metrics.OpMethod, "ghost", metrics.Failed, 10, 0},
			{metrics.OpTwinRead, "robots", metrics.OK, 40, 0},
			{metrics.OpJob, "retag", metrics.OK, 1, 1},
			{metrics.OpJob, "restart", metrics.Failed, 1, 1},
			{metrics.OpQuery, "all", metrics.OK, 2, 0},
			{metrics.OpQuery, "clock", metrics.OK, 2, 0},
		} {
			x := run.Totals.Find(tt.op, tt.group)
			if x == nil || x.Count(tt.outcome) < tt.low || tt.top > 0 && x.Count(tt.outcome) > tt.top {
				t.Errorf("%s %s: %s; want %d (to %d) %s", tt.op, tt.group, outcomes(x), tt.low, tt.top, tt.outcome)
			}
		}
		if q, _ := run.Totals.Query("never"); q.Met != 0 || q.Unmet < 2 {
			t.Errorf("never: %+v; want no expectation met", q)
		}
		checkServiceRecord(t, run)
	})
}

func checkServiceRecord(t *testing.T, run *report.Run) {
	t.Helper()
	waves := make(map[string][]report.Wave)
	for _, w := range run.Waves {
		waves[w.Rollout] = append(waves[w.Rollout], w)
	}
	if w := waves["firmware"]; len(w) != 2 || w[0].Devices != 10 || w[1].Devices != 30 || w[0].Answered != 10 || w[1].Answered != 30 {
		t.Errorf("firmware: %+v; want waves of 10 and 30, all answered", w)
	}
	if w := waves["doomed"]; len(w) != 1 || !w[0].Stopped || w[0].Patched != 2 || w[0].Failed != 2 {
		t.Errorf("doomed: %+v; want one wave of 2, stopped", w)
	}
	jobs := make(map[string]report.Job)
	for _, j := range run.Jobs {
		jobs[j.Name] = j
	}
	if j := jobs["retag"]; j.Status != "completed" || j.Succeeded != 40 || j.Error != "" {
		t.Errorf("retag: %+v; want all 40 done", j)
	}
	if j := jobs["restart"]; j.Devices != 2 || j.Failed != 1 || !strings.Contains(j.Error, "1 of 2 failed") {
		t.Errorf("restart: %+v; want one of two failed", j)
	}
	if x := run.Totals.Find(metrics.OpJob, "late"); x == nil || x.Dropped[metrics.DropStopped] != 1 || len(run.Notes) != 1 || !strings.Contains(run.Notes[0],
		"job late did not begin") {
		t.Errorf("late: %+v, notes %v; want it dropped and told", x, run.Notes)
	}
	codes := make(map[string]string)
	for _, x := range run.ServiceErrors {
		codes[x.Task] = x.Code
	}
	if codes["method ghost"] != "404103 DeviceNotOnline" || len(run.ServiceErrors) != 1 {
		t.Errorf("errors = %+v; want 404103 of ghost alone", run.ServiceErrors)
	}
}

// outcomes tells how the operations of a series ended.
func outcomes(x *metrics.SeriesSnapshot) string {
	if x == nil {
		return "nothing"
	}
	var b strings.Builder
	for _, o := range metrics.Outcomes() {
		fmt.Fprintf(&b, "%d %s, ", x.Count(o), o)
	}
	return fmt.Sprintf("%s%d unanswered, %v dropped", b.String(), x.Count(metrics.Unanswered), x.Dropped)
}
