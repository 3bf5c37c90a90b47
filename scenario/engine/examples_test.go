package engine_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
)

// example is a scenario of the examples, with fewer devices than a person would run it with. Its stages end when what
// they are for was seen, so that a slow machine changes no result.
type example struct {
	name string
	set  []string
	over ends
	want func(r *report.Run) string // "" when the run did what the example says
}

// counted waits until so many operations ended so, of all groups when group is empty.
func counted(op metrics.Operation, group string, o metrics.Outcome, n uint64) func(report.Sample) bool {
	return func(p report.Sample) bool {
		x := p.Total.Select(op, group)
		return x != nil && x.Count(o) >= n
	}
}

// both waits for all of them.
func both(all ...func(report.Sample) bool) func(report.Sample) bool {
	return func(p report.Sample) bool {
		for _, seen := range all {
			if !seen(p) {
				return false
			}
		}
		return true
	}
}

// rowsChecked waits for rows of queries that the audit could judge.
func rowsChecked(p report.Sample) bool {
	q, _ := p.Total.Query("redmond")
	return q.Rows.OK > 0
}

func devicesConnected(n int) func(report.Sample) bool {
	return func(p report.Sample) bool { return p.Total.DevicesIn("connected") == n }
}

// examples are all those that a few seconds can run.
func examples() []example {
	return []example{
		{
			"smoke",
			[]string{"fleet.groups.robots.timeout=3m", "stages.ramp.duration=500ms", "stages.hold.duration=3m", "thresholds={}"},
			ends{"hold": both(devicesConnected(200), counted(metrics.OpTwinReport, "", metrics.OK, 300), counted(metrics.OpQuery, "redmond-cellular", metrics.OK, 1))},
			flawless,
		},
		{
			"churn",
			[]string{
				"stages.ramp.duration=1s", "stages.ramp.devices=100", "stages.hold.duration=3m", "fleet.groups.vehicles.timeout=3m",
				"fleet.groups.vehicles.session={online: exp(1s), offline: 100ms..300ms}",
				"service.queries.cellular.every=1s", "thresholds={}",
			},
			ends{"hold": both(counted(metrics.OpConnect, "", metrics.OK, 200), counted(metrics.OpQuery, "", metrics.OK, 1))},
			flawless,
		},
		{
			"storm",
			[]string{
				"stages.ramp={name: ramp, devices: 300, connect_rate: 300/s}", "stages.calm={name: calm, steps: [{await: {connected: 300, within: 3m}}]}",
				"stages.storm.duration=3m", "fleet.groups.robots.timeout=3m", "thresholds={}",
			},
			ends{"storm": both(counted(metrics.OpConnect, "", metrics.OK, 300+240), devicesConnected(300))},
			func(r *report.Run) string {
				lost := 0
				for _, o := range r.Outages {
					lost += o.Total
					if !o.Recovered {
						lost = 0
					}
				}
				if lost < 200 {
					return fmt.Sprintf("outages %+v; want 240 connections lost, and all back", r.Outages)
				}
				return passed(r)
			},
		},
		{
			// The hub restarts while it still stalls, with reports on their way.
			"faults",
			[]string{
				"fleet.groups.robots.count=100", "fleet.groups.robots.backoff=fixed", "fleet.groups.robots.timeout=500ms", "fleet.groups.robots.reported.every=500ms",
				"stages.ramp={name: ramp, devices: 100, connect_rate: 100/s}", "stages.stall={name: stall, duration: 3m, hub: {stall: 6s}}",
				"stages.restart={name: restart, duration: 3m, hub: {restart: 1s}}",
				"stages.loss={name: loss, duration: 3m, hub: {drop_acks: 50%}}", "thresholds={}",
			},
			ends{
				"stall":   counted(metrics.OpTwinReport, "", metrics.Timeout, 1),
				"restart": both(counted(metrics.OpTwinReport, "", metrics.Failed, 1), devicesConnected(100)),
				"loss":    counted(metrics.OpTwinReport, "", metrics.OK, 100),
			},
			func(r *report.Run) string {
				x := r.Totals.Select(metrics.OpTwinReport, "")
				if x.Count(metrics.Timeout) == 0 || x.Count(metrics.Failed) == 0 {
					return fmt.Sprintf("%d timeouts, %d errors; want some of both", x.Count(metrics.Timeout), x.Count(metrics.Failed))
				}
				return passed(r)
			},
		},
		{
			"bad-network",
			[]string{
				"fleet.groups.vehicles.count=60", "fleet.groups.gates.count=20", "stages.ramp.devices=80",
				"stages.calm={name: calm, steps: [{await: {connected: 80, reported: 80, within: 3m}}]}",
				"stages.slow.duration=1s", "stages.lossy.duration=3m", "stages.dead.duration=3m", "stages.apart.duration=1s", "stages.apart.network.partition.for=500ms",
				"stages.end.duration=500ms",
				"fleet.groups.vehicles.keepalive=2s", "fleet.groups.vehicles.timeout=3s", "fleet.groups.vehicles.reported.every=500ms", "fleet.groups.gates.timeout=3m",
				"thresholds={}",
			},
			ends{
				"lossy": counted(metrics.OpTwinReport, "vehicles", metrics.Failed, 1),
				"dead":  both(counted(metrics.OpTwinReport, "vehicles", metrics.Timeout, 1), counted(metrics.OpConnect, "vehicles", metrics.OK, 63)),
			},
			func(r *report.Run) string {
				vehicles, gates := r.Totals.Find(metrics.OpTwinReport, "vehicles"), r.Totals.Find(metrics.OpTwinReport, "gates")
				if vehicles.Count(metrics.Timeout) == 0 || vehicles.Count(metrics.Failed) == 0 || gates.Errors() > 0 || gates.Count(metrics.OK) < 20 {
					return fmt.Sprintf("vehicles: %s; gates: %s; want some errors and timeouts, and none", outcomes(vehicles), outcomes(gates))
				}
				if connects := r.Totals.Find(metrics.OpConnect, "vehicles").Count(metrics.OK); connects < 63 {
					return fmt.Sprintf("%d connections of 60 vehicles; want more, for those that were reset or died", connects)
				}
				return passed(r)
			},
		},
		{
			"provisioning",
			[]string{"stages.hold.duration=1s"},
			ends{},
			func(r *report.Run) string {
				whole, put := r.Totals.Find(metrics.OpDPSRegister, "robots"), r.Totals.Find(metrics.OpDPSPut, "robots")
				if whole.Count(metrics.OK) != 200 || put.Count(metrics.OK) != 200 || put.Count(metrics.Throttled) < 40 {
					return fmt.Sprintf("%s; requests: %s; want 200 registrations, and at least 40 refusals for load", outcomes(whole), outcomes(put))
				}
				return flawless(r)
			},
		},
		{
			"transports",
			nil,
			ends{},
			func(r *report.Run) string {
				for _, group := range []string{"mqtt", "mqtt-ws", "amqp", "amqp-ws", "https"} {
					sent, read := r.Totals.Find(metrics.OpTelemetry, group), r.Totals.Find(metrics.OpDelivery, group)
					if sent.Count(metrics.OK) < 40*4 || read.Count(metrics.OK) != sent.Count(metrics.OK) {
						return fmt.Sprintf("%s: sent %s, read %s; want four messages of each of 40 devices, and each of them read", group, outcomes(sent), outcomes(read))
					}
					if reports := r.Totals.Find(metrics.OpTwinReport, group); (reports != nil && reports.Count(metrics.OK) >= 40*4) != (group != "https") {
						return fmt.Sprintf("%s: reports %s", group, outcomes(reports))
					}
				}
				return flawless(r)
			},
		},
		{
			"gateways",
			nil,
			ends{},
			func(r *report.Run) string {
				renewed, n := r.Totals.Find(metrics.OpRenew, "sensors"), lost(r)
				// Two gateways of 200 devices, and some 40 robots.
				if renewed.Count(metrics.OK) < 2000 || n < 400 || n > 480 {
					return fmt.Sprintf("renewals %s, outages %+v; want each token renewed, and two gateways lost", outcomes(renewed), r.Outages)
				}
				return flawless(r)
			},
		},
		{
			// A device waits for one answer at a time, so that it takes more devices than the tier lets wait.
			"tier",
			[]string{
				"target.burst=3s", "fleet.groups.robots.count=800", "fleet.groups.robots.in_flight=1", "fleet.groups.robots.timeout=3m",
				"stages.ramp={name: ramp, devices: 800, connect_rate: 250/s}", "stages.hold.duration=3m", "fleet.groups.robots.reported.every=1s", "thresholds={}",
			},
			ends{"hold": counted(metrics.OpTwinReport, "", metrics.Throttled, 100)},
			func(r *report.Run) string {
				x := r.Totals.Select(metrics.OpTwinReport, "")
				if x.Count(metrics.Throttled) == 0 || x.Errors() > 0 {
					return fmt.Sprintf("%s; want some throttled and no errors", outcomes(x))
				}
				return passed(r)
			},
		},
		{
			"mixed",
			[]string{
				"fleet.groups.robots.count=100", "fleet.groups.vehicles.count=60", "stages.ramp={name: ramp, devices: 165, connect_rate: 100/s}",
				"stages.down={name: down, duration: 1s, devices: 20}", "stages.hold.report_rate=10/s", "stages.hold.duration=3m",
				"stages.rollout={name: rollout, steps: [{desired: {group: gateways, properties: {firmware: \"2.1.0\"}, within: 3m}}]}",
				"service.queries.redmond.every=1s", "service.rollouts.interval.rate=100/s", "service.rollouts.interval.at=0s", "service.rollouts.interval.timeout=3m",
				"service.rollouts.interval.waves=[{percent: 10}, {percent: 100}]",
				"thresholds={desired_reply: [\"count > 50\"], freshness: [\"count > 50\"], method: [\"count > 10\"], twin_read: [\"count > 30\"]}",
			},
			ends{"hold": both(
				counted(metrics.OpDesiredReply, "robots", metrics.OK, 60), counted(metrics.OpFreshness, "", metrics.OK, 60), counted(metrics.OpMethod, "", metrics.OK, 15),
				counted(metrics.OpTwinRead, "", metrics.OK, 40), counted(metrics.OpQuery, "redmond", metrics.OK, 1),
			)},
			passed,
		},
		{
			"rollout",
			[]string{
				"fleet.groups.robots.count=60", "stages.ramp={name: ramp, devices: 60, connect_rate: 60/s, steps: [{query: {name: redmond, expect: 60, within: 3m}}, " +
					"{await: {connected: 60, reported: 60, within: 3m}}]}",
				"stages.rollout.duration=3m", "stages.after.duration=3m", "service.rollouts.firmware.waves=[{percent: 5}, {percent: 100}]",
				"service.rollouts.firmware.timeout=3m",
				"service.queries.redmond.expect=60", "service.queries.redmond.cron=* * * * * *", "service.jobs.restart.at=0s",
				"thresholds={desired_reply: [\"count >= 60\"], \"query{name=redmond}\": [\"expected_rate >= 99%\"]}",
			},
			ends{
				"rollout": both(counted(metrics.OpDesiredReply, "", metrics.OK, 60), counted(metrics.OpMethod, "", metrics.OK, 1), counted(metrics.OpQuery, "redmond",
					metrics.OK, 2)),
				"after": both(counted(metrics.OpJob, "retag", metrics.OK, 1), counted(metrics.OpJob, "restart", metrics.OK, 1)),
			},
			func(r *report.Run) string {
				if len(r.Waves) != 2 || r.Waves[0].Answered != 3 || r.Waves[1].Answered != 57 || len(r.Jobs) != 2 || r.Jobs[0].Error+r.Jobs[1].Error != "" {
					return fmt.Sprintf("waves %+v, jobs %+v; want all devices in two waves, and both jobs done", r.Waves, r.Jobs)
				}
				return passed(r)
			},
		},
		{
			"freshness",
			[]string{
				"fleet.groups.robots.count=60", "stages.ramp={name: ramp, devices: 60, connect_rate: 60/s}", "stages.hold.duration=3m",
				"fleet.groups.robots.reported.every=3s", "service.queries.redmond.every=1s", "service.freshness.tolerance=6s",
				"thresholds={freshness: [\"p(50) > 1600ms\", \"count > 100\"], query: [\"correct_rate > 90%\"]}",
			},
			ends{"hold": both(counted(metrics.OpFreshness, "", metrics.OK, 120), counted(metrics.OpQuery, "redmond", metrics.OK, 3), counted(metrics.OpQuery,
				"redmond-cellular", metrics.OK, 1), rowsChecked)},
			passed,
		},
	}
}

// Every example runs and does what it says.
func TestExamplesRunShort(t *testing.T) {
	for _, tt := range examples() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, err := os.ReadFile(filepath.Join("..", "..", "configs", "scenarios", tt.name+".yaml"))
				if err != nil {
					t.Fatal(err)
				}
				run := runUntil(t, decode(t, string(b), tt.set...), tt.over)
				if problem := tt.want(run); problem != "" {
					t.Error(problem)
				}
				checkAccounts(t, run)
				if t.Failed() {
					t.Logf("stages %+v\nerrors %+v\nnotes %q", run.Stages, run.Totals.Errors, run.Notes)
				}
			})
		})
	}
}

// flawless is a run in which nothing failed. The examples' bounds on latency are for a machine of one's own.
func flawless(r *report.Run) string {
	for i := range r.Totals.Series {
		if x := &r.Totals.Series[i]; x.Errors() > 0 {
			return fmt.Sprintf("%s %s: %s", x.Operation, x.Group, outcomes(x))
		}
	}
	return passed(r)
}

func passed(r *report.Run) string {
	if r.Outcome != report.Passed {
		return fmt.Sprintf("the run %s: %s %+v", r.Outcome, r.Reason, r.Thresholds)
	}
	return ""
}

// lost is how many devices lost their connections in all outages.
func lost(r *report.Run) (n int) {
	for _, o := range r.Outages {
		n += o.Total
	}
	return n
}
