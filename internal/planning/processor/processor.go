// Package processor estimates how much of a machine's processors a run takes.
package processor

import (
	"github.com/twinfleet/twinfleet/internal/planning/demand"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/target"
)

// costs are seconds of a processor: of one connection, whose subscription and twin are part of it, of what else is counted, and of a TLS
// handshake.
type costs struct{ connect, operation, handshake float64 }

// costsOf is what one operation of a group's devices, or of nobody in particular, takes in the run's process, measured on one core of a
// server of 2023 (docs/performance.md).
func costsOf(sc *scenario.Scenario, g *scenario.Group) costs {
	c := costs{connect: 350e-6, operation: 75e-6, handshake: 440e-6} // paho
	switch {
	case g != nil && g.Over().IsAMQP():
		c = costs{connect: 450e-6, operation: 50e-6, handshake: 440e-6} // all links of a lean one, and a message
	case g != nil && g.Over() == target.HTTPS:
		c = costs{connect: 100e-6, operation: 60e-6, handshake: 440e-6}
	case sc.Fleet.Client == "lean":
		c = costs{connect: 150e-6, operation: 40e-6, handshake: 440e-6}
	}
	if sc.Target.Can().InProcess {
		c.connect += 90e-6
		c.operation += 30e-6
		c.handshake += 320e-6
	}
	return c
}

// Estimate is how many processors the busiest second takes, of what is on a schedule; tls is the share of the devices that speak TLS.
func Estimate(sc *scenario.Scenario, demands []demand.Demand, tls float64) float64 {
	stages := make(map[int]float64)
	busiest := 0.0
	for _, d := range demands {
		if d.Paused || d.Stage < 0 {
			continue
		}
		c := costsOf(sc, groupOf(sc, &d))
		each := c.operation
		switch d.Operation {
		case metrics.OpConnect, metrics.OpDPSConnect:
			each = c.connect + tls*c.handshake
		case metrics.OpSubscribe, metrics.OpTwinGet, metrics.OpDPSRegister: // part of connecting
			continue
		}
		stages[d.Stage] += d.Peak * each
		busiest = max(busiest, stages[d.Stage])
	}
	return busiest
}

// groupOf is the group whose devices begin a demand; nil when it is the service side's, or one of all groups.
func groupOf(sc *scenario.Scenario, d *demand.Demand) *scenario.Group {
	if !d.Operation.OfDevices() {
		return nil
	}
	return sc.Group(d.Group)
}
