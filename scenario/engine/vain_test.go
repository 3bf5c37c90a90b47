package engine_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/generator"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

// nobodyListens is a broker on a port that is closed.
const nobodyListens = `
name: nobody
target: {hub: "mqtt://127.0.0.1:1"}
fleet: {groups: [{name: probes, count: 3, telemetry: {every: 100ms}}]}
stages: [{name: s, devices: 3, duration: 500ms}]
`

// deafGroup has a service side that calls devices which are not there.
const deafGroup = `
name: deaf
fleet:
  groups:
    - {name: robots, count: 2, telemetry: {every: 1h}}
    - {name: absent, count: 1, session: {online: 50ms, offline: 1h}}
stages: [{name: ramp, devices: 3, duration: 500ms}, {name: hold, duration: 600ms}]
service:
  methods: [{name: ghost, group: absent, method: reboot, rate: 20/s, stages: [hold]}]
  twin_reads: [{group: robots, rate: 20/s}]
`

// A run in which nothing worked is not a pass, with or without thresholds, and says what did not; one that asks for it is.
func TestNothingHappened(t *testing.T) {
	const (
		nobody = "no device ever connected: nothing listens at the target ("
		ghost  = "method of ghost never succeeded: 404103 DeviceNotOnline ("
	)
	for _, tt := range []struct {
		name      string
		scenario  string
		threshold string
		want      report.Outcome
		reason    string
		note      string
	}{
		{"a closed port", nobodyListens, "", report.Failed, nobody, ""},
		{"and a threshold that is missed", nobodyListens, "{connect: 'error_rate < 1%'}", report.Failed, nobody, ""},
		{"and one that a refusal happens to meet", nobodyListens, "{connect: 'p(99) < 1h'}", report.Failed, nobody, ""},
		{"and one that aborts", nobodyListens, "{connect: {threshold: 'error_rate < 1%', abort_on_fail: true}}", report.Failed, nobody, ""},
		{"as was asked for", nobodyListens, "{connect: 'error_rate > 99%', telemetry: 'count == 0'}", report.Passed, "", ""},
		{
			"as was asked for of one kind", nobodyListens, "{connect: 'error_rate > 99%'}", report.Failed,
			"telemetry of probes never succeeded: dropped (disconnected) (", "",
		},
		{"a kind in vain", deafGroup, "", report.Failed, ghost, "telemetry of robots was never due in this run"},
		{"a kind in vain, and a threshold met", deafGroup, "{twin_read: 'count > 1'}", report.Failed, ghost, ""},
		{"a kind in vain, and a threshold missed", deafGroup, "{twin_read: 'count < 1'}", report.Missed, "1 of 1 thresholds were missed", ghost},
		{
			"a kind in vain, as was asked for", deafGroup, "{method: {threshold: 'error_rate > 99%', stage: hold}}", report.Passed, "",
			"telemetry of robots was never due in this run",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var set []string
				if tt.threshold != "" {
					set = append(set, "thresholds="+tt.threshold)
				}
				run := engine.New(engine.InMemory(engine.Sampled(engine.Options{Scenario: decode(t, tt.scenario, set...), Recorder: punctual()}, calm()),
					refused)).Run(t.Context())
				if run.Outcome != tt.want || !strings.HasPrefix(run.Reason, tt.reason) {
					t.Errorf("%s (%s); want %s (%s) %+v", run.Outcome, run.Reason, tt.want, tt.reason, run.Thresholds)
				}
				if notes := strings.Join(run.Notes, "\n"); !strings.Contains(notes, tt.note) {
					t.Errorf("notes %q lack %q", notes, tt.note)
				}
			})
		})
	}
}

// outOfDescriptors is a generator that has none left.
type outOfDescriptors struct{}

func (outOfDescriptors) Sample(int, time.Duration) (generator.Sample, error) {
	return generator.Sample{Elapsed: time.Second, Cores: 2, NoDescriptor: 3}, nil
}

// When nobody connected for want of what this machine should have, nothing is said of the target.
func TestNobodyForWantOfDescriptors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for allow, want := range map[bool]report.Outcome{false: report.Saturated, true: report.Failed} {
			run := engine.New(engine.InMemory(engine.Sampled(engine.Options{Scenario: decode(t, nobodyListens), Recorder: punctual(), AllowSaturated: allow},
				outOfDescriptors{}), refused)).Run(t.Context())
			if run.Outcome != want {
				t.Errorf("allowed %t: %s (%s); want %s", allow, run.Outcome, run.Reason, want)
			}
		}
	})
}

// Devices that are still connecting when the last stage ends are told of, although they succeed once nobody else is served.
func TestLeftConnecting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for hub, want := range map[string]bool{"{stall: 20s}": true, "{stall: 1ms}": false} {
			run := engine.New(engine.InMemory(engine.Sampled(engine.Options{Scenario: decode(t, `
name: left
fleet: {groups: [{name: a, count: 10}]}
stages: [{name: ramp, duration: 10s, devices: 10, hub: `+hub+`}]
`), Recorder: punctual()}, calm()), nil)).Run(t.Context())
			notes := strings.Join(run.Notes, "\n")
			if got := strings.Contains(notes, "had been connecting for 1.00s or longer when the last stage ended"); got != want || run.Outcome != report.Passed {
				t.Errorf("%s: %s (%s), told %v: %q", hub, run.Outcome, run.Reason, got, notes)
			}
		}
	})
}
