package plan

import (
	"github.com/twinfleet/twinfleet/internal/planning/memory"
	"github.com/twinfleet/twinfleet/scenario"
)

// Machine is what a run needs of the machine that runs it.
type Machine struct {
	Memory      uint64 `json:"memory_bytes"`      // estimate
	Descriptors int    `json:"descriptors"`       // open files and sockets at once
	Ports       int    `json:"ports"`             // local ports towards the target, of all source addresses
	PerAddress  int    `json:"ports_per_address"` // of each of them
	Addresses   int    `json:"source_addresses"`  // from which devices connect; 1 without any named
}

func (p *Plan) machine(sc *scenario.Scenario) Machine {
	connections, descriptors := sc.Sockets(p.Peak)
	m := Machine{
		Memory: memory.Estimate(sc, p.spans, p.demands, p.Peak), Descriptors: descriptors, Ports: connections,
		Addresses: max(1, len(sc.Fleet.SourceAddresses)),
	}
	m.PerAddress = (p.Peak+m.Addresses-1)/m.Addresses + connections - p.Peak // those of the service side may leave by any of them
	return m
}
