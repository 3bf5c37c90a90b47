//go:build integration

package counting

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/test/rig"
)

const toAll = `
name: counting
seed: 5
target: {hub: "mqtt://PROXY", mqtt: "VERSION"}
fleet:
  client: lean
  groups:
    - name: sensors
      count: 10
      timeout: 2s
      telemetry: {topic: "plant/{device}/up", every: 100ms, qos: 1, deliveries: all, payload: {n: "{{ seq }}"}}
      messages:
        - {name: alarm, topic: "plant/{device}/alarm", every: 200ms, qos: 0, deliveries: all, payload: {n: "{{ seq }}"}}
    - {name: boards, count: 3, subscribe: {topics: ["plant/+/up", "plant/#"], qos: 1}}
    - {name: alarms, count: 2, subscribe: {topics: ["plant/+/alarm"], qos: 1}}
    - {name: workers, count: 4, subscribe: {topics: ["$share/workers/plant/#"], qos: 1}}
stages:
  - {name: up, duration: 500ms, devices: 100%, paused: true}
  - {name: settle, duration: 700ms, paused: true}
  - {name: hold, duration: 2s}
  - {name: rest, duration: 500ms, paused: true}
`

// Whoever a message is for by the topics, filters that overlap and shared groups among them, has its copy or is missing it, of each kind.
func TestDeliveriesToAll(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"3.1.1", "5"} {
		for _, lost := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/lost %v", version, lost), func(t *testing.T) {
				t.Parallel()
				p := between(t, rig.Mosquitto(t, "max_inflight_messages 0", "log_type none"))
				if lost {
					p.Fates(func(c Copy) Fate {
						if one(c, 7) {
							return Lose
						}
						return Pass
					})
				}
				run := carry(t, p, strings.ReplaceAll(toAll, "VERSION", version))
				f, alarms := of(t, run, "sensors"), of(t, run, "sensors/alarm")
				if alarms.ok == 0 {
					t.Error("no alarm was delivered")
				}
				f.add(alarms)
				a := p.Judge(Judging{Publishers: sensors, Timeout: 2 * time.Second})
				hold(t, f, a, 0)
				if a.Edge > 0 || lost != (a.Missing+a.Silent > 0) {
					t.Error("the faults did nothing, or more than was asked for")
				}
			})
		}
	}
}
