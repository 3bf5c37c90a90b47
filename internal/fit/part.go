package fit

import (
	"fmt"
	"math"

	"github.com/twinfleet/twinfleet/internal/host"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/plan"
)

// ToPart is To for one of several processes like this one on this machine, which runs so many of the scenario's devices and has its target
// elsewhere: the client is the one that the machine carries for all of them, and addresses are named for the connections of all, which take
// their local ports from the same ones. processes is 1 when 0. A process without devices, which leads others, needs nothing: paho does.
func ToPart(sc *scenario.Scenario, facts host.Facts, devices, processes int) *scenario.Scenario {
	out := *sc
	out.Fitted = append([]string(nil), sc.Fitted...)
	among := max(1, processes)
	switch why := onlyLean(&out); {
	case out.Fleet.Client != scenario.AnyClient:
	case why != "":
		takeLean(&out, why)
	default:
		out.Fleet.Client = "paho"
		if why := beyond(&out, facts, devices, among); why != "" {
			takeLean(&out, why+"; fleet.client: paho insists on it")
		}
	}
	s := newShare(&out)
	if s.findsAddresses() && !s.empty() && !facts.Unknown.Has(host.UnknownPorts) {
		connections, _ := s.sockets(devices)
		name(&out, int(math.Ceil(float64(connections*among)/float64(out.Target.Destinations()))), facts)
	}
	return &out
}

// beyond says why the processes of this machine cannot run so many devices each with the scenario's client; "" when they can.
func beyond(sc *scenario.Scenario, facts host.Facts, devices, among int) string {
	s := newShare(sc)
	if s.empty() || devices == 0 {
		return ""
	}
	of := ""
	if among > 1 {
		of = fmt.Sprintf(" of each of %d agents", among)
	}
	if needs, there := s.memory(devices), facts.MemoryAvailable/uint64(among); !facts.Unknown.Has(host.UnknownMemory) && needs > plan.Tight*float64(there) {
		return fmt.Sprintf("with paho the %s%s would need about %s MB of memory, and %s MB are available", human.Number(devices, "device"), of, megabytes(uint64(needs)), megabytes(there))
	}
	if needs, there := s.processors(devices), float64(facts.Cores)/float64(among); needs > plan.Tight*there {
		return fmt.Sprintf("with paho the %s%s would need about %.1f processors in the busiest second, and there are %.1f", human.Number(devices, "device"), of, needs, there)
	}
	return ""
}
