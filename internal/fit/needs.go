package fit

import (
	"math"

	"github.com/twinfleet/twinfleet/internal/planning/demand"
	"github.com/twinfleet/twinfleet/internal/planning/memory"
	"github.com/twinfleet/twinfleet/internal/planning/processor"
	"github.com/twinfleet/twinfleet/internal/planning/service"
	"github.com/twinfleet/twinfleet/internal/planning/span"
	"github.com/twinfleet/twinfleet/scenario"
)

// Needs are what a process of a run on many machines takes of the machine that it is on. Memory and processors are estimates, without room
// to breathe: plan.Tight of what there is should be as much.
type Needs struct {
	Memory      uint64  // bytes, at the most
	Processors  float64 // in the busiest second
	Descriptors int     // open files and sockets at once
	Ports       int     // local ports towards the target
}

// Agent is what a process needs that runs so many devices of a scenario and nothing else: Hold the other way round.
func Agent(sc *scenario.Scenario, devices int) Needs {
	s := newShare(sc)
	if s.fleet == 0 {
		return Needs{}
	}
	ports, descriptors := s.sockets(devices)
	return Needs{Memory: uint64(s.memory(devices)), Processors: s.processors(devices), Descriptors: descriptors, Ports: ports}
}

// agentFigures is what a coordinator keeps of each agent, in bytes: its figures of every stage, as histograms, and the message that has them.
const agentFigures = 4 << 20

// Coordinator is what the process needs that leads so many agents: it runs no device, and knows all of them; the service side is its own.
func Coordinator(sc *scenario.Scenario, agents int) Needs {
	s := newShare(sc)
	var asks []demand.Demand
	idle := make([]span.Span, len(s.spans))
	for i := range s.spans {
		for _, contributor := range service.Contributors() {
			for _, d := range contributor(sc, &demand.Part{Span: &s.spans[i]}) {
				d.Stage = i
				asks = append(asks, d)
			}
		}
		idle[i] = s.spans[i]
		idle[i].Course, idle[i].From, idle[i].To = nil, 0, 0
	}
	connections, descriptors := s.sc.Sockets(0)
	return Needs{
		Memory:      memory.Estimate(s.sc, idle, asks, 0) + uint64(placeMemory*s.fleet+agentFigures*agents),
		Processors:  math.Max(0, processor.Estimate(s.sc, asks, 0)),
		Descriptors: descriptors, Ports: connections,
	}
}
