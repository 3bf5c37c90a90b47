// Package fit settles what a scenario leaves to the machine that runs it.
package fit

import (
	"fmt"
	"net"
	"runtime"
	"slices"

	"github.com/twinfleet/twinfleet/internal/host"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/plan"
	spec "github.com/twinfleet/twinfleet/scenario/target"
)

// To is the scenario with nothing left to choose: how devices reach a hub in this process, which client drives them, and from which
// addresses they connect when one has too few ports. What the machine made necessary is in Fitted. The scenario that is given is not
// changed; of one that leaves nothing to choose a copy is returned.
func To(sc *scenario.Scenario, facts host.Facts) (*scenario.Scenario, error) {
	out := *sc
	out.Fitted = slices.Clone(sc.Fitted)
	transport(&out, facts)
	if err := client(&out, facts); err != nil {
		return nil, err
	}
	if err := addresses(&out, facts); err != nil {
		return nil, err
	}
	return &out, nil
}

// transport takes memory when the embedded hub and its devices would need more files than this process may open.
func transport(sc *scenario.Scenario, facts host.Facts) {
	if !sc.Target.Can().InProcess || sc.Target.Transport != spec.Auto {
		return
	}
	sc.Target.Transport = spec.TCP
	if _, needed := sc.Sockets(sc.Devices()); facts.Descriptors > 0 && needed > facts.Descriptors {
		sc.Target.Transport = spec.Memory
		sc.Fitted = append(sc.Fitted, fmt.Sprintf("target.transport is memory: with sockets, devices and hub would need %s, and this process may open %s; tcp insists on them",
			human.Number(needed, "file"), human.Count(facts.Descriptors)))
	}
}

// client takes paho while the machine carries the fleet with it: it is what most devices in the field run.
func client(sc *scenario.Scenario, facts host.Facts) error {
	if sc.Fleet.Client != scenario.AnyClient {
		return nil
	}
	if why := onlyLean(sc); why != "" {
		takeLean(sc, why)
		return nil
	}
	sc.Fleet.Client = "paho"
	p, err := plan.Make(sc, plan.Options{})
	if err != nil {
		return err
	}
	m := p.Machine
	why := ""
	switch {
	case !facts.Unknown.Has(host.UnknownMemory) && float64(m.Memory) > plan.Tight*float64(facts.MemoryAvailable):
		why = fmt.Sprintf("with paho they would need about %s MB of memory, and %s MB are available", megabytes(m.Memory), megabytes(facts.MemoryAvailable))
	case m.Processors > plan.Tight*float64(facts.Cores):
		why = fmt.Sprintf("with paho they would need about %.1f processors in the busiest second, and there are %d", m.Processors, facts.Cores)
	default:
		return nil
	}
	takeLean(sc, why+"; fleet.client: paho insists on it")
	return nil
}

// onlyLean says why no other client than lean will do; "" when others will.
func onlyLean(sc *scenario.Scenario) string {
	switch {
	case sc.Target.V5():
		return "paho does not speak MQTT 5"
	case slices.ContainsFunc(sc.Fleet.Groups, func(g scenario.Group) bool { return g.Kept }):
		return "paho keeps no sessions"
	}
	return ""
}

// takeLean takes the client lean, for a reason.
func takeLean(sc *scenario.Scenario, why string) {
	sc.Fleet.Client = "lean"
	sc.Fitted = append(sc.Fitted, "devices are driven by the client lean: "+why)
}

func megabytes(n uint64) string { return human.Count(int(n / 1e6)) }

// addresses names loopback addresses for devices to connect from when one has too few ports for all of them: on Linux all of
// 127.0.0.0/8 are this machine's.
func addresses(sc *scenario.Scenario, facts host.Facts) error {
	if len(sc.Fleet.SourceAddresses) > 0 || facts.Unknown.Has(host.UnknownPorts) || runtime.GOOS != "linux" || !loopback(sc) || sc.Target.Transport == spec.Memory {
		return nil
	}
	p, err := plan.Make(sc, plan.Options{})
	if err != nil {
		return err
	}
	name(sc, p.Machine.PerAddress, facts)
	return nil
}

// name names as many loopback addresses as so many connections to one destination need; none when one is enough.
func name(sc *scenario.Scenario, connections int, facts host.Facts) {
	n := plan.Addresses(connections, facts.Ports)
	if n < 2 || n > 250 {
		return
	}
	for i := range n {
		sc.Fleet.SourceAddresses = append(sc.Fleet.SourceAddresses, fmt.Sprintf("127.0.0.%d", i+1))
	}
	sc.Fitted = append(sc.Fitted, fmt.Sprintf("devices connect from 127.0.0.1 to 127.0.0.%d in turn: one address has %s local ports%s", n, human.Count(facts.Ports),
		towards(sc.Target.Destinations())))
}

// towards says that ports are a source address's towards each of several hubs.
func towards(destinations int) string {
	if destinations < 2 {
		return ""
	}
	return fmt.Sprintf(" towards each of %d hubs", destinations)
}

// loopback reports whether the target is plainly on this machine.
func loopback(sc *scenario.Scenario) bool {
	if sc.Target.Can().InProcess {
		return true
	}
	host, err := sc.Target.Opened()
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback() && ip.To4() != nil
}
