package scenario_test

import (
	"testing"

	"github.com/twinfleet/twinfleet/scenario"
)

// What may have data is no mistake, however little of it the scenario says.
func TestThresholdsThatMayHaveData(t *testing.T) {
	const (
		robots = "fleet: {groups: [{name: robots, count: 10}]}\n"
		stages = "stages: [{name: ramp, duration: 10s, devices: 10}, {name: hold, duration: 20s}]\n"
		broker = "target: {hub: \"mqtt://127.0.0.1:1883\"}\n"
	)
	for name, text := range map[string]string{
		"a query that is a step": robots + `stages: [{name: s, devices: 1, steps: [{query: {sql: SELECT * FROM devices}}]}]
thresholds: {"query{name=step}": "p(99) < 1s"}`,
		"a rare query that is a step": robots + `stages: [{name: s, duration: 5s, devices: 1, steps: [{query: {name: all}}]}]
service: {queries: [{name: all, every: 1h, sql: SELECT * FROM devices}]}
thresholds: {"query{name=all}": "p(99) < 1s"}`,
		"queries of the audit": stages + `service: {freshness: {}}
thresholds: {"query{name=freshness-probe}": "p(99) < 1s", "twin_read{name=freshness-verify}": "p(99) < 1s"}
fleet: {groups: [{name: robots, count: 10, reported: {connectivity: {type: wifi}}}]}`,
		"answers to desired properties": robots + `stages: [{name: s, devices: 1, steps: [{desired: {group: robots, properties: {a: 1}}}]}]
thresholds: {twin_report: "p(99) < 1s", desired_patch: "p(99) < 1s"}`,
		"answers to a job's": robots + stages + `service: {jobs: [{name: j, type: twin, desired: {a: 1}}]}
thresholds: {"twin_report{group=robots}": "p(99) < 1s"}`,
		"answers to others": `target: {hub: "HostName=h;SharedAccessKeyName=o;SharedAccessKey=aHVzaC1odXNo"}
` + robots + stages + `thresholds: {twin_report: "p(99) < 1s"}`,
		"telemetry that a stage asks for": robots + `stages: [{name: s, duration: 10s, devices: 1, telemetry_rate: 5/s}]
thresholds: {telemetry: {threshold: "p(99) < 1s", stage: s}}`,
		"none in a stage": `fleet: {groups: [{name: robots, count: 10, telemetry: {every: 1s}}]}
stages: [{name: ramp, duration: 10s, devices: 10}, {name: rest, duration: 20s, paused: true}]
thresholds: {telemetry: {threshold: "count < 20", stage: rest}}`,
		"a stage that lasts as long as it takes": robots + `stages: [{name: s, devices: 10, connect_rate: 1/s}]
thresholds: {connect: {threshold: "p(99) < 1s", stage: s, window: 5m}}`,
		"a window as long as the stage": robots + stages + `thresholds: {connect: {threshold: "p(99) < 1s", stage: ramp, window: 10s}}`,
		"talkers beside listeners": broker + `fleet: {groups: [{name: sensors, count: 10, telemetry: {every: 1s, deliveries: 1}}, {name: boards, subscribe: {topics: ["#"]}}]}
stages: [{name: s, duration: 10s, devices: 2}]
thresholds: {telemetry: "p(99) < 1s", "delivery{group=sensors}": "p(99) < 1s", subscribe: "p(99) < 1s", "connect{group=boards}": "p(99) < 1s"}`,
		"a fleet of listeners": broker + `fleet: {groups: [{name: boards, subscribe: {topics: ["#"]}}]}
stages: [{name: s, duration: 10s, devices: 1}]
thresholds: {connect: "p(99) < 1s"}`,
		"what is always measured": robots + stages + `thresholds: {provision: "p(99) < 1s", statistics: "p(99) < 1s", twin_get: "p(99) < 1s", subscribe: "p(99) < 1s"}`,
	} {
		if _, err := scenario.Decode("x.yaml", []byte(text), options()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
