package engine_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/swarm/lead"
	"github.com/twinfleet/twinfleet/report"
)

const shrinking = `
name: shrinking
seed: 11
fleet:
  client: lean
  groups: [{name: robots, count: 120, reported: {connectivity: {type: wifi}, every: 3s}, telemetry: {}}]
stages:
  - {name: ramp, duration: 10s, devices: 60}
  - {name: hold, duration: 20s}
  - {name: more, duration: 10s, devices: 120}
  - {name: high, duration: 10s}
  - {name: less, duration: 10s, devices: 30}
  - {name: last, duration: 20s}
`

// Devices of lost agents are lost until others have connected them, once for each loss; that the fleet grows or shrinks meanwhile is neither a loss
// nor a return, and a device that two agents ran is one device.
func TestDevicesOfLostAgentsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &swarmed{text: shrinking, agents: 4, lead: lead.Options{OnLoss: lead.Redistribute}}
		x.during = func(s *swarm, l *lead.Lead) {
			start, all := time.Now(), 0
			check := func(second int, what string, lost, losses, connected int) {
				t.Helper()
				time.Sleep(time.Until(start.Add(time.Duration(second) * time.Second)))
				if got := l.Counts()[fleet.StateConnected]; got != connected {
					t.Errorf("%s: %d connected; want %d", what, got, connected)
				}
				if l.Lost() != lost || l.Losses() != losses || l.Returns() != losses-lost || l.Left() != 0 {
					t.Errorf("%s: lost %d, losses %d, returns %d, left %d; want %d lost of %d", what, l.Lost(), l.Losses(), l.Returns(), l.Left(), lost, losses)
				}
			}
			check(15, "at first", 0, 0, 60)
			first := l.Figures()[1].States[fleet.StateConnected]
			s.stops["agent-2"]()
			check(17, "one is lost, and nobody knows", 0, 0, 60)
			check(25, "others have its devices", 0, first, 60)
			check(50, "there are more", 0, first, 120)
			if all, _ = l.Reporters(); all != 120 {
				t.Errorf("%d of 120 devices have reported", all)
			}
			check(66, "there are less", 0, first, 30)
			second := l.Figures()[2].States[fleet.StateConnected]
			s.stops["agent-3"]()
			check(75, "another is lost, whose devices others have", 0, first+second, 30)
			if n, _ := l.Reporters(); n != 120 {
				t.Errorf("%d of 120 devices have reported", n)
			}
			if first == 0 || second == 0 {
				t.Errorf("%d and %d devices were lost", first, second)
			}
		}
		r := x.run(t)
		if r.Outcome != report.Saturated {
			t.Error(figures(r))
		}
	})
}
