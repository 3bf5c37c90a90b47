//go:build integration

package swarm

import (
	"fmt"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/test/rig"
)

// delivered is a scenario for a broker whose subscribers are devices. All that is sent is due by the area under a rate, when all listen, and none of it near
// the end.
const delivered = `
name: delivered
seed: 29
target: {hub: "mqtt://%s", topic: "plants/{group}/{device}"}
fleet:
  client: lean
  groups:
    - {name: boards, count: 5, timeout: 10s, subscribe: {topics: ["plants/#"], qos: 1}}
    - {name: halls, count: 7, timeout: 10s, subscribe: {topics: ["$share/halls/plants/sensors/+"], qos: 1}}
    - {name: sensors, count: 60, timeout: 10s, telemetry: {qos: 1, deliveries: all, payload: {n: "{{ seq }}"}}}
    - {name: meters, count: 20, timeout: 10s, telemetry: {qos: 1, deliveries: 5, payload: {n: "{{ seq }}"}}}
stages:
  - {name: ramp, duration: 2s, devices: 100%%}
  - {name: settle, duration: 2s}
  - {name: hold, duration: 4s, telemetry_rate: 20/s..180/s}
  - {name: rest, duration: 2s}
`

// Of what a real broker delivers, agents know together what one process knows: every copy, from each agent's devices to each other's, once and in
// order, and none that it did not deliver, as somebody says who listens too and whom none of us wrote.
func TestBrokerDeliversFromAgentToAgent(t *testing.T) {
	t.Parallel()
	for _, agents := range []string{"0", "2", "3"} {
		broker := rig.Mosquitto(t, "log_type none", "max_inflight_messages 0")
		l := listen(t, broker)
		w := newWorld(t)
		text := fmt.Sprintf(delivered, broker)
		w.run(text, "--agents", agents).Wait(t, within)
		r := w.record()
		if r.Outcome != report.Passed && r.Outcome != report.Saturated {
			t.Error(said(r))
		}
		all := 0
		for name, copies := range map[string]uint64{"sensors": 5 + 1, "meters": 5} {
			sent, x := r.Totals.Find(metrics.OpTelemetry, name), r.Totals.Find(metrics.OpDelivery, name)
			if sent == nil || x == nil || sent.Count(metrics.OK) < 50 || x.Scheduled() != copies*sent.Count(metrics.OK) || x.Count(metrics.OK) != x.Scheduled() {
				t.Errorf("%s agents, %s: %s", agents, name, said(r))
				continue
			}
			all += int(sent.Count(metrics.OK))
			if p := x.Latency(false); p.Maximum() > 5*time.Second || p.Quantile(0.5) < 10*time.Microsecond {
				t.Errorf("%s agents: deliveries of %s took %v to %v, median %v", agents, name, p.Minimum(), p.Maximum(), p.Quantile(0.5))
			}
		}
		if r.Deliveries == nil || len(r.Deliveries.Groups) != 2 {
			t.Fatalf("%s agents: deliveries %+v", agents, r.Deliveries)
		}
		for _, g := range r.Deliveries.Groups {
			if g.Duplicates+g.Late+g.Missing+g.OutOfOrder > 0 {
				t.Errorf("%s agents: %+v", agents, g)
			}
		}
		if n := len(l.heard(t, all)); n != all {
			t.Errorf("%s agents: the broker delivered %d messages; the record has %d", agents, n, all)
		}
		if agents != "0" {
			addsUp(t, r)
			for i := range r.Agents {
				c := r.Agents[i].Control
				t.Logf("%s: sent %d bytes, received %d, in %s; clock %+v", r.Agents[i].Name, c.Sent, c.Received, c.Over, r.Agents[i].Clock)
			}
		}
	}
}
