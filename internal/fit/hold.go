package fit

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"sort"

	"github.com/twinfleet/twinfleet/internal/host"
	"github.com/twinfleet/twinfleet/internal/planning/demand"
	"github.com/twinfleet/twinfleet/internal/planning/devices"
	"github.com/twinfleet/twinfleet/internal/planning/memory"
	"github.com/twinfleet/twinfleet/internal/planning/processor"
	"github.com/twinfleet/twinfleet/internal/planning/span"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/plan"
	spec "github.com/twinfleet/twinfleet/scenario/target"
)

// ErrTooMany is returned when a process is asked for more devices than it holds.
var ErrTooMany = errors.New("more devices than this process holds")

// Unbounded is the Devices of a Room that nothing bounds which is known.
const Unbounded = 1 << 30

// Room is how many devices of a scenario one process holds that runs nothing but devices: an agent.
type Room struct {
	Devices int    `json:"devices"`         // the most; Unbounded where the system tells of no limit
	By      string `json:"limit,omitempty"` // what does not suffice for one more: "20,000 descriptors"; "" for nothing
}

// Holds is nil when the process holds so many devices, or ErrTooMany with the limit in a line.
func (r Room) Holds(devices int) error {
	if devices <= r.Devices {
		return nil
	}
	return fmt.Errorf("%w: %s, and its %s are enough for %s", ErrTooMany, human.Count(devices), r.By, human.Count(r.Devices))
}

// placeMemory is what a device takes, in bytes, that another process runs: its name and its place in the order of the fleet (about 40 bytes
// of identity with its header, and 32 of numbers in package fleet).
const placeMemory = 80

// Hold is how many devices of a scenario one of several processes like this one holds on this machine, which have its memory, processors and
// local ports in common, those of each source address towards each hub; 1 when processes is 0. The target is elsewhere. Each device is one as the fleet has on average, and is active as
// often; a client that the machine is to choose is the one that takes less. Descriptors and ports, which are counted, may all be in use;
// of memory and processors, which are estimated, no more than plan.Tight.
func Hold(sc *scenario.Scenario, facts host.Facts, processes int) Room {
	s := newShare(sc)
	if s.empty() {
		return Room{Devices: Unbounded}
	}
	among := max(1, processes)
	limits := []struct {
		known bool
		there float64
		text  string
		needs func(n int) float64
	}{
		{facts.Descriptors > 0, float64(facts.Descriptors), human.Number(facts.Descriptors, "descriptor"), func(n int) float64 { _, needed := s.sockets(n); return float64(needed) }},
		{
			!facts.Unknown.Has(host.UnknownPorts) && !s.findsAddresses(), float64(facts.Ports / among * s.addresses() * s.sc.Target.Destinations()),
			s.portsText(facts.Ports / among), func(n int) float64 { needed, _ := s.sockets(n); return float64(needed) },
		},
		{
			!facts.Unknown.Has(host.UnknownMemory), plan.Tight * float64(facts.MemoryAvailable) / float64(among),
			megabytes(facts.MemoryAvailable/uint64(among)) + " MB of memory", s.memory,
		},
		{facts.Cores > 0, plan.Tight * float64(facts.Cores) / float64(among), processorsText(facts.Cores, among), s.processors},
	}
	room := Room{Devices: Unbounded}
	for _, l := range limits {
		if !l.known {
			continue
		}
		if n := sort.Search(room.Devices, func(n int) bool { return l.needs(n+1) > l.there }); n < room.Devices {
			room = Room{n, l.text}
		}
	}
	return room
}

func processorsText(cores, among int) string {
	if cores%among != 0 {
		return fmt.Sprintf("%.1f processors", float64(cores)/float64(among))
	}
	return human.Number(cores/among, "processor")
}

// share is what a part of a scenario's devices needs of a machine.
type share struct {
	sc      *scenario.Scenario // of which only groups and target matter
	fleet   int                // its devices
	peak    int                // of them, active at the most
	spans   []span.Span
	demands []demand.Demand // of devices
	local   bool            // the target is on this machine
}

// newShare plans a scenario by means, as what devices do one by one takes long to follow in a fleet that needs many machines.
func newShare(sc *scenario.Scenario) *share {
	own := *sc
	if own.Target.Can().InProcess { // but not in this one
		own.Target.Kind, own.Target.Transport = spec.IoTHub, spec.TCP
	}
	if own.Fleet.Client == scenario.AnyClient {
		own.Fleet.Client = "lean"
	}
	s := &share{sc: &own, fleet: sc.Devices(), spans: span.Of(sc), local: loopback(sc)}
	for i := range s.spans {
		x := &s.spans[i]
		s.peak = max(s.peak, x.Peak())
		for _, asks := range devices.Contributors() {
			for _, d := range asks(sc, &demand.Part{Span: x}) {
				d.Stage = i
				s.demands = append(s.demands, d)
			}
		}
	}
	return s
}

// empty reports whether no device is ever active.
func (s *share) empty() bool { return s.fleet == 0 || s.peak == 0 }

// of is the scenario with so many devices, of each group its part.
func (s *share) of(n int) (sc *scenario.Scenario, part float64) {
	part = float64(n) / float64(s.fleet)
	own := *s.sc
	own.Fleet.Groups = make([]scenario.Group, len(s.sc.Fleet.Groups))
	for i := range own.Fleet.Groups {
		own.Fleet.Groups[i] = s.sc.Fleet.Groups[i]
		own.Fleet.Groups[i].Count = int(math.Ceil(part * float64(own.Fleet.Groups[i].Count)))
	}
	return &own, part
}

// active is how many of them are active at the most.
func (s *share) active(part float64) int { return int(math.Ceil(part * float64(s.peak))) }

func (s *share) sockets(n int) (connections, descriptors int) {
	sc, part := s.of(n)
	return sc.Sockets(s.active(part))
}

func (s *share) scaled(part float64) []demand.Demand {
	all := make([]demand.Demand, len(s.demands))
	for i, d := range s.demands {
		d.Total, d.Peak, d.Devices = d.Total*part, d.Peak*part, d.Devices*part
		all[i] = d
	}
	return all
}

func (s *share) memory(n int) float64 {
	sc, part := s.of(n)
	spans := make([]span.Span, len(s.spans))
	for i := range spans {
		x := s.spans[i]
		if x.Course != nil { // as if the most were there all along
			x.Course, x.From, x.To = nil, x.Peak(), x.Peak()
		}
		x.From, x.To = int(math.Ceil(part*float64(x.From))), int(math.Ceil(part*float64(x.To)))
		spans[i] = x
	}
	return float64(memory.Estimate(sc, spans, s.scaled(part), s.active(part))) + placeMemory*float64(max(0, s.fleet-n))
}

func (s *share) processors(n int) float64 {
	sc, part := s.of(n)
	return processor.Estimate(sc, s.scaled(part), memory.OverTLS(s.sc))
}

// addresses is from how many the devices connect.
func (s *share) addresses() int { return max(1, len(s.sc.Fleet.SourceAddresses)) }

// findsAddresses tells whether a process names itself as many addresses as it needs; see To.
func (s *share) findsAddresses() bool {
	return len(s.sc.Fleet.SourceAddresses) == 0 && runtime.GOOS == "linux" && s.local
}

func (s *share) portsText(ports int) string {
	text := human.Number(ports, "local port")
	if n := len(s.sc.Fleet.SourceAddresses); n > 1 {
		text += fmt.Sprintf(" of each of %d source addresses", n)
	}
	return text + towards(s.sc.Target.Destinations())
}
