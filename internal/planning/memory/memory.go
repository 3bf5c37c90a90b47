// Package memory estimates how much memory a run takes.
package memory

import (
	"time"

	"github.com/twinfleet/twinfleet/internal/gc"
	"github.com/twinfleet/twinfleet/internal/planning/demand"
	"github.com/twinfleet/twinfleet/internal/planning/span"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/target"
)

// What things take, in bytes: fitted to the peaks of some twenty runs with 500 to 3,000 devices, in clear, with TLS
// and with the embedded hub, idle and busy, with queries and without (docs/capacity.md).
const (
	processMemory = 22_000_000 // the program before anything lives in it
	startHeap     = 4_000_000  // what then lives on the heap
	leastGoal     = 16_000_000 // of the heap, before it is collected for the first time

	secondGarbage = 250_000 // of the run's own figures, a second
	identityLive  = 2_000   // of a device that only exists
	identityMade  = 4_300   // allocated to make it

	registering  = 24_000 // of a device that is being assigned to a hub: its goroutine, its connection, and the other end's
	registration = 60_000 // allocated by it, tokens and documents at both ends
	assigning    = 5      // seconds that it takes where nothing is said
)

// costs are what one kind of end of a connection takes, in bytes: of a device, of its TLS, of the embedded hub.
type costs struct {
	stack     float64 // of its goroutines
	scanned   float64 // of that, what the garbage collector counts
	live      float64 // on the heap
	connect   float64 // allocated to connect, what then lives included
	operation float64 // allocated by a report, a message and the like
	row       float64 // allocated by a row of a query's result
	rowLive   float64 // on the heap while a query is under way, by each device there is
}

// deviceCosts are those of a device of a group. Of what lives of lean half is its client; that of AMQP takes 1.2 KB with all its links
// (TestMemory in fleet/link/amqp, on a connection of 500), and its connection as much again. The rest is as of lean. HTTPS is what twinfleet
// bench measures on top of lean: a goroutine that waits, and its buffer.
func deviceCosts(client string, g *scenario.Group) costs {
	switch over := g.Over(); {
	case over.IsAMQP():
		return costs{live: 1_800, connect: 9_000, operation: 950, row: 2_200, rowLive: 890}.plus(amqpConnection(), 1/float64(g.PerConnection()))
	case over == target.HTTPS:
		return costs{stack: 4_200, scanned: 1_000, live: 1_800, connect: 12_000, operation: 4_000, row: 2_200, rowLive: 890}
	case client == "lean":
		return costs{live: 1_200, connect: 9_000, operation: 950, row: 2_200, rowLive: 890}
	}
	return costs{stack: 31_000, scanned: 7_000, live: 13_500, connect: 33_700, operation: 2_600, row: 2_200, rowLive: 890}
}

// amqpConnection is what a connection takes beside its devices: no goroutine, where the system tells of what comes (the difference between
// a device alone and one of many in TestMemory).
func amqpConnection() costs { return costs{live: 1_200} }

// webCosts is what WebSocket takes beside: its buffers, and a goroutine that waits for what comes.
func webCosts() costs { return costs{stack: 4_200, scanned: 1_000, live: 3_000, connect: 12_000} }

func tlsCosts() costs { return costs{live: 6_800, connect: 100_000} }

// hubCosts are those of the embedded hub for a device of a group: of MQTT, and on top of it for AMQP, each device and each connection, and
// for HTTPS, whose connections have a goroutine and buffers each; fitted to the peaks of runs with 5,000 devices, busy for 12 s.
func hubCosts(g *scenario.Group) costs {
	c := costs{live: 1_600, connect: 5_500, operation: 1_700, row: 1_600, rowLive: 1_030}
	switch over := g.Over(); {
	case over.IsAMQP():
		return c.plus(costs{live: 3_700}, 1).plus(costs{live: 2_700, connect: 6_000}, 1/float64(g.PerConnection()))
	case over == target.HTTPS:
		return c.plus(costs{stack: 8_800, scanned: 3_000, live: 9_500}, 1)
	}
	return c
}

// plus adds a share of other costs.
func (c costs) plus(o costs, share float64) costs {
	return costs{
		c.stack + o.stack*share, c.scanned + o.scanned*share, c.live + o.live*share, c.connect + o.connect*share,
		c.operation + o.operation*share, c.row + o.row*share, c.rowLive + o.rowLive*share,
	}
}

// costsOf is what a device of a scenario takes in the run's process.
func costsOf(sc *scenario.Scenario) costs {
	ends := 1.0
	if sc.Target.Can().InProcess { // the other end is here, too
		ends = 2
	}
	var c costs
	for i := range sc.Fleet.Groups {
		g := &sc.Fleet.Groups[i]
		own := deviceCosts(sc.Fleet.Client, g)
		connection := 1 / float64(g.PerConnection()) // that is so much of one
		if secure(sc, g) {
			own = own.plus(tlsCosts(), ends*connection)
		}
		if g.Over().IsWeb() {
			own = own.plus(webCosts(), ends*connection)
		}
		if ends > 1 {
			own = own.plus(hubCosts(g), 1)
		}
		c = c.plus(own, span.Share(sc, g))
	}
	return c
}

// heap follows how a heap grows until it is collected, over and over.
type heap struct {
	policy           gc.Policy
	rate             float64 // bytes that are allocated a second
	used, goal, peak float64
	live, scanned    float64 // what would be left, and what of stacks counts beside
}

func (h *heap) allocate(n float64) {
	n = min(n, 3*h.goal) // what comes after that changes nothing
	for h.used+n > h.goal {
		n -= max(0, h.goal-h.used)
		h.peak = max(h.peak, h.goal)
		h.used = h.live
		h.goal = max(leastGoal, h.live+h.policy.Growth(h.live, h.rate)*(h.live+h.scanned))
	}
	h.used += n
	h.peak = max(h.peak, h.used)
}

// memorySteps is into how many steps a stage is cut.
const memorySteps = 200

// Estimate is an estimate of the most that a run takes, in bytes: what lives, and the garbage that comes on top of it
// until it is collected. A short run is over before the heap has grown as far as it may.
func Estimate(sc *scenario.Scenario, spans []span.Span, demands []demand.Demand, peak int) uint64 {
	c := costsOf(sc)
	devices := float64(sc.Devices())
	h := heap{policy: gc.For(sc.Fleet.Client), used: startHeap, goal: leastGoal, live: startHeap + devices*identityLive}
	h.allocate(devices * identityMade)
	for k := range spans {
		s := &spans[k]
		var connects, operations, rows, asked, registers, registersAtOnce float64
		for _, d := range demands {
			switch {
			case d.Stage != k || d.Paused:
			case d.Operation == metrics.OpConnect:
				connects += d.Total
			case d.Operation == metrics.OpDPSRegister:
				registers += d.Total
				registersAtOnce += atOnce(s, &d)
			case d.Finds:
				rows += d.Total * float64(d.Bytes) / demand.TwinBytes
				asked = devices
			case d.Bytes >= 0 || d.Operation == metrics.OpDelivery || d.Operation == metrics.OpRequest:
				operations += d.Total
			}
		}
		operations -= connects // the twin that each of them reads is part of connecting
		whole := c.connect*connects + c.operation*max(0, operations) + c.row*rows + registration*registers + secondGarbage*s.Duration.Seconds()
		h.rate = whole / max(s.Duration.Seconds(), 1)
		for i := range memorySteps {
			there := s.There(time.Duration(float64(i+1) / memorySteps * float64(s.Duration)))
			h.live = startHeap + devices*identityLive + there*c.live + asked*c.rowLive + min(there, registersAtOnce)*registering
			h.scanned = there * c.scanned
			h.allocate(whole / memorySteps)
		}
	}
	return uint64(processMemory + float64(peak)*c.stack + h.peak)
}

// atOnce is how many devices are being assigned to a hub at the same time in a stage: all of them when the service throttles.
func atOnce(s *span.Span, d *demand.Demand) float64 {
	if s.Hub != nil && s.Hub.DPS != nil {
		return d.Total
	}
	return min(d.Total, d.Peak*assigning)
}

// OverTLS is the share of the devices that shake hands for TLS: of those that share a connection one does.
func OverTLS(sc *scenario.Scenario) float64 {
	n := 0.0
	for i := range sc.Fleet.Groups {
		if g := &sc.Fleet.Groups[i]; secure(sc, g) {
			n += span.Share(sc, g) / float64(g.PerConnection())
		}
	}
	return n
}

// secure reports whether the devices of a group speak TLS.
func secure(sc *scenario.Scenario, g *scenario.Group) bool {
	x, err := sc.Target.Endpoint()
	return err == nil && x.TLS || g.Identity.Certificates() != nil
}
