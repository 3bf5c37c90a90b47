package fit_test

import (
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/fit"
	"github.com/twinfleet/twinfleet/internal/host"
)

// How many agents a fleet needs, on how many machines like this one: more than one on a machine where each process has what is short.
func TestCrew(t *testing.T) {
	const gb, far = 1_000_000_000, `{hub: "mqtt://192.0.2.1:1883"}`
	huge := host.Facts{Cores: 1000, MemoryAvailable: 1e15, Ports: 1 << 29, Descriptors: 1 << 29}
	with := func(change func(f *host.Facts)) host.Facts {
		f := huge
		change(&f)
		return f
	}
	for _, x := range []struct {
		name    string
		devices string
		facts   host.Facts
		agents  int
		holds   bool
		want    fit.Spread // Room.Devices is left out
		by      string
	}{
		{"one that holds all", "5000", huge, 1, true, fit.Spread{Machines: 1, Each: 1, Agents: 1}, ""},
		{
			"descriptors: a fleet of four processes on one machine", "60000", with(func(f *host.Facts) { f.Descriptors = 20_000 }), 4, true,
			fit.Spread{Machines: 1, Each: 4, Agents: 4},
			"20,000 descriptors",
		},
		{
			"descriptors: three are too few", "60000", with(func(f *host.Facts) { f.Descriptors = 20_000 }), 3, false,
			fit.Spread{Machines: 1, Each: 4, Agents: 4},
			"20,000 descriptors",
		},
		{
			"ports, which all of a machine share: more agents there do not help", "100000", with(func(f *host.Facts) { f.Ports = 28_232 }), 4, false,
			fit.Spread{Machines: 4, Each: 1, Agents: 4},
			"28,232 local ports",
		},
		{
			"five million, by descriptors", "5000000", with(func(f *host.Facts) { f.Descriptors = 1 << 20 }), 2, false,
			fit.Spread{Machines: 1, Each: 5, Agents: 5},
			"1,048,576 descriptors",
		},
		{"nothing at all", "1000", with(func(f *host.Facts) { f.Descriptors = 10 }), 1, false, fit.Spread{}, ""},
	} {
		text := strings.ReplaceAll(fleet(far, "client: lean, ", x.devices), "reported: {connectivity: {type: cellular}, every: 30s}", "telemetry: {every: 30s}")
		c := fit.NewCrew(decode(t, text), x.facts, x.agents, nil)
		got := c.Machines
		by := got.Room.By
		got.Room = fit.Room{}
		if (c.Holds() == nil) != x.holds || got != x.want || by != x.by && x.by != "" {
			t.Errorf("%s: holds %v, %+v by %q; want %t, %+v by %q", x.name, c.Holds(), got, by, x.holds, x.want, x.by)
		}
	}
	// What machines hold is the fleet, and one machine fewer is not enough.
	text := strings.ReplaceAll(fleet(far, "client: lean, ", "5000000"), "reported: {connectivity: {type: cellular}, every: 30s}", "telemetry: {every: 30s}")
	s := fit.NewCrew(decode(t, text), host.Facts{Cores: 8, MemoryAvailable: 16 * gb, Ports: 28_232, Descriptors: 1 << 20}, 1, nil).Machines
	if per := s.Each * s.Room.Devices; s.Machines < 2 || s.Machines*per < 5_000_000 || (s.Machines-1)*per >= 5_000_000 ||
		s.Agents*s.Room.Devices < 5_000_000 || (s.Agents-1)*s.Room.Devices >= 5_000_000 {
		t.Errorf("5,000,000 devices: %+v", s)
	}
}

// What an agent needs grows with its devices, and is what Hold compares with what there is.
func TestNeedsAgreesWithHold(t *testing.T) {
	text := strings.ReplaceAll(fleet(hubs("192.0.2.1:1", "192.0.2.1:2"), "client: lean, ", "60000"), "reported: {connectivity: {type: cellular}, every: 30s}", "telemetry: {every: 30s}")
	sc := decode(t, text)
	m := fit.Demand(sc, 15_000, 4)
	if m.Ports != 15_040 || m.PerAddress != 7_520 || m.Destinations != 2 || m.Agents != 4 || m.Descriptors != 15_072 || m.Client != "lean" {
		t.Errorf("%+v", m)
	}
	for _, x := range []struct {
		facts host.Facts
		holds bool
	}{
		{host.Facts{Descriptors: m.Descriptors, Unknown: host.UnknownMemory | host.UnknownPorts}, true},
		{host.Facts{Descriptors: m.Descriptors - 5, Unknown: host.UnknownMemory | host.UnknownPorts}, false},
		{host.Facts{MemoryAvailable: 4 * m.Memory * 5 / 4, Unknown: host.UnknownPorts}, true},
		{host.Facts{MemoryAvailable: 4 * m.Memory, Unknown: host.UnknownPorts}, false}, // it would be tight
		{host.Facts{Ports: 4 * m.PerAddress, Unknown: host.UnknownMemory}, true},
		{host.Facts{Ports: 4*m.PerAddress - 4, Unknown: host.UnknownMemory}, false},
	} {
		if room := fit.Hold(sc, x.facts, 4); (room.Devices >= 15_000-1) != x.holds { // memory is an estimate: one device is nothing
			t.Errorf("%+v: %d devices by %q; holds 15,000: %t", x.facts, room.Devices, room.By, x.holds)
		}
	}
}

// The embedded hub takes of the machine what agents then do not have.
func TestHubOf(t *testing.T) {
	const gb = 1_000_000_000
	sc := decode(t, fleet("{}", "client: lean, ", "60000"))
	one, four := fit.HubOf(sc, 1, 2), fit.HubOf(sc, 4, 2)
	if one.Memory < 100e6 || one.Memory > 2*gb || four.Memory <= one.Memory || one.Processors <= 0 || one.Descriptors != 60_072 || four.Descriptors != 15_072 {
		t.Errorf("%+v, %+v", one, four)
	}
	facts := host.Facts{Cores: 64, MemoryAvailable: gb, Unknown: host.UnknownPorts}
	if alone, beside := fit.NewCrew(sc, facts, 2, nil), fit.NewCrew(sc, facts, 2, four); beside.Room.Devices >= alone.Room.Devices {
		t.Errorf("%d devices beside the hub, %d without", beside.Room.Devices, alone.Room.Devices)
	}
}

// How many descriptors a hub has follows the devices that are active at once, and which of them are its own: that is drawn, so that a hub may have
// more than its part, but never more than are dealt to it. Many processors take some, too.
func TestHubDescriptors(t *testing.T) {
	const gateway = "{name: robots, count: 400, transport: amqp, devices_per_connection: 10}"
	for _, x := range []struct {
		group, stages    string
		processes, cores int
		want             int
		active           int
	}{
		{"{name: robots, count: 400}", "{name: hold, duration: 1s, devices: 10}", 1, 2, 10 + 72, 10},
		{"{name: robots, count: 400}", "{name: hold, duration: 1s, devices: 10}", 2, 2, 10 + 72, 10}, // all of ten may be at one
		{"{name: robots, count: 400}", "{name: up, duration: 1s, devices: 300}, {name: down, duration: 1s, devices: 10}", 1, 2, 300 + 72, 300},
		{"{name: robots, count: 400}", "{name: hold, duration: 1s, devices: 100}", 4, 2, 25 + 25 + 72, 100},
		{"{name: robots, count: 400}", "{name: hold, duration: 1s, devices: 390}", 4, 2, 100 + 72, 390},
		{"{name: robots, count: 400}", "{name: hold, duration: 1s, devices: 400}", 3, 2, 134 + 72, 400},
		{"{name: robots, count: 400}", "{name: hold, duration: 1s, devices: 400}", 1, 64, 400 + 72 + 112, 400},
		{gateway, "{name: hold, duration: 1s, devices: 400}", 1, 2, 40 + 72, 400},
		{gateway, "{name: hold, duration: 1s, devices: 30}", 1, 2, 30 + 72, 30},
		{gateway, "{name: hold, duration: 1s, devices: 30}", 4, 2, 10 + 72, 30},
	} {
		sc := decode(t, "fleet: {client: lean, groups: ["+x.group+"]}\nstages: ["+x.stages+"]\n")
		if got := fit.HubOf(sc, x.processes, x.cores).Descriptors; got != x.want {
			t.Errorf("%s, %s, in %d on %d: %d descriptors; want %d", x.group, x.stages, x.processes, x.cores, got, x.want)
		}
		if got := fit.Active(sc); got != x.active {
			t.Errorf("%s: %d are active; want %d", x.stages, got, x.active)
		}
	}
}

// As few hubs as have enough descriptors: one fewer has too many connections.
func TestHubsFor(t *testing.T) {
	sc := decode(t, "fleet: {client: lean, groups: [{name: robots, count: 60000}]}\nstages: [{name: up, duration: 60s, devices: 30000}]\n")
	for descriptors := 100; descriptors < 40_000; descriptors += 371 {
		n := fit.HubsFor(sc, 1000, descriptors, 4)
		enough := func(n int) bool { return fit.HubOf(sc, n, 4).Descriptors <= descriptors }
		if n == 0 && enough(1000) || n > 0 && !enough(n) || n > 1 && enough(n-1) {
			t.Errorf("%d hubs with %d descriptors each", n, descriptors)
		}
	}
}
