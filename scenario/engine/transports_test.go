package engine_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
)

// ofTransports is a fleet whose groups speak different transports to one hub.
const ofTransports = `
name: transports
seed: 7
fleet:
  client: lean
  groups:
    - {name: robots, count: 30, reported: {connectivity: {type: wifi}, every: 10s}, telemetry: {every: 5s}}
    - {name: pages, count: 20, transport: mqtt_ws, reported: {connectivity: {type: wifi}, every: 10s}, telemetry: {every: 5s}}
    - {name: posts, count: 40, transport: https, telemetry: {every: 5s}, tokens: {life: 1m}}
stages:
  - {name: come, devices: 100%, duration: 5s}
  - {name: hold, duration: 2m}
`

// accounts holds every operation of every group to its account, and nothing is left unanswered.
func accounts(t *testing.T, run *report.Run) {
	t.Helper()
	checkAccounts(t, run)
	for i := range run.Totals.Series {
		if x := &run.Totals.Series[i]; x.Count(metrics.Unanswered) > 0 {
			t.Errorf("%s of %s: %d of %d unanswered", x.Operation, x.Group, x.Count(metrics.Unanswered), x.Scheduled())
		}
	}
}

// Devices of one fleet speak MQTT, MQTT over WebSocket and HTTPS to one hub: each group does what is asked of it, and those over HTTPS
// nothing else.
func TestTransportsInOneFleet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		run := newEngine(decode(t, ofTransports), newWatcher()).Run(t.Context())
		if run.Outcome != report.Passed {
			t.Fatalf("the run %s: %s", run.Outcome, run.Reason)
		}
		accounts(t, run)
		for group, n := range map[string]uint64{"robots": 30, "pages": 20, "posts": 40} {
			connects, messages := run.Totals.Find(metrics.OpConnect, group), run.Totals.Find(metrics.OpTelemetry, group)
			if connects.Count(metrics.OK) != n || connects.Scheduled() != n {
				t.Errorf("%s: %d of %d connections were well; want %d", group, connects.Count(metrics.OK), connects.Scheduled(), n)
			}
			// Two minutes and what is left of five seconds, a message every five.
			if ok := messages.Count(metrics.OK); ok < 24*n || ok > 26*n || ok != messages.Scheduled() {
				t.Errorf("%s: %d of %d messages arrived; want 24 to 26 of each of %d devices", group, ok, messages.Scheduled(), n)
			}
			for _, op := range []metrics.Operation{metrics.OpSubscribe, metrics.OpTwinGet, metrics.OpTwinReport, metrics.OpRenew} {
				x := run.Totals.Find(op, group)
				if there := x != nil && x.Scheduled() > 0; there != (group != "posts" && op != metrics.OpRenew) {
					t.Errorf("%s of %s: %+v", op, group, x)
				}
			}
		}
	})
}

// How the first group reaches the hub is no business of the others: over WebSocket, here, and they without.
func TestTransportsBehindWebSocket(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, first := range []string{"mqtt_ws", "amqp_ws"} {
			text := `
fleet:
  client: lean
  groups:
    - {name: pages, count: 5, transport: ` + first + `, telemetry: {every: 5s}}
    - {name: robots, count: 5, telemetry: {every: 5s}}
    - {name: doors, count: 5, transport: amqp, telemetry: {every: 5s}}
    - {name: posts, count: 5, transport: https, telemetry: {every: 5s}}
stages: [{name: come, devices: 100%, duration: 5s}, {name: hold, duration: 30s}]
`
			run := newEngine(decode(t, text), newWatcher()).Run(t.Context())
			accounts(t, run)
			for _, group := range []string{"pages", "robots", "doors", "posts"} {
				connects, messages := run.Totals.Find(metrics.OpConnect, group), run.Totals.Find(metrics.OpTelemetry, group)
				if connects.Count(metrics.OK) != 5 || messages.Count(metrics.OK) < 5*6 || messages.Count(metrics.OK) != messages.Scheduled() {
					t.Errorf("%s behind %s: connections: %s; messages: %s", group, first, outcomes(connects), outcomes(messages))
				}
			}
		}
	})
}

// A hub that restarts loses MQTT devices at once, and HTTPS devices when they have something to say. All are back, and all is accounted for.
func TestTransportsThroughARestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		text := strings.Replace(ofTransports, "duration: 2m}", "duration: 2m, hub: {restart: 20s}}\n  - {name: back, duration: 1m}", 1)
		run := newEngine(decode(t, text), newWatcher()).Run(t.Context())
		accounts(t, run)
		for group, n := range map[string]uint64{"robots": 30, "pages": 20, "posts": 40} {
			connects, messages := run.Totals.Find(metrics.OpConnect, group), run.Totals.Find(metrics.OpTelemetry, group)
			if connects.Count(metrics.OK) < 2*n {
				t.Errorf("%s: %d connections were well, %d not; want each of %d devices to be back", group, connects.Count(metrics.OK), connects.Errors(), n)
			}
			if messages.Count(metrics.OK) < 24*n {
				t.Errorf("%s: %d messages arrived, %v dropped", group, messages.Count(metrics.OK), messages.Dropped)
			}
			if dropped := messages.Dropped[metrics.DropNotConnected]; (dropped > 0) != (group != "posts") {
				t.Errorf("%s: %d messages were due to devices that had no connection", group, dropped)
			}
		}
		// The hub takes connections all along, and closes them: an HTTPS device finds that out by its messages, some four in twenty seconds.
		if lost := run.Totals.Find(metrics.OpTelemetry, "posts").Count(metrics.Failed); lost < 40 || lost > 5*40 {
			t.Errorf("%d messages over HTTPS were lost; want one to five of each of 40 devices", lost)
		}
		if s := run.Stages[len(run.Stages)-1].Totals; s.Find(metrics.OpTelemetry, "posts").Errors() > 0 {
			t.Errorf("messages are lost when all is well: %+v", s.Errors)
		}
	})
}

// A hub that throttles says so over HTTPS: the message is throttled, not failed, and the device stays.
func TestThrottledOverHTTPS(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const text = `
target: {tier: S1, burst: 1s}
fleet: {groups: [{name: posts, count: 2000, transport: https, telemetry: {every: 20s, sync: true}}]}
stages: [{name: come, devices: 100%, duration: 5s}, {name: hold, duration: 30s}]
`
		run := newEngine(decode(t, text), newWatcher()).Run(t.Context())
		accounts(t, run)
		messages := run.Totals.Find(metrics.OpTelemetry, "posts")
		if messages.Count(metrics.Throttled) < 500 || messages.Count(metrics.OK) < 500 || messages.Errors() > 0 {
			t.Errorf("of %d messages %d were well, %d throttled, %d failed", messages.Scheduled(), messages.Count(metrics.OK), messages.Count(metrics.Throttled), messages.Errors())
		}
		if n := run.Totals.Find(metrics.OpConnect, "posts").Scheduled(); n != 2000 {
			t.Errorf("%d connections; want 2,000: nobody is thrown out", n)
		}
		for _, e := range run.Totals.Errors {
			if e.Operation == metrics.OpTelemetry && e.Reason != "refused with status 429" {
				t.Errorf("reason %q", e.Reason)
			}
		}
	})
}

// A hub that stalls longer than a message is waited for: it is a time-out, the connection is given up, and another one follows.
func TestStallOverHTTPS(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const text = `
fleet: {groups: [{name: posts, count: 20, transport: https, timeout: 5s, telemetry: {every: 10s}}]}
stages: [{name: come, devices: 100%, duration: 5s}, {name: stall, duration: 1m, hub: {stall: 30s}}, {name: calm, duration: 1m}]
`
		began := time.Now()
		run := newEngine(decode(t, text), newWatcher()).Run(t.Context())
		accounts(t, run)
		messages := run.Totals.Find(metrics.OpTelemetry, "posts")
		if messages.Count(metrics.Timeout) < 20 || messages.Count(metrics.OK) < 20*6 {
			t.Errorf("of %d messages %d were well, %d had no answer: %+v", messages.Scheduled(), messages.Count(metrics.OK), messages.Count(metrics.Timeout), run.Totals.Errors)
		}
		if n := run.Totals.Find(metrics.OpConnect, "posts").Count(metrics.OK); n < 40 {
			t.Errorf("%d connections; want each device to be back", n)
		}
		if took := time.Since(began); took > 3*time.Minute {
			t.Errorf("the run took %v", took)
		}
	})
}

// Devices prove who they are as their group says, whatever they speak: with keys of their own or of a group, with certificates, and as who a
// provisioning service made them.
func TestIdentitiesOverTransports(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const text = `
fleet:
  client: lean
  groups:
    - {name: keys, count: 5, transport: https, telemetry: {every: 5s}, identity: {key: MDEyMzQ1Njc4OWFiY2RlZg==}}
    - {name: doors, count: 5, transport: https, telemetry: {every: 5s}, identity: {x509: {}}}
    - {name: prints, count: 5, transport: mqtt_ws, telemetry: {every: 5s}, identity: {x509: {thumbprint: true}}}
    - {name: homes, count: 5, transport: https, telemetry: {every: 5s}, identity: {dps: {}}}
    - {name: halls, count: 5, transport: mqtt_ws, telemetry: {every: 5s}, identity: {dps: {x509: {}}}}
stages: [{name: come, devices: 100%, steps: [{await: {connected: 100%, within: 1m}}]}, {name: hold, duration: 1m}]
`
		run := newEngine(decode(t, text), newWatcher()).Run(t.Context())
		if run.Outcome != report.Passed {
			t.Fatalf("the run %s: %s", run.Outcome, run.Reason)
		}
		accounts(t, run)
		for _, group := range []string{"keys", "doors", "prints", "homes", "halls"} {
			x := run.Totals.Find(metrics.OpTelemetry, group)
			// What was due to those who had no hub yet is dropped.
			if ok := x.Count(metrics.OK); ok < 5*11 || ok+x.Dropped[metrics.DropNotConnected] != x.Scheduled() {
				t.Errorf("%s: %d of %d messages arrived, dropped %v", group, ok, x.Scheduled(), x.Dropped)
			}
		}
	})
}
