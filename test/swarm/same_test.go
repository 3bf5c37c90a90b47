//go:build integration

package swarm

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/test/rig"
)

// told is a scenario for a broker. All that is due is due by the area under a rate, and none of it near the end.
const told = `
name: told
seed: 23
target: {hub: "mqtt://%s", topic: "plants/{group}/{device}"}
fleet:
  client: lean
  groups:
    - {name: sensors, count: 120, telemetry: {qos: 1, payload: {device: "{{ device }}", at: "{{ normal 21 3 }}", n: "{{ seq }}"}}}
    - {name: meters, count: 40, telemetry: {qos: 1, payload: {n: "{{ seq }}", text: '{{ pick "a" "b" "c" }}'}}}
stages:
  - {name: ramp, duration: 2s, devices: 100%%}
  - {name: settle, duration: 2s}
  - {name: hold, duration: 4s, telemetry_rate: 20/s..180/s}
  - {name: rest, duration: 2s}
`

// listener writes down what a broker delivers: a client that none of us wrote.
type listener struct {
	mu    sync.Mutex
	lines []string
}

func listen(t *testing.T, broker string) *listener {
	t.Helper()
	l := &listener{}
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + broker).SetClientID("listener").SetOrderMatters(true))
	if k := c.Connect(); !k.WaitTimeout(within) || k.Error() != nil {
		t.Fatalf("connecting: %v", k.Error())
	}
	t.Cleanup(func() { c.Disconnect(250) })
	k := c.Subscribe("plants/#", 1, func(_ mqtt.Client, m mqtt.Message) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.lines = append(l.lines, fmt.Sprintf("%s %s", m.Topic(), m.Payload()))
	})
	if !k.WaitTimeout(within) || k.Error() != nil {
		t.Fatalf("subscribing: %v", k.Error())
	}
	return l
}

// heard are the lines, in order, once there are as many as there should be, or no more come.
func (l *listener) heard(t *testing.T, n int) []string {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for patience := time.After(10 * time.Second); ; {
		l.mu.Lock()
		lines := slices.Sorted(slices.Values(l.lines))
		l.mu.Unlock()
		if len(lines) >= n {
			return lines
		}
		select {
		case <-tick.C:
		case <-patience:
			return lines
		}
	}
}

// With the same seed, a real broker gets from four agents what it gets from one process: the same devices say the same, to the last byte, as often.
func TestBrokerHearsTheSame(t *testing.T) {
	t.Parallel()
	var lines [2][]string
	for i, agents := range []string{"0", "4"} {
		broker := rig.Mosquitto(t, "log_type none", "max_inflight_messages 0")
		l := listen(t, broker)
		w := newWorld(t)
		w.run(fmt.Sprintf(told, broker), "--agents", agents).Wait(t, within)
		r := w.record()
		if r.Outcome != report.Passed && r.Outcome != report.Saturated {
			t.Error(said(r))
		}
		sent := 0
		for j := range r.Totals.Series {
			if x := &r.Totals.Series[j]; x.Operation == "telemetry" {
				sent += int(x.Scheduled())
				if x.Count(0) != x.Scheduled() {
					t.Errorf("%s agents: %s", agents, said(r))
				}
			}
		}
		lines[i] = l.heard(t, sent)
		if len(lines[i]) != sent {
			t.Errorf("%s agents: the broker delivered %d messages; the record has %d", agents, len(lines[i]), sent)
		}
	}
	more, less := without(lines[1], lines[0]), without(lines[0], lines[1])
	if len(more)+len(less) > 0 {
		t.Errorf("four agents said beside what one process did:\n%s\nand did not say:\n%s", strings.Join(more, "\n"), strings.Join(less, "\n"))
	}
	if len(lines[0]) < 390 {
		t.Errorf("only %d messages", len(lines[0]))
	}
}

// without are the lines that are not among others, as often as they are more.
func without(lines, others []string) (left []string) {
	n := make(map[string]int)
	for _, x := range others {
		n[x]++
	}
	for _, x := range lines {
		if n[x]--; n[x] < 0 {
			left = append(left, x)
		}
	}
	return left
}
