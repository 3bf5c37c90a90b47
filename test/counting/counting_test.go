//go:build integration

package counting

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// shape is who sends to whom.
type shape struct {
	name             string
	sensors, boards  int
	every            time.Duration
	timeout, anyones int // in seconds; subscribers that each message is for
}

func (s shape) scenario(qos int) string {
	return fmt.Sprintf(`
name: counting
seed: 5
target: {hub: "mqtt://PROXY"}
fleet:
  groups:
    - {name: sensors, count: %d, timeout: %ds, telemetry: {topic: "plant/{device}/up", every: %s, qos: %d, deliveries: %d, payload: {n: "{{ seq }}"}}}
    - {name: boards, count: %d, subscribe: {topics: ["plant/+/up"], qos: %d}}
stages:
  - {name: up, duration: 500ms, devices: 100%%, paused: true}
  - {name: settle, duration: 1s, paused: true}
  - {name: hold, duration: 3s}
  - {name: rest, duration: %ds, paused: true}
`, s.sensors, s.timeout, s.every, qos, s.anyones, s.boards, qos, s.timeout+1)
}

func shapes() []shape {
	return []shape{
		{"fan-in", 40, 1, 100 * time.Millisecond, 2, 1},
		{"fan-out", 2, 30, 100 * time.Millisecond, 2, 30},
		{"both", 10, 3, 50 * time.Millisecond, 2, 3},
	}
}

func sensors(client string) bool { return strings.HasPrefix(client, "sensors") }

// Without faults, and when copies are lost, come twice or in another order, a run says to the copy what the wire does.
func TestRunsCountAsTheWire(t *testing.T) {
	fates := []struct {
		name string
		fate func(Copy) Fate
		want func(Account) bool
	}{
		{"all well", nil, func(a Account) bool { return a.InTime == a.Due() && a.Duplicates+a.OutOfOrder == 0 }},
		{"lost", func(c Copy) Fate {
			if one(c, 7) {
				return Lose
			}
			return Pass
		}, func(a Account) bool { return a.Missing+a.Silent > 0 }},
		{"twice", func(c Copy) Fate {
			if one(c, 7) {
				return Twice
			}
			return Pass
		}, func(Account) bool { return true }}, // of QoS 2 that is no copy
		{"out of order", func(c Copy) Fate {
			if one(c, 7) {
				return Swap
			}
			return Pass
		}, func(a Account) bool { return a.OutOfOrder > 0 }},
		{"everything", func(c Copy) Fate {
			switch {
			case one(c, 7):
				return Lose
			case one(c, 5):
				return Twice
			case one(c, 3):
				return Swap
			}
			return Pass
		}, func(a Account) bool { return a.Missing+a.Silent > 0 && a.OutOfOrder > 0 }},
	}
	for _, b := range brokers() {
		for _, f := range fates {
			for i, s := range shapes() {
				for qos := range 3 {
					if f.fate != nil && qos != i { // each shape with one
						continue
					}
					t.Run(fmt.Sprintf("%s/%s/%s/qos %d", b.name, f.name, s.name, qos), func(t *testing.T) {
						t.Parallel()
						p := between(t, b.start(t))
						p.Fates(f.fate)
						run := carry(t, p, s.scenario(qos))
						a := p.Judge(Judging{Publishers: sensors, Timeout: time.Duration(s.timeout) * time.Second, Anyone: s.anyones})
						hold(t, of(t, run, "sensors"), a, true)
						if !f.want(a) {
							t.Error("the faults did nothing")
						}
					})
				}
			}
		}
	}
}
