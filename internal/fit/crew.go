package fit

import (
	"math"
	"sort"

	"github.com/twinfleet/twinfleet/internal/host"
	"github.com/twinfleet/twinfleet/internal/planning/span"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/plan"
)

// Crew is a fleet that agents run: what each of them needs, what this machine holds of them, and how many machines like it the fleet needs.
type Crew struct {
	Agents   int    `json:"agents"`        // on this machine
	Devices  int    `json:"devices_each"`  // of the fleet that each runs, at most
	Room     Room   `json:"room"`          // what each of so many holds here
	Machines Spread `json:"machines"`      // for the whole fleet
	Hub      *Hub   `json:"hub,omitempty"` // what the embedded hub needs of this machine; nil for a target elsewhere
}

// Holds is nil when this machine holds the agents with all the devices, or ErrTooMany with the limit in a line.
func (c *Crew) Holds() error { return c.Room.Holds(c.Devices) }

// Spread is a fleet on machines of one kind.
type Spread struct {
	Machines int  `json:"machines"`   // that hold the fleet; 0 when none holds one device
	Each     int  `json:"agents_per"` // agents on each of them
	Agents   int  `json:"agents"`     // in all, as many as the devices need
	Room     Room `json:"room"`       // of each agent
}

// Hub is what an embedded hub needs that runs in processes of its own, for all of a fleet; estimates but for Descriptors.
type Hub struct {
	Processes   int     `json:"processes"`
	Memory      uint64  `json:"memory_bytes"` // of all of them
	Processors  float64 `json:"processors"`   // of all of them, in the busiest second
	Descriptors int     `json:"descriptors"`  // of each
}

// mostAgents bounds how many agents on a machine are thought of: beyond, each has too little of it to be one.
const mostAgents = 64

// NewCrew says what it takes to run a scenario on so many agents of this machine. Its target is elsewhere: of the embedded hub, which is then
// in processes of this machine, hub is what it needs (HubOf), and nil otherwise.
func NewCrew(sc *scenario.Scenario, facts host.Facts, agents int, hub *Hub) *Crew {
	c := &Crew{Agents: agents, Devices: (sc.Devices() + agents - 1) / agents, Machines: spread(sc, facts), Hub: hub}
	if hub != nil {
		facts.MemoryAvailable -= min(facts.MemoryAvailable, hub.Memory)
	}
	c.Room = Hold(sc, facts, agents)
	return c
}

// spread finds how many agents a machine of this kind runs best, and how many such machines hold a fleet. More agents on one are only taken
// where they hold more devices: where descriptors, which each process has, are what is short.
func spread(sc *scenario.Scenario, facts host.Facts) Spread {
	var best Spread
	most := 0
	for k := 1; k <= mostAgents; k++ {
		room := Hold(sc, facts, k)
		all := k * room.Devices
		if float64(all) > 1.01*float64(most) {
			most, best = all, Spread{Each: k, Room: room}
		}
		if all >= sc.Devices() || room.Devices == 0 {
			break
		}
	}
	if most == 0 {
		return Spread{}
	}
	best.Machines = (sc.Devices() + most - 1) / most
	best.Agents = (sc.Devices() + best.Room.Devices - 1) / best.Room.Devices
	return best
}

// Demand is what a process that runs so many devices of a scenario needs, whose target is elsewhere, when so many processes of the machine share
// its source addresses.
func Demand(sc *scenario.Scenario, devices, processes int) plan.Machine {
	s := newShare(sc)
	m := plan.Machine{Client: sc.Fleet.Client, Addresses: s.addresses(), Destinations: s.sc.Target.Destinations(), Agents: max(1, processes)}
	if s.empty() {
		return m
	}
	m.Memory, m.Processors = uint64(s.memory(devices)), math.Round(1000*s.processors(devices))/1000
	m.Ports, m.Descriptors = s.sockets(devices)
	ways := m.Addresses * m.Destinations
	m.PerAddress = (m.Ports + ways - 1) / ways
	return m
}

// What a hub takes, in bytes, that in the run's own process is the process's anyway: the program, and what a device that only exists takes there
// (package memory).
const (
	hubProcess = 22_000_000
	hubTwin    = 2_000
)

// HubOf is what the embedded hub of a scenario needs in so many processes, which use so many processors: what a run in one process needs beside
// its devices.
func HubOf(sc *scenario.Scenario, processes, cores int) *Hub {
	s := newShare(sc)
	h := &Hub{Processes: processes}
	if s.empty() {
		return h
	}
	whole := *s
	own := *sc
	own.Fleet.Client = s.sc.Fleet.Client
	whole.sc = &own
	h.Memory = uint64(max(0, whole.memory(s.fleet)-s.memory(s.fleet))) + uint64(processes)*hubProcess + uint64(s.fleet)*hubTwin
	h.Processors = math.Round(1000*max(0, whole.processors(s.fleet)-s.processors(s.fleet))) / 1000
	h.Descriptors = s.hubDescriptors(processes, cores)
	return h
}

// HubsFor is the fewest processes, up to a number, of which each has enough descriptors for its part of a scenario's embedded hub; 0 when there is
// no such number. A process may have so many descriptors, and uses so many processors.
func HubsFor(sc *scenario.Scenario, most, descriptors, cores int) int {
	s := newShare(sc)
	if s.empty() {
		return 1
	}
	n := 1 + sort.Search(most, func(i int) bool { return s.hubDescriptors(i+1, cores) <= descriptors })
	if n > most {
		return 0
	}
	return n
}

// Active is how many devices of a scenario are active at once, at the most.
func Active(sc *scenario.Scenario) (most int) {
	for _, x := range span.Of(sc) {
		most = max(most, x.Peak())
	}
	return most
}

const (
	// coresInBase is for how many processors scenario.Sockets has room: a hub has two descriptors for each, to wait for devices of MQTT and of AMQP.
	coresInBase = 8
	// unevenly is how many standard deviations a hub may have more connections than its part: which devices are active is drawn, and who is dealt
	// evenly is the whole fleet.
	unevenly = 5
)

// hubDescriptors is how many descriptors a hub has at the most that is one of so many. The service side may be at any of them with all it has.
func (s *share) hubDescriptors(processes, cores int) int {
	_, needed := s.sockets(s.fleet)
	all := s.sc.Connections(s.active(1))
	own := all
	if processes > 1 {
		part := float64(all) / float64(processes)
		dealt := (s.sc.Connections(s.fleet) + processes - 1) / processes
		own = min(all, dealt, int(math.Ceil(part+unevenly*math.Sqrt(part))))
	}
	return own + needed - all + 2*max(0, cores-coresInBase)
}
