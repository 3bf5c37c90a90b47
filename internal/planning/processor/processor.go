// Package processor estimates how much of a machine's processors a run takes.
package processor

import (
	"github.com/twinfleet/twinfleet/internal/planning/demand"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario"
)

// costs are seconds of a processor: of one connection, whose subscription and twin are part of it, of what else is counted, and of a TLS
// handshake.
type costs struct{ connect, operation, handshake float64 }

// costsOf is what one operation takes in the run's process, measured on one core of a server of 2023 (docs/performance.md).
func costsOf(sc *scenario.Scenario) costs {
	c := costs{connect: 350e-6, operation: 75e-6, handshake: 440e-6} // paho
	if sc.Fleet.Client == "lean" {
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
	c := costsOf(sc)
	stages := make(map[int]float64)
	busiest := 0.0
	for _, d := range demands {
		if d.Paused || d.Stage < 0 {
			continue
		}
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
