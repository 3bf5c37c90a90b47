//go:build integration

package counting

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
)

const frame = `
name: counting
seed: 5
target: {hub: "mqtt://PROXY", mqtt: "VERSION"}
fleet:
  client: lean
  groups:
GROUPS
stages:
  - {name: up, duration: 500ms, devices: 100%, paused: true}
  - {name: settle, duration: 700ms, paused: true}
STAGES
`

const (
	calm   = "  - {name: hold, duration: 2s}"
	longer = "  - {name: hold, duration: 5s}\n  - {name: rest, duration: 2s, paused: true}"
	slow   = "  - {name: hold, duration: 8s}\n  - {name: rest, duration: 2s, paused: true}" // some come and go, and what happens just then cannot be decided
)

// sends is a group of publishers.
func sends(keys, telemetry string) string {
	return fmt.Sprintf("    - {name: sensors, count: 8, timeout: 2s, %s telemetry: {topic: \"plant/{device}/up\", every: 50ms, deliveries: all, %s}}", keys, telemetry)
}

const payload = `payload: {n: "{{ seq }}"}`

// losing loses one in so many copies.
func losing(c Copy) Fate {
	if one(c, 7) {
		return Lose
	}
	return Pass
}

// Whoever a message is for has its copy, or the run says why not, whatever devices are and do: the same as the wire says.
func TestWhatMessagesAreFor(t *testing.T) {
	t.Parallel()
	lost := func(a Account) bool { return a.Missing+a.Silent > 0 && a.Edge == 0 }
	well := func(a Account) bool { return a.InTime == a.Due() && a.Duplicates+a.OutOfOrder == 0 }
	any := func(Account) bool { return true }
	for _, r := range []struct {
		name     string
		versions string // of MQTT; both when empty
		brokers  string // both when empty
		groups   []string
		stages   string
		fate     func(Copy) Fate
		fault    func(p *Proxy)
		want     func(Account) bool
		kinds    []string // that are measured beside those without a name
	}{
		{
			name: "subscribers reconnect", groups: []string{
				sends("", "qos: 1, "+payload),
				`    - {name: boards, count: 3, subscribe: {topics: ["plant/+/up"], qos: 1}}`,
				`    - {name: others, count: 2, subscribe: {topics: ["plant/#", "plant/+/up"], qos: 1}}`,
			},
			stages: longer, fault: func(p *Proxy) { p.Shut(boards, time.Second) }, want: func(a Account) bool { return a.Absent > 0 },
		},
		{
			name: "members come and go", brokers: "mosquitto", groups: []string{
				sends("", "qos: 1, "+payload),
				`    - {name: workers, count: 4, session: {online: 1500ms..3s, offline: 500ms..1s}, subscribe: {topics: ["$share/workers/plant/#"], qos: 1}}`,
			},
			stages: slow, want: any,
		},
		{
			name: "no local", versions: "5", groups: []string{
				sends(`subscribe: {topics: ["plant/#"], qos: 1, no_local: true},`, "qos: 1, "+payload),
				`    - {name: boards, count: 2, subscribe: {topics: ["plant/+/up", "plant/#"], qos: 1}}`,
			},
			stages: calm, fate: losing, want: lost,
		},
		{
			name: "filters overlap", groups: []string{
				sends("", "qos: 2, "+payload),
				`    - {name: boards, count: 2, subscribe: {topics: ["plant/+/up", "plant/#", "+/+/up"], qos: 2}}`,
				`    - {name: some, count: 2, subscribe: {topics: ["plant/sensors-000001/up"], qos: 0}}`,
			},
			stages: calm, fate: losing, want: lost,
		},
		{
			name: "twice", groups: []string{
				sends("", "qos: 1, "+payload), `    - {name: boards, count: 2, subscribe: {topics: ["plant/+/up"], qos: 1}}`,
			},
			stages: calm, fate: func(c Copy) Fate {
				if one(c, 7) {
					return Twice
				}
				return Pass
			}, want: func(a Account) bool { return a.Duplicates > 0 && a.InTime == a.Due() && a.OutOfOrder == 0 },
		},
		{
			name: "out of order", groups: []string{
				sends("", "qos: 0, "+payload), `    - {name: boards, count: 2, subscribe: {topics: ["plant/+/up"], qos: 0}}`,
			},
			stages: calm + "\n  - {name: rest, duration: 1s, paused: true}", fate: func(c Copy) Fate {
				if one(c, 7) {
					return Swap
				}
				return Pass
			}, want: func(a Account) bool { return a.OutOfOrder > 0 && a.InTime == a.Due() && a.Duplicates == 0 },
		},
		{
			name: "aliases", versions: "5", groups: []string{
				sends("mqtt5: {topic_aliases: 2}, messages: [{name: a, topic: \"plant/{device}/a\", every: 100ms, qos: 1, deliveries: all, "+payload+
					"}, {name: b, topic: \"plant/{device}/b\", every: 100ms, deliveries: all, "+payload+"}],", "qos: 1, "+payload),
				`    - {name: boards, count: 2, mqtt5: {topic_aliases: 3}, subscribe: {topics: ["plant/#"], qos: 1}}`,
			},
			stages: longer, fault: func(p *Proxy) { p.Cut(boards) }, want: any, kinds: []string{"sensors/a", "sensors/b"},
		},
		{
			name: "few unacknowledged", versions: "5", groups: []string{
				sends("", "qos: 1, "+payload),
				`    - {name: boards, count: 2, mqtt5: {receive_maximum: 3}, subscribe: {topics: ["plant/+/up"], qos: 1}}`,
			},
			stages: calm, fate: losing, want: lost,
		},
		{
			name: "kept messages", groups: []string{
				sends("", "qos: 1, retain: true, "+payload),
				`    - {name: boards, count: 2, session: {online: 3s, offline: 2500ms}, subscribe: {topics: ["plant/+/up"], qos: 1}}`,
				`    - {name: stay, count: 1, subscribe: {topics: ["plant/#"], qos: 1}}`,
			},
			stages: slow, want: func(a Account) bool { return a.Absent > 0 && a.Duplicates+a.Missing == 0 },
		},
		{
			name: "properties", versions: "5", groups: []string{
				sends("", `qos: 1, payload: "{{ seq }} of text"`), `    - {name: boards, count: 2, subscribe: {topics: ["plant/+/up"], qos: 1}}`,
			},
			stages: calm, fate: losing, want: lost,
		},
		{
			name: "subscribers go", groups: []string{
				sends("", "qos: 1, "+payload), `    - {name: boards, count: 4, subscribe: {topics: ["plant/+/up"], qos: 1}}`,
			},
			stages: "  - {name: hold, duration: 2s}\n  - {name: fewer, duration: 2s, devices: {boards: 1}}\n  - {name: more, duration: 2s, devices: {boards: 4}}",
			want:   func(a Account) bool { return a.Absent > 0 && a.Missing == 0 },
		},
		{
			name: "publishers go", groups: []string{
				sends("", "qos: 1, "+payload), `    - {name: boards, count: 2, subscribe: {topics: ["plant/+/up"], qos: 1}}`,
			},
			stages: "  - {name: hold, duration: 1s}\n  - {name: fewer, duration: 1s, devices: {sensors: 0}}", want: well,
		},
	} {
		for _, b := range brokers() {
			for _, version := range []string{"3.1.1", "5"} {
				if r.versions != "" && r.versions != version || r.brokers != "" && r.brokers != b.name || b.name == "mochi" && version != "5" {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s/%s", r.name, b.name, version), func(t *testing.T) {
					t.Parallel()
					p := between(t, b.start(t))
					p.Fates(r.fate)
					if r.fault != nil {
						timer := time.AfterFunc(2200*time.Millisecond, func() { r.fault(p) })
						defer timer.Stop()
					}
					run := carry(t, p, strings.NewReplacer("VERSION", version, "GROUPS", strings.Join(r.groups, "\n"), "STAGES", r.stages).Replace(frame))
					f, groups := of(t, run, "sensors"), append([]string{"sensors"}, r.kinds...)
					sent := int(run.Totals.Find(metrics.OpTelemetry, "sensors").Started())
					for _, k := range r.kinds {
						f.add(of(t, run, k))
						sent += int(run.Totals.Find(metrics.OpTelemetry, k).Started())
					}
					a := p.Judge(Judging{Publishers: sensors, Timeout: 2 * time.Second})
					if sent != a.Messages {
						t.Errorf("%d messages sent, the wire saw %d", sent, a.Messages)
					}
					hold(t, f, a, 0)
					holdDelays(t, a, run, groups...)
					if a.Edge > a.Due()/5 || !r.want(a) {
						t.Error("the faults did nothing, or more than was asked for")
					}
				})
			}
		}
	}
}
