package plan_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/plan"
	"github.com/twinfleet/twinfleet/scenario/plan/tables"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func options() scenario.Options {
	return scenario.Options{Lookup: func(string) (string, bool) { return "mqtt://127.0.0.1:1883", true }}
}

func planOf(t testing.TB, text string, o plan.Options) *plan.Plan {
	t.Helper()
	sc, err := scenario.Decode("test.yaml", []byte(text), options())
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.Make(sc, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// load writes a load as the tests compare it: peak, steady, total. The phases and sessions of single devices make
// a total differ a little from the mean: what is within that is written as the mean.
func load(p *plan.Plan, op metrics.Operation, want string) string {
	l := p.Find(op)
	if l == nil {
		return "none"
	}
	total := l.Total
	var peak, steady, mean float64
	if _, err := fmt.Sscanf(want, "%g/s %g/s %g", &peak, &steady, &mean); err == nil && math.Abs(total-mean) <= 3*math.Sqrt(mean) && total != float64(p.Devices) {
		total = mean
	}
	return fmt.Sprintf("%.4g/s %.4g/s %.6g", l.Peak, l.Steady, total)
}

// What a scenario asks for is arithmetic: the busiest second, the mean over the stage that stands for the run,
// and the total.
func TestArithmetic(t *testing.T) {
	const head = "name: x\nfleet: {groups: [{name: a, count: 100"
	for _, tt := range []struct {
		name, text string
		want       map[metrics.Operation]string
	}{
		{
			"a ramp connects evenly", head + "}]}\nstages: [{name: ramp, duration: 20s, devices: 100}, {name: hold, duration: 60s}]",
			map[metrics.Operation]string{
				"provision": "0/s 0/s 1", "connect": "5/s 0/s 100", "subscribe": "5/s 0/s 100", "twin_get": "5/s 0/s 100",
				"twin_report": "none", "telemetry": "none", "query": "none", "statistics": "0/s 0/s 1",
			},
		},
		{
			"a jump connects within a second", head + "}]}\nstages: [{name: ramp, duration: 100ms, devices: 60}, {name: up, duration: 10s, devices: 100}]",
			map[metrics.Operation]string{"connect": "60/s 0/s 100"},
		},
		{
			"down connects nobody", head + "}]}\nstages: [{name: ramp, duration: 10s, devices: 100}, {name: down, duration: 20s, devices: 0}]",
			map[metrics.Operation]string{"connect": "10/s 0/s 100"},
		},
		{
			"reports come at every connection and every so often",
			head + ", reported: {connectivity: {type: wifi}, every: 5s}}]}\nstages: [{name: ramp, duration: 10s, devices: 100}, {name: hold, duration: 60s}]",
			// ramp: 100 first ones, and 50 devices on average for 10 s; hold: 100 devices for 60 s
			map[metrics.Operation]string{"twin_report": "30/s 20/s 1400"},
		},
		{
			"in step they come in one second",
			head + ", reported: {connectivity: {type: wifi}, every: 5s, sync: true}}]}\nstages: [{name: ramp, duration: 10s, devices: 100}, {name: hold, " +
				"duration: 60s}]",
			map[metrics.Operation]string{"twin_report": "110/s 20/s 1400"},
		},
		{
			"rates of the whole fleet", head + ", reported: {connectivity: {type: wifi}}}]}\n" +
				"stages: [{name: ramp, duration: 20s, devices: 100}, {name: s, duration: 10s, report_rate: 0/s..50/s, telemetry_rate: 600/m}]",
			map[metrics.Operation]string{"twin_report": "50/s 0/s 350", "telemetry": "10/s 0/s 100"}, // 100 reports at connecting
		},
		{
			"devices that come at a rate", head + ", telemetry: {every: 1s}}]}\nstages: [{name: ramp, devices: 100, connect_rate: 20/s}, {name: more, devices: " +
				"50, connect_rate: 50/s, duration: 9s}, {name: rest, paused: true, duration: 1m}]",
			// ramp: 50 devices on average for 5 s; more: 75 for 1 s and 50 for 8 s; rest: none
			map[metrics.Operation]string{"connect": "20/s 0/s 100", "telemetry": "100/s 100/s 725"},
		},
		{
			"devices provision when they come for the first time", head + ", identity: {dps: {}}, session: {online: 50s, offline: 1s}}]}\n" +
				"stages: [{name: ramp, duration: 5s, devices: 50}, {name: down, duration: 1s, devices: 0}, {name: all, duration: 10s, devices: 100}, " +
				"{name: hold, duration: 10s}]",
			map[metrics.Operation]string{
				"dps_register": "10/s 0/s 100", "dps_connect": "10/s 0/s 100", "dps_put": "10/s 0/s 100", "dps_get": "10/s 0/s 100", "connect": "10/s 1.961/s 150",
				"provision": "none",
			},
		},
		{
			"churn", head + ", session: {online: 20s..40s, offline: exp(10s)}, telemetry: {every: 2s}}]}\n" +
				"stages: [{name: s, duration: 1s, devices: 100}, {name: hold, duration: 40s}]",
			// a cycle is 40 s: 2.5 come back a second, three in four are connected; at first all are, for 30 s on average
			map[metrics.Operation]string{"connect": "100/s 2.5/s 201.25", "telemetry": "37.5/s 37.5/s 1689"},
		},
		{
			"tokens renewed together", head + ", tokens: {life: 60s, margin: 10s}}]}\nstages: [{name: ramp, duration: 10s, devices: 100}, {name: hold, duration: 2m}]",
			// renewals run from 50 s to 60 s and from 100 s to 110 s
			map[metrics.Operation]string{"connect": "10/s 2/s 300"},
		},
		{
			"tokens renewed with spread", head + ", tokens: {life: 60s, margin: 10s, spread: 20s}}]}\n" +
				"stages: [{name: ramp, duration: 10s, devices: 100}, {name: hold, duration: 50s}]",
			// one round, from 30 s to 60 s
			map[metrics.Operation]string{"connect": "10/s 2.5/s 200"},
		},
		{
			"a rate of connections",
			head + ", telemetry: {every: 1s}}]}\nstages: [{name: ramp, duration: 30s, devices: 100, connect_rate: 10/s}, {name: hold, duration: 60s}]",
			// the ramp takes 10 s with 50 devices on average, and goes on with all for 20 s
			map[metrics.Operation]string{"connect": "10/s 0/s 100", "telemetry": "100/s 100/s 8500"},
		},
		{
			"a rate of connections that rises, without a duration",
			head + "}]}\nstages: [{name: ramp, devices: 50, connect_rate: 5/s}, {name: more, duration: 10s, devices: 100, connect_rate: 0/s..10/s}]",
			map[metrics.Operation]string{"connect": "10/s 0/s 100"},
		},
		{
			"going at a rate", head + ", telemetry: {every: 1s}}]}\nstages: [{name: ramp, duration: 1s, devices: 100}, {name: down, duration: 20s, devices: 0, " +
				"connect_rate: 10/s}]",
			map[metrics.Operation]string{"connect": "100/s 0/s 100", "telemetry": "100/s 100/s 550"},
		},
		{
			"a pause", head + ", reported: {connectivity: {type: wifi}, every: 5s}, telemetry: {every: 1s}}]}\n" +
				"stages: [{name: ramp, duration: 10s, devices: 100}, {name: pause, duration: 60s, paused: true}, {name: hold, duration: 10s}]",
			map[metrics.Operation]string{"twin_report": "30/s 20/s 400", "telemetry": "100/s 100/s 1500"},
		},
		{
			"a storm", head + "}]}\nstages: [{name: ramp, duration: 10s, devices: 100}, {name: storm, duration: 60s, storm: {drop: 80%, within: 4s}}]",
			map[metrics.Operation]string{"connect": "20/s 0/s 180", "twin_get": "20/s 0/s 180"},
		},
		{
			"the service side", head + "}]}\nstages: [{name: s, duration: 60s, devices: 100}]\n" +
				"service: {tags: {a: {b: 1}}, queries: [{name: q, every: 5s, sql: SELECT * FROM devices}, {name: r, every: 500ms, sql: SELECT * FROM devices}]}",
			map[metrics.Operation]string{"tag": "0/s 0/s 100", "query": "2.2/s 2.2/s 132"},
		},
		{
			"queries during stages and by the clock",
			head + "}]}\nstages: [{name: s, duration: 60s, devices: 100}, {name: t, duration: 120s}]\n" +
				"service: {queries: [{name: q, every: 5s, stages: [t], sql: SELECT * FROM devices}, {name: r, cron: '*/5 * * * *', sql: SELECT * FROM devices}]}",
			// 24 in the second stage, and one in five minutes
			map[metrics.Operation]string{"query": "0.2033/s 0.2033/s 24.6"},
		},
		{
			"direct methods and twin reads",
			head + "}]}\nstages: [{name: s, duration: 40s, devices: 100}, {name: t, duration: 60s}]\n" +
				"service: {methods: [{name: m, group: a, method: reboot, rate: 0/s..10/s}, {name: n, group: a, method: reboot, rate: 2/s..4/s, stages: [t]}], " +
				"twin_reads: [{group: a, rate: 5/s}]}",
			// m rises to 4/s in the first stage and to 10/s in the second; n adds 3/s on average in the second
			map[metrics.Operation]string{"method": "14/s 13/s 680", "twin_read": "5/s 5/s 500"},
		},
		{
			"a rollout", head + "}]}\nstages: [{name: s, duration: 10s, devices: 100}, {name: t, duration: 60s}]\n" +
				"service: {rollouts: [{name: r, group: a, stage: t, at: 5s, properties: {v: 2}, rate: 10/s, waves: [{percent: 10, for: 20s}, {percent: 100}]}]}",
			map[metrics.Operation]string{"desired_patch": "10/s 0/s 100", "desired": "10/s 0/s 100", "desired_reply": "10/s 0/s 100", "twin_report": "10/s 0/s 100"},
		},
		{
			"a rollout that the run cuts short, to devices that do not answer",
			"name: x\nfleet: {groups: [{name: a, count: 100, desired: {answer: false}}]}\nstages: [{name: s, duration: 10s, devices: 100}]\n" +
				"service: {rollouts: [{name: r, group: a, properties: {v: 2}, rate: 5/s}]}",
			map[metrics.Operation]string{"desired_patch": "5/s 0/s 50", "desired": "5/s 0/s 50", "twin_report": "none", "desired_reply": "none"},
		},
		{
			"jobs and the freshness audit",
			head + ", reported: {connectivity: {type: wifi}}}]}\nstages: [{name: s, duration: 10s, devices: 100}, {name: t, duration: 100s}]\n" +
				"service: {freshness: {probe: 1s}, jobs: [{name: j, type: twin, tags: {b: 1}, stage: t, at: 5s}, {name: k, type: twin, tags: {b: 1}, at: 1h}]}",
			// a hundred ids of eight characters fit into one query
			map[metrics.Operation]string{"job": "0/s 0/s 1", "query": "1/s 1/s 110"},
		},
		{
			"steps", head + "}]}\nstages: [{name: s, devices: 100, steps: [{statistics: {}}, {tag: {group: a, tags: {b: 1}}}, {query: {sql: SELECT * FROM " +
				"devices}}, {desired: {group: a, properties: {b: 1}}}, {await: {connected: 100}}]}]",
			map[metrics.Operation]string{
				"statistics": "0/s 0/s 2", "tag": "0/s 0/s 100", "query": "0/s 0/s 1", "desired_patch": "0/s 0/s 100",
				"connect": "100/s 0/s 100",
			},
		},
		{
			"two groups share the fleet", "name: x\nfleet: {groups: [{name: a, count: 30, telemetry: {every: 1s}}, {name: b, count: 10, telemetry: {every: " +
				"10s}}]}\nstages: [{name: s, duration: 10s, devices: 40}, {name: hold, duration: 20s}]",
			map[metrics.Operation]string{"connect": "4/s 0/s 40", "telemetry": "31/s 31/s 775"},
		},
		{
			"a broker has no twins", "name: x\ntarget: {hub: 'mqtt://b'}\nfleet: {groups: [{name: a, count: 10, telemetry: {every: 1s}}]}\n" +
				"stages: [{name: s, duration: 10s, devices: 10}]",
			map[metrics.Operation]string{
				"connect": "1/s 0/s 10", "twin_get": "none", "subscribe": "none", "delivery": "none", "provision": "none",
				"statistics": "none", "telemetry": "10/s 10/s 50",
			},
		},
		{
			"listeners on a broker start first",
			"name: x\ntarget: {hub: 'mqtt://b'}\nfleet: {groups: [{name: a, count: 10, telemetry: {every: 1s, topic: x, deliveries: 2}}, {name: l, count: 10, " +
				"subscribe: {topics: [x]}}]}\nstages: [{name: s, duration: 10s, devices: 10, telemetry_rate: 2/s}, {name: t, duration: 10s, devices: 20}]",
			map[metrics.Operation]string{"connect": "1/s 0/s 20", "subscribe": "1/s 0/s 10", "telemetry": "10/s 10/s 70", "delivery": "20/s 20/s 140"},
		},
		{
			"who is not there yet gets nothing: 0, then 2 and then 4 copies of each message",
			"name: x\ntarget: {hub: 'mqtt://b'}\nfleet: {groups: [{name: a, count: 10, telemetry: {every: 1s, topic: x, deliveries: all}}, {name: l, count: 4, subscribe: {topics: [x]}}]}\n" +
				"stages: [{name: s, duration: 10s, devices: {a: 10}}, {name: t, duration: 10s, devices: {l: 4}}, {name: u, duration: 10s}]",
			map[metrics.Operation]string{"telemetry": "10/s 10/s 250", "delivery": "40/s 40/s 600"},
		},
		{
			"senders and listeners that come in one stage are together more than half of them are in the mean",
			"name: x\ntarget: {hub: 'mqtt://b'}\nfleet: {groups: [{name: a, count: 10, telemetry: {every: 1s, topic: x, deliveries: all}}, {name: l, count: 4, subscribe: {topics: [x]}}]}\n" +
				"stages: [{name: s, duration: 12s, devices: {a: 10, l: 4}}, {name: u, duration: 10s}]",
			map[metrics.Operation]string{"telemetry": "10/s 10/s 160", "delivery": "40/s 40/s 560"},
		},
		{
			"who goes offline misses what is sent meanwhile",
			"name: x\ntarget: {hub: 'mqtt://b'}\nfleet: {groups: [{name: a, count: 10, telemetry: {every: 1s, topic: x, deliveries: all}}, {name: l, count: 4, subscribe: {topics: [x]}, session: {online: 5s, offline: 5s}}]}\n" +
				"stages: [{name: s, duration: 4s, devices: 4}, {name: t, duration: 10s, devices: 14}, {name: u, duration: 10s}]",
			map[metrics.Operation]string{"telemetry": "10/s 10/s 150", "delivery": "20/s 20/s 300"},
		},
		{
			"but gets it later, when the session is kept, though not what was sent before it",
			"name: x\ntarget: {hub: 'mqtt://b'}\nfleet: {groups: [{name: a, count: 10, telemetry: {every: 1s, topic: x, deliveries: all}}, {name: l, count: 4, subscribe: {topics: [x]}, session: {online: 5s, offline: 5s, clean: false}}]}\n" +
				"stages: [{name: s, duration: 10s, devices: {a: 10}}, {name: t, duration: 10s, devices: {l: 4}}, {name: u, duration: 10s}]",
			map[metrics.Operation]string{"telemetry": "10/s 10/s 250", "delivery": "40/s 40/s 600"},
		},
		{
			"kinds of messages, of which one is a request",
			"name: x\ntarget: {hub: 'mqtt://b', mqtt: 5}\nfleet: {groups: [{name: a, count: 10, telemetry: {every: 1s, topic: x}, messages: [{name: asks, every: 2s, topic: y, " +
				"deliveries: all, mqtt5: {reply_to: 'r/{device}'}}]}, {name: l, count: 10, subscribe: {topics: [y], respond: true}}]}\n" +
				"stages: [{name: s, duration: 10s, devices: 20}, {name: t, duration: 10s}]",
			map[metrics.Operation]string{"connect": "2/s 0/s 20", "subscribe": "2/s 0/s 20", "telemetry": "15/s 15/s 187.5", "request": "5/s 5/s 62.5", "delivery": "50/s 50/s 625"},
		},
		{
			"sessions that are kept, in which nobody subscribes anew",
			"name: x\ntarget: {hub: 'mqtt://b', mqtt: 5}\nfleet: {groups: [{name: l, count: 10, subscribe: {topics: [y]}, session: {online: 5s, offline: 5s, clean: false}}]}\n" +
				"stages: [{name: s, duration: 10s, devices: 10}, {name: t, duration: 20s}, {name: off, duration: 5s, devices: 0}, {name: on, duration: 10s, devices: 10}]",
			map[metrics.Operation]string{"subscribe": "1/s 0/s 10"},
		},
	} {
		p := planOf(t, tt.text, plan.Options{})
		for op, want := range tt.want {
			if got := load(p, op, want); got != want {
				t.Errorf("%s: %s = %s; want %s", tt.name, op, got, want)
			}
		}
	}
}

func TestMachine(t *testing.T) {
	const rest = "\nfleet: {groups: [{name: a, count: 1000}]}\nstages: [{name: s, duration: 10s, devices: 800}]"
	const hub = "HostName=h.azure-devices.net;SharedAccessKeyName=o;SharedAccessKey=aHVzaA=="
	for target, want := range map[string]plan.Machine{
		"{hub: embedded}":                   {Descriptors: 32 + 2*840, Ports: 840, PerAddress: 840, Addresses: 1, Destinations: 1},
		"{transport: memory}":               {Descriptors: 32, Addresses: 1, Destinations: 1},
		"{hub: '" + hub + "'}":              {Descriptors: 32 + 840, Ports: 840, PerAddress: 840, Addresses: 1, Destinations: 1},
		"{hub: '" + hub + "', plain: true}": {Descriptors: 32 + 840, Ports: 840, PerAddress: 840, Addresses: 1, Destinations: 1},
		"{hubs: ['" + hub + "', '" + strings.Replace(hub, "h.", "i.", 1) + "']}": {Descriptors: 32 + 840, Ports: 840, PerAddress: 440, Addresses: 1, Destinations: 2}, // 400, and 40 of the service side
		"{hub: 'mqtt://b'}": {Descriptors: 32 + 800, Ports: 800, PerAddress: 800, Addresses: 1, Destinations: 1},
		"{hub: 'wss://b'}":  {Descriptors: 32 + 800, Ports: 800, PerAddress: 800, Addresses: 1, Destinations: 1},
	} {
		got := planOf(t, "target: "+target+rest, plan.Options{}).Machine
		got.Memory, got.Processors, got.Client = 0, 0, ""
		if got != want {
			t.Errorf("%s needs %+v; want %+v", target, got, want)
		}
	}
	text := strings.Replace("target: {transport: memory}"+rest, "groups:", "source_addresses: [127.0.0.1, 127.0.0.2], groups:", 1)
	if got := planOf(t, text, plan.Options{}).Machine; got.PerAddress != 0 || got.Ports != 0 {
		t.Errorf("in memory, with two source addresses: %+v", got)
	}
	text = strings.Replace("target: {hub: 'mqtt://b'}"+rest, "groups:", "source_addresses: [127.0.0.1, 127.0.0.2, 127.0.0.3], groups:", 1)
	if got := planOf(t, text, plan.Options{}).Machine; got.Addresses != 3 || got.PerAddress != 267 || got.Ports != 800 {
		t.Errorf("with three source addresses: %+v", got)
	}
}

// The memory of runs that were made, as docs/capacity.md has it, is estimated to a fifth.
func TestMemoryAsMeasured(t *testing.T) {
	const (
		hub     = "hub: 'HostName=h;SharedAccessKeyName=o;SharedAccessKey=aHVzaA=='"
		inClear = hub + ", plain: true"
		busy    = ", reported: {connectivity: {type: wifi}, every: 15s}, telemetry: {every: 10s, payload: {temperature: '{{ normal 21 3 }}', sequence: '{{ seq }}'}}"
		asks    = "service: {tags: {a: {plant: x}}, queries: [{name: q, every: 5s, sql: SELECT * FROM devices}]}"
	)
	for _, tt := range []struct {
		client       string
		devices      int
		target, does string
		ramp, hold   string
		service      string
		measured     float64 // MB
	}{
		{"paho", 500, "hub: embedded", "", "20s", "40s", "", 69.3},
		{"paho", 3000, "hub: embedded", "", "20s", "40s", "", 221.7},
		{"paho", 500, "hub: embedded", busy, "20s", "40s", "", 79.0},
		{"paho", 1500, "hub: embedded", busy, "30s", "60s", "", 178.7},
		{"paho", 3000, "hub: embedded", busy, "20s", "40s", "", 319.1},
		{"paho", 3000, "hub: embedded", busy, "20s", "130s", "", 380.0},
		{"paho", 500, "hub: embedded", busy, "20s", "60s", asks, 102.5},
		{"paho", 3000, "hub: embedded", busy, "20s", "60s", asks, 406.2},
		{"paho", 500, inClear, "", "20s", "40s", "", 66.3},
		{"paho", 3000, inClear, "", "20s", "40s", "", 212.8},
		{"paho", 3000, inClear, busy, "20s", "40s", "", 249.3},
		{"paho", 3000, inClear, busy, "20s", "60s", asks, 365.9},
		{"paho", 500, hub, "", "20s", "40s", "", 84.2},
		{"paho", 3000, hub, "", "20s", "40s", "", 291.1},
		{"paho", 3000, hub, busy, "20s", "40s", "", 381.5},
		{"lean", 500, "hub: embedded", "", "20s", "40s", "", 40.2},
		{"lean", 3000, "hub: embedded", "", "20s", "40s", "", 66.6},
		{"lean", 500, "hub: embedded", busy, "20s", "40s", "", 47.1},
		{"lean", 3000, "hub: embedded", busy, "20s", "40s", "", 69.6},
		{"lean", 3000, "hub: embedded", busy, "20s", "130s", "", 78.4},
		{"lean", 500, "hub: embedded", busy, "20s", "60s", asks, 56.8},
		{"lean", 3000, "hub: embedded", busy, "20s", "60s", asks, 83.8},
		{"lean", 3000, inClear, "", "20s", "40s", "", 54.5},
		{"lean", 3000, inClear, busy, "20s", "40s", "", 62.8},
		{"lean", 3000, inClear, busy, "20s", "60s", asks, 76.0},
		{"lean", 3000, hub, "", "20s", "40s", "", 86.1},
		{"lean", 3000, hub, busy, "20s", "40s", "", 87.6},
		{"lean", 5000, "hub: embedded", busy, "10s", "12s", "", 84.2},
		{"lean", 5000, "hub: embedded", ", transport: amqp" + busy, "10s", "12s", "", 146.1},
		{"lean", 5000, "hub: embedded", ", transport: amqp, devices_per_connection: 500" + busy, "10s", "12s", "", 118.4},
		{"lean", 5000, "hub: embedded", ", transport: https, telemetry: {every: 10s}", "10s", "12s", "", 236.1},
	} {
		text := fmt.Sprintf("target: {%s}\nfleet: {client: %s, groups: [{name: a, count: %d%s}]}\n"+
			"stages: [{name: ramp, duration: %s, devices: %[3]d}, {name: hold, duration: %[6]s}]\n%[7]s",
			tt.target, tt.client, tt.devices, tt.does, tt.ramp, tt.hold, tt.service)
		got := float64(planOf(t, text, plan.Options{}).Machine.Memory) / 1e6
		if ratio := got / tt.measured; ratio < 0.8 || ratio > 1.2 {
			t.Errorf("%.0f MB are planned, %.1f were used (%.2f) by\n%s", got, tt.measured, ratio, text)
		}
	}
	// Certificates mean TLS on both ends; a day takes no more than what a heap grows to.
	const more = "fleet: {groups: [{name: a, count: 800%s}]}\nstages: [{name: s, duration: %s, devices: 800}]"
	of := func(identity, duration string) float64 {
		return float64(planOf(t, fmt.Sprintf(more, identity, duration), plan.Options{}).Machine.Memory) / 1e6
	}
	if with, without := of(", identity: {x509: {}}", "10s"), of("", "10s"); with < without+20 {
		t.Errorf("%.0f MB with certificates, %.0f without", with, without)
	}
	if day, week := of(", telemetry: {every: 1s}", "24h"), of(", telemetry: {every: 1s}", "168h"); day != week || day > 200 {
		t.Errorf("%.0f MB for a day, %.0f for a week", day, week)
	}
}

func TestTier(t *testing.T) {
	const text = "fleet: {groups: [{name: a, count: %d, telemetry: {every: %s, payload: {x: '{{ seq }}'}}}]}\n" +
		"stages: [{name: ramp, duration: %s, devices: %[1]d}, {name: hold, duration: 10m}]"
	for _, tt := range []struct {
		name       string
		text, tier string
		units      int
		sure, may  []string // a part of each line
	}{
		{"within", fmt.Sprintf(text, 100, "10m", "10s"), "S1", 1, nil, nil},
		{
			"telemetry for ten minutes", fmt.Sprintf(text, 1000, "5s", "20s"), "S1", 1,
			[]string{"telemetry: stage hold asks for 120,000 in 10m00s (200/s), one unit of S1 allows 100/s; some 54,000 wait"},
			nil,
		},
		{"more units help", fmt.Sprintf(text, 1000, "5s", "20s"), "S2", 3, nil, nil},
		{"a burst is covered", fmt.Sprintf(text, 5000, "6h", "1s"), "S1", 1, nil, nil},
		{
			"a burst is not covered", fmt.Sprintf(text, 7000, "6h", "1s"), "S1", 1,
			[]string{"connections: stage ramp asks for 7,000 in 1.00s (7,000/s), one unit of S1 allows 100/s; some 900 wait", "twin reads"},
			nil,
		},
		{"basic tiers have no twins", fmt.Sprintf(text, 10, "1h", "1s"), "B1", 1, []string{"twin reads: tier B1 has none; take a standard tier"}, nil},
		{
			"a storm", "fleet: {groups: [{name: a, count: 9000}]}\nstages: [{name: ramp, duration: 5m, devices: 9000}, {name: storm, duration: 10m, storm: " +
				"{drop: 100%, within: 1s}}]",
			"S1", 1,
			[]string{"connections: stage storm has a burst of 9,000/s for 1.00s, one unit of S1 allows 100/s; some 2,900 wait", "twin reads: stage storm"},
			nil,
		},
		{
			"queries that may have many pages",
			"fleet: {groups: [{name: a, count: 1000}]}\nstages: [{name: s, duration: 10m, devices: 1000}]\n" +
				"service: {queries: [{name: q, every: 6s, sql: SELECT * FROM devices}]}",
			"S1", 1, nil,
			[]string{"queries: stage s asks for 1,000 in 10m00s (1.67/s), one unit of S1 allows 20/min"},
		},
		{
			"a pause asks for nothing", strings.Replace(fmt.Sprintf(text, 1000, "5s", "20s"), "{name: hold, ", "{name: hold, paused: true, ", 1), "S1", 1, nil, nil,
		},
		{
			"tags in bulk are as many updates",
			"fleet: {groups: [{name: a, count: 7000}]}\nstages: [{name: ramp, duration: 60s, devices: 7000}]\nservice: {tags: {a: {b: 1}}, tag_mode: bulk}", "S1", 1,
			[]string{"twin updates: stage ramp asks for 7,000 in 1m00s (117/s), one unit of S1 allows 50/s"},
			nil,
		},
	} {
		c := planOf(t, tt.text, plan.Options{Tier: tt.tier, Units: tt.units}).Tier
		for _, x := range []struct {
			kind      string
			got, want []string
		}{{"exceeded", c.Exceeded, tt.sure}, {"possible", c.Possible, tt.may}} {
			ok := len(x.got) == len(x.want)
			for i := 0; ok && i < len(x.got); i++ {
				ok = strings.Contains(x.got[i], x.want[i])
			}
			if !ok {
				t.Errorf("%s: %s %q; want %q", tt.name, x.kind, x.got, x.want)
			}
		}
	}
	sc, err := scenario.Decode("x.yaml", fmt.Appendf(nil, text, 1, "1s", "1s"), options())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plan.Make(sc, plan.Options{Tier: "S9"}); !errors.Is(err, tier.ErrTier) {
		t.Errorf("tier S9: %v", err)
	}
}

// The quota of a day: what a run uses of it, what a day would that goes on as the run could stay, and when the hub
// cuts the fleet off. The day begins with the run.
func TestQuota(t *testing.T) {
	const (
		report = "fleet: {groups: [{name: a, count: %d, reported: {connectivity: {type: wifi}, every: 30s}}]}\nstages: "
		hold   = "[{name: ramp, duration: 1m, devices: 1400}, {name: hold, duration: 5m}]"
		asks   = "\nservice: {queries: [{name: q, every: %s, sql: SELECT * FROM devices}]}"
	)
	for _, tt := range []struct {
		name       string
		text, tier string
		units      int
		use        plan.QuotaUse
		want       string // with # for what the phases of single devices decide
		cut        float64
	}{
		{
			"a fleet of 1,400", fmt.Sprintf(report, 1400) + hold, "S1", 2, plan.QuotaEndsLater,
			"this run uses # of the day's 800,000 messages; kept up all day as in stage hold it would be 4,032,000: the hub cuts the whole fleet off after " +
				"about 4h45m, until midnight UTC", 17_130,
		},
		{
			"the tier that takes it", fmt.Sprintf(report, 1400) + hold, "S2", 1, plan.QuotaFits,
			"this run uses # of the day's 6,000,000 messages; kept up all day as in stage hold it would be 4,032,000 (68 %)", 0,
		},
		{
			"a staircase", fmt.Sprintf(report,
				1000) + "[{name: a, duration: 1m, devices: 200}, {name: b, duration: 1m, devices: 400}, {name: c, duration: 10m, devices: 1000}, {name: d, " +
				"duration: 1m, devices: 0}]", "S2", 1, plan.QuotaFits,
			"this run uses # of the day's 6,000,000 messages; kept up all day with the 1,000 devices at the end of stage c it would be 2,880,000 (48 %)", 0,
		},
		{
			"in the run", fmt.Sprintf(report, 1400) + strings.Replace(hold, "5m", "10h", 1), "S1", 2, plan.QuotaEnds,
			"this run uses # of the day's 800,000 messages: the hub cuts the whole fleet off after about 4h45m, until midnight UTC", 17_130,
		},
		{
			"meters of half a kilobyte", strings.Replace(fmt.Sprintf(report, 10)+hold, "1400", "10", 1), "F1", 1, plan.QuotaEndsLater,
			"this run uses # of the day's 8,000 messages; kept up all day as in stage hold it would be 28,800: the hub cuts the whole fleet off after about " +
				"6h38m, until midnight UTC", 23_904,
		},
		{"days that are renewed", strings.Replace(fmt.Sprintf(report, 130)+"[{name: ramp, duration: 1m, devices: 130}, {name: hold, duration: 72h}]", "1400",
			"10", 1), "S1", 1, plan.QuotaFits, "this run uses # of the day's 400,000 messages; kept up all day as in stage hold it would be 374,400 (94 %)", 0},
		{
			"a day that is full only once it is whole", fmt.Sprintf(report, 139) + "[{name: ramp, duration: 20m, devices: 139}]", "S1", 1, plan.QuotaEndsLater,
			"this run uses # of the day's 400,000 messages; kept up all day with the 139 devices at the end of stage ramp it would be 400,320: the hub cuts " +
				"the whole fleet off after about 47h58m, until midnight UTC", 172_730,
		},
		{
			"queries that may find all", "fleet: {groups: [{name: a, count: 1000}]}\nstages: [{name: s, duration: 10m, devices: 1000}]" + fmt.Sprintf(asks,
				"6s"), "S1", 1, plan.QuotaMayEnd,
			"this run uses 1,100 to 28,000 of the day's 400,000 messages; kept up all day with the 1,000 devices at the end of stage s it would be 14,400 to " +
				"3,888,000: if queries find the whole fleet, the hub cuts the whole fleet off after about 2h27m, until midnight UTC", 0,
		},
		{
			"nobody", "fleet: {groups: [{name: a, count: 1}]}\nstages: [{name: s, duration: 1m, devices: 0}]", "S1", 1, plan.QuotaFits,
			"this run uses 0 of the day's 400,000 messages", 0,
		},
		{"no tier", fmt.Sprintf(report, 1400) + hold, "", 0, plan.QuotaFits, "", 0},
	} {
		p := planOf(t, tt.text, plan.Options{Tier: tt.tier, Units: tt.units})
		use, got := p.Quota()
		before, rest, _ := strings.Cut(tt.want, "#")
		if use != tt.use || !strings.HasPrefix(got, before) || !strings.HasSuffix(got, rest) || math.Abs(p.Metering.CutOff-tt.cut) > 60 {
			t.Errorf("%s: %d, %q, cut off after %.0f s; want %d, %q, %.0f s", tt.name, use, got, p.Metering.CutOff, tt.use, tt.want, tt.cut)
		}
	}
}

// What IoT Hub meters, and by how much (iot-hub-devguide-pricing).
func TestMetering(t *testing.T) {
	const head = "fleet: {groups: [{name: a, count: 10, desired: {answer: false}%s}]}\n" +
		"stages: [{name: s, duration: 1ms, devices: 10%s}, {name: hold, duration: 10s}]\n%s"
	for name, tt := range map[string]struct {
		group, stage, service string
		least, most           float64
	}{
		"a connection reads its twin": {"", "", "", 10, 10},
		"reports":                     {", reported: {connectivity: {type: wifi}}", "", "", 20, 20},
		"messages by their size":      {", telemetry: {every: 10s, sync: true, payload: {x: '" + strings.Repeat("x", 5000) + "'}}", "", "", 30, 30},
		"texts by their size":         {", telemetry: {every: 10s, sync: true, payload: '" + strings.Repeat("x", 5000) + "'}", "", "", 30, 30},
		"bytes by their size":         {", telemetry: {every: 10s, sync: true, payload_bytes: {random: 5KB}}", "", "", 30, 30},
		"zeros by their size":         {", telemetry: {every: 10s, sync: true, payload_bytes: {zero: 9KB}}", "", "", 40, 40},
		"fillers by their size":       {", telemetry: {every: 10s, sync: true, payload: {x: '{{ uuid }}'}, payload_size: 5KB}", "", "", 30, 30},
		"fillers of nothing":          {", telemetry: {every: 10s, sync: true, payload_size: 9KB}", "", "", 40, 40},
		"rows by their size":          {", telemetry: {every: 10s, sync: true, payload_file: testdata/rows.jsonl}", "", "", 30, 30},
		"data by its size":            {", telemetry: {every: 10s, sync: true, payload: '{{ data \"x\" }}', data: testdata/rows.jsonl}", "", "", 30, 30},
		// at 10 s: who comes after 0 s waits for that
		"tags":                  {"", "", "service: {tags: {a: {b: 1}}}", 20, 20},
		"tags in bulk":          {"", "", "service: {tags: {a: {b: 1}}, tag_mode: bulk}", 20, 20},
		"statistics are free":   {"", ", steps: [{statistics: {}}]", "", 10, 10},
		"a query by its result": {"", ", steps: [{query: {sql: SELECT * FROM devices}}]", "", 11, 13},
		"desired properties, and telling those there":   {"", ", steps: [{desired: {group: a, properties: {b: 1}}}]", "", 25, 25}, // half of the devices on average
		"direct methods count twice":                    {"", "", "service: {methods: [{name: m, group: a, method: r, rate: 1/s, stages: [hold]}]}", 30, 30},
		"twin reads":                                    {"", "", "service: {twin_reads: [{group: a, rate: 1/s, stages: [hold]}]}", 20, 20},
		"a job is free, what it does to devices is not": {"", "", "service: {jobs: [{name: j, type: twin, tags: {b: 1}}]}", 20, 20},
	} {
		p := planOf(t, fmt.Sprintf(head, tt.group, tt.stage, tt.service), plan.Options{})
		if m := p.Metering; m.RunLeast != tt.least || m.Run != tt.most {
			t.Errorf("%s: %g to %g messages; want %g to %g", name, m.RunLeast, m.Run, tt.least, tt.most)
		}
	}
}

// However a ramp is cut into stages, the same devices connect, and no second is busier than the steepest part.
func TestCutsChangeNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		devices := rapid.IntRange(1, 5000).Draw(t, "devices")
		cuts := rapid.IntRange(1, 6).Draw(t, "cuts")
		var b strings.Builder
		fmt.Fprintf(&b, "fleet: {groups: [{name: a, count: %d, telemetry: {every: 3s}}]}\nstages:\n", devices)
		steepest := 0.0
		for i := range cuts {
			seconds := rapid.IntRange(1, 60).Draw(t, "seconds")
			fmt.Fprintf(&b, "  - {name: s%d, duration: %ds, devices: %d}\n", i, seconds, devices*(i+1)/cuts)
			steepest = max(steepest, float64(devices*(i+1)/cuts-devices*i/cuts)/float64(seconds))
		}
		sc, err := scenario.Decode("x.yaml", []byte(b.String()), options())
		if err != nil {
			t.Fatal(err)
		}
		p, err := plan.Make(sc, plan.Options{})
		if err != nil {
			t.Fatal(err)
		}
		c := p.Find(metrics.OpConnect)
		if math.Abs(c.Total-float64(devices)) > 1e-6 || math.Abs(c.Peak-steepest) > 1e-6 || p.Peak != devices {
			t.Fatalf("%+v; want %d in all, %g at most", *c, devices, steepest)
		}
	})
}

// Golden: every case is a scenario and the plan that is printed of it.
func TestGolden(t *testing.T) {
	const path = "testdata/plans.txtar"
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(archive.Files); i += 2 {
		in, want := archive.Files[i], &archive.Files[i+1]
		p := planOf(t, string(in.Data), plan.Options{})
		var b bytes.Buffer
		if strings.HasSuffix(want.Name, ".json") {
			enc := json.NewEncoder(&b)
			enc.SetIndent("", "  ")
			err = enc.Encode(p)
		} else {
			err = tables.Write(&b, p)
		}
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			want.Data = b.Bytes()
		} else if b.String() != string(want.Data) {
			t.Errorf("%s:\n%swant:\n%s", in.Name, b.String(), want.Data)
		}
	}
	if *update {
		if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Every example can be planned for every tier.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../../configs/scenarios/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, f := range files {
		sc, err := scenario.Load(f, options())
		if err != nil {
			t.Fatal(err)
		}
		connections := 0 // of those who are there at the most; of those who share one it is one
		for i := range sc.Fleet.Groups {
			connections += (sc.Fleet.Groups[i].Count + max(1, sc.Fleet.Groups[i].Shared) - 1) / max(1, sc.Fleet.Groups[i].Shared)
		}
		for _, x := range tier.All() {
			p, err := plan.Make(sc, plan.Options{Tier: string(x), Units: 1})
			if err != nil {
				t.Fatal(err)
			}
			if c := p.Find(metrics.OpConnect); c == nil || c.Total < float64(p.Peak)-1e-6 || p.Machine.Descriptors < min(p.Peak, connections) {
				t.Errorf("%s: %+v connects for %d devices, machine %+v", f, c, p.Peak, p.Machine)
			}
		}
	}
}

// When stages tell groups apart, the busiest state is that in which most is done, not that with the most devices.
func TestBusiestGroups(t *testing.T) {
	const fleet = "target: {tier: S1, units: 2}\nfleet: {groups: [{name: robots, count: 1000}, {name: gates, count: 100, reported: {connectivity: {type: " +
		"wifi}, every: 3s}}]}\n"
	for _, x := range []struct {
		stages, stage string
		reports       float64 // a second
	}{
		{"[{name: a, duration: 20s, devices: {robots: 1000}}, {name: b, duration: 5m}, {name: swap, duration: 10s, devices: {robots: 0, gates: 100}}, " +
			"{name: hold, duration: 10m}]", "hold", 100.0 / 3},
		{"[{name: g, duration: 1m, devices: {gates: 60}}, {name: r, duration: 10s, devices: {robots: 1000}}, {name: some, duration: 1m, devices: {gates: " +
			"30, robots: 0}}]", "r", 20},
		{"[{name: r, duration: 10s, devices: {robots: 50}}, {name: more, duration: 10s, devices: {robots: 100}}]", "more", 0},
	} {
		p := planOf(t, fleet+"stages: "+x.stages+"\n", plan.Options{})
		if p.Steady == nil || p.Steady.Stage != x.stage {
			t.Errorf("%s: steady %+v; want stage %s", x.stages, p.Steady, x.stage)
		}
		if l := p.Find(metrics.OpTwinReport); l != nil && math.Abs(l.Steady-x.reports) > 1e-9 {
			t.Errorf("%s: %g reports a second go on; want %g", x.stages, l.Steady, x.reports)
		}
	}
}

// A stage that has nothing to do but to reach a number of devices that is there already takes no time, and has no steps.
func TestStageWithoutAWay(t *testing.T) {
	p := planOf(t, "fleet: {groups: [{name: a, count: 2}]}\nstages: [{name: up, duration: 2s, devices: 2}, {name: there, devices: 2, connect_rate: "+
		"2/s}]\n", plan.Options{})
	var b strings.Builder
	if err := tables.Write(&b, p); err != nil {
		t.Fatal(err)
	}
	if p.Open || p.Seconds != 2 || !strings.Contains(b.String(), "there  no time") || strings.Contains(b.String(), "steps") {
		t.Errorf("open %t, %g s\n%s", p.Open, p.Seconds, b.String())
	}
}
