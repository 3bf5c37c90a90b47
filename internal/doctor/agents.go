package doctor

import (
	"fmt"
	"math"

	"github.com/twinfleet/twinfleet/internal/fit"
	"github.com/twinfleet/twinfleet/internal/host"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/plan"
	spec "github.com/twinfleet/twinfleet/scenario/target"
)

// Agents checks what a crew of agents needs of this machine: what each of them does, whether the machine holds all of them, and the embedded hub
// beside them where there is one. It asks the target nothing.
func Agents(sc *scenario.Scenario, c *fit.Crew, each plan.Machine, facts host.Facts) []Finding {
	var all []Finding
	for _, note := range sc.Fitted {
		all = append(all, Finding{Check: "settled", Level: OK, Text: note})
	}
	if c.Hub != nil {
		all = append(all, hubOf(c.Hub, facts))
	}
	return append(all, Finding{Check: "each agent", Level: OK, Text: Each(sc, c, each)}, Crew(c), addresses(sc.Fleet.SourceAddresses, bind))
}

// Each says what each agent of a crew needs.
func Each(sc *scenario.Scenario, c *fit.Crew, m plan.Machine) string {
	text := fmt.Sprintf("%s: about %s MB of memory, %.1f processors in the busiest second, %s", human.Number(c.Devices, "device"), count(int(m.Memory/1e6)), m.Processors,
		human.Number(m.Descriptors, "descriptor"))
	if sc.Target.Transport != spec.Memory {
		text += ", " + human.Number(m.PerAddress, "local port")
		if m.Addresses > 1 {
			text += fmt.Sprintf(" of each of %d source addresses", m.Addresses)
		}
		if m.Destinations > 1 {
			text += fmt.Sprintf(" towards each of %d hubs", m.Destinations)
		}
	}
	return text + ", with the client " + m.Client
}

// Crew says whether this machine holds all agents of a crew with their devices.
func Crew(c *fit.Crew) Finding {
	f, beside := Finding{Check: "agents", Level: OK}, ""
	if c.Hub != nil {
		beside = " beside the embedded hub"
	}
	switch err := c.Holds(); {
	case err != nil:
		f.Level, f.Text = Problem, fmt.Sprintf("%d with %s each: this machine holds %s in each of them%s, by its %s", c.Agents, human.Number(c.Devices, "device"),
			count(c.Room.Devices), beside, c.Room.By)
		f.Remedy = Spread(&c.Machines)
		if c.Machines.Machines == 1 {
			f.Remedy = fmt.Sprintf("--agents %d", c.Machines.Agents)
		}
	case c.Room.Devices == fit.Unbounded:
		f.Text = fmt.Sprintf("this machine holds %d, as far as its limits are known", c.Agents)
	default:
		f.Text = fmt.Sprintf("this machine holds %d%s: up to %s in each, by its %s", c.Agents, beside, human.Number(c.Room.Devices, "device"), c.Room.By)
	}
	return f
}

// Spread says how many machines like this one a fleet needs.
func Spread(s *fit.Spread) string {
	switch {
	case s.Machines == 0:
		return "no machine like this one holds an agent with a device"
	case s.Room.Devices == fit.Unbounded:
		return "one machine like this one, as far as its limits are known"
	}
	text := fmt.Sprintf("%s on %s like this one", human.Number(s.Agents, "agent"), human.Number(s.Machines, "machine"))
	if s.Machines > 1 && s.Each > 1 {
		text += fmt.Sprintf(", %d on each (--beside %d)", s.Each, s.Each)
	}
	return text + fmt.Sprintf(": each holds %s, by its %s", human.Number(s.Room.Devices, "device"), s.Room.By)
}

// hubOf checks what the embedded hub needs of this machine, which comes before what agents may have.
func hubOf(h *fit.Hub, facts host.Facts) Finding {
	f := Finding{Check: "embedded hub", Level: OK}
	if facts.Descriptors > 0 {
		f = level(f.Check, float64(h.Descriptors), float64(facts.Descriptors))
		if f.Level != OK {
			f.Remedy = fmt.Sprintf("--hubs %d, or ulimit -n %d", int(math.Ceil(float64(h.Descriptors)*float64(h.Processes)/(plan.Tight*float64(facts.Descriptors)))),
				roundUp(float64(h.Descriptors)/plan.Tight, 1000))
		}
	}
	if !facts.Unknown.Has(host.UnknownMemory) && float64(h.Memory) > float64(facts.MemoryAvailable) {
		f.Level, f.Remedy = Problem, "give the machine or its container more memory, or run fewer devices"
	}
	processes := "process"
	if h.Processes > 1 {
		processes = "processes"
	}
	f.Text = fmt.Sprintf("%d %s on this machine: about %s MB of memory and %.1f processors in the busiest second together, %s each", h.Processes, processes, count(int(h.Memory/1e6)),
		h.Processors, human.Number(h.Descriptors, "descriptor"))
	return f
}
