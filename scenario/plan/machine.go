package plan

import (
	"github.com/twinfleet/twinfleet/internal/planning/memory"
	"github.com/twinfleet/twinfleet/scenario"
)

const (
	baseDescriptors    = 32 // standard streams, poller, /metrics and its scrapes, files
	serviceConnections = 40 // of the service side, at most: requests under way at once
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
	peak, service := p.Peak, serviceConnections
	if !sc.Target.Can().Service {
		service = 0
	}
	m := Machine{
		Memory: memory.Estimate(sc, p.spans, p.demands, peak), Descriptors: baseDescriptors + peak + service,
		Addresses: max(1, len(sc.Fleet.SourceAddresses)),
	}
	if sc.Target.Can().InProcess { // the other end of every connection is here too
		m.Descriptors += peak + service
	}
	m.PerAddress = (peak + m.Addresses - 1) / m.Addresses
	m.Ports = peak + service
	m.PerAddress += service // which may leave by any of them
	return m
}
