package plan

import (
	"math"

	"github.com/twinfleet/twinfleet/internal/planning/memory"
	"github.com/twinfleet/twinfleet/internal/planning/processor"
	"github.com/twinfleet/twinfleet/scenario"
)

// Machine is what a run needs of the machine that runs it.
type Machine struct {
	Client      string  `json:"client"`            // that drives the devices; "auto" when the machine is to decide: figures are those of paho then
	Memory      uint64  `json:"memory_bytes"`      // estimate
	Processors  float64 `json:"processors"`        // in use in the busiest second, of what is on a schedule; estimate
	Descriptors int     `json:"descriptors"`       // open files and sockets at once
	Ports       int     `json:"ports"`             // local ports towards the target, of all source addresses
	PerAddress  int     `json:"ports_per_address"` // of each of them, towards each destination
	Addresses   int     `json:"source_addresses"`  // from which devices connect; 1 without any named
	// Agents is how many processes of the machine need this each, which run the fleet together; 0 for one that runs all of it.
	Agents int `json:"agents,omitempty"`
	// Destinations is to how many hubs devices are dealt, evenly: each source address has its ports towards each of them.
	Destinations int `json:"destinations"`
}

// Tight is the share of what there is above which a run has too little room to breathe.
const Tight = 0.8

// Addresses is how many source addresses so many connections to one destination need, each of which has so many ports.
func Addresses(connections, ports int) int {
	return int(math.Ceil(float64(connections) / (Tight * float64(max(1, ports)))))
}

func (p *Plan) machine(sc *scenario.Scenario) Machine {
	connections, descriptors := sc.Sockets(p.Peak)
	m := Machine{
		Client: sc.Fleet.Client, Memory: memory.Estimate(sc, p.spans, p.demands, p.Peak), Processors: math.Round(1000*processor.Estimate(sc, p.demands, memory.OverTLS(sc))) / 1000,
		Descriptors: descriptors, Ports: connections, Addresses: max(1, len(sc.Fleet.SourceAddresses)), Destinations: sc.Target.Destinations(),
	}
	if connections > 0 {
		ofDevices := sc.Connections(p.Peak)
		ways := m.Addresses * m.Destinations
		m.PerAddress = (ofDevices+ways-1)/ways + connections - ofDevices // those of the service side may leave by any of them, to any
	}
	return m
}
