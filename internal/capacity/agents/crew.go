package agents

import (
	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/internal/fit"
	"github.com/twinfleet/twinfleet/internal/host"
	"github.com/twinfleet/twinfleet/scenario"
)

// Crew is who runs the devices of trials.
type Crew struct {
	Agents    int  // how many; 0 for the process of the search
	Elsewhere bool // they were started by others, perhaps on other machines
}

// Trials are those of a search that the generator ended.
type Trials struct {
	Vary    trial.Vary
	Records []trial.Record // the last is of the load that was not delivered
	// Make makes the scenario of a trial of a load.
	Make func(load float64) (*scenario.Scenario, error)
}

// Need is how many agents would deliver the load of the last trial; nil when it was not the generator that did not.
func (c Crew) Need(x Trials) *Need {
	if len(x.Records) == 0 {
		return nil
	}
	last := &x.Records[len(x.Records)-1]
	if last.Limit != trial.ByGenerator {
		return nil
	}
	n := &Need{Load: last.Load, Devices: last.Devices}
	switch op := x.Vary.Operation(); {
	case op != "" && !op.OfDevices():
		n.Unknown = x.Vary.What() + " are the service side's, which the process of the search is: more agents make no more of them"
		return n
	case last.Away:
		n.Unknown = "agents were lost, or were not there, which says nothing of how many are needed"
		return n
	}
	sc, err := x.Make(last.Load)
	if err != nil {
		n.Unknown = "a scenario cannot have that load"
		return n
	}
	facts, err := host.Read()
	if err != nil {
		n.Unknown = "what this machine allows cannot be read"
		return n
	}
	var hub *fit.Hub // what it needs in a process of its own
	if sc.Target.Can().InProcess {
		hub = fit.HubOf(sc, 1, facts.Cores)
	}
	if c.Elsewhere {
		weakest(&facts, sc, x.Records)
	}
	q := Question{Load: last.Load, Devices: sc.Devices(), Tried: c.Agents, Uses: last.Uses, Here: !c.Elsewhere, Hub: hub != nil, Cores: facts.Cores}
	if r := told(x.Records); r != nil {
		share := 0.0
		if hub != nil && c.Agents == 0 {
			share = hubShare(sc, hub)
		}
		q.Cost = CostOf(r, share)
		q.Cost.Delivered = r.Verdict != search.Undelivered
		q.Operations = operations(x.Vary, q.Cost.Due, r.Load, last.Load)
	}
	q.Alone = fit.Hold(sc, facts, 1)
	beside := facts
	if hub != nil {
		beside.MemoryAvailable -= min(beside.MemoryAvailable, hub.Memory)
	}
	q.Room = func(n int) fit.Room { return fit.Hold(sc, beside, n) }
	return Of(q)
}

// told is the trial that tells what operations take of processors: of the highest load that was delivered, or else the last that was not.
func told(records []trial.Record) (best *trial.Record) {
	measured := func(r *trial.Record) bool { c := CostOf(r, 0); return c.Each() > 0 }
	for i := range records {
		r := &records[i]
		if delivered := r.Verdict == search.Held || r.Verdict == search.Missed; delivered && measured(r) && (best == nil || r.Load > best.Load) {
			best = r
		}
	}
	if last := &records[len(records)-1]; best == nil && measured(last) {
		best = last
	}
	return best
}

// operations is how many operations of devices a second a load is, given how many another one was. What devices do beside what is varied stays.
func operations(v trial.Vary, measured, of, load float64) float64 {
	if v == trial.Devices || v == trial.ConnectRate {
		return measured * load / of
	}
	return max(0, measured+load-of)
}

// weakest makes facts those of the weakest agent, as far as any trial tells. The ports of a trial are of all source addresses towards all hubs,
// those of facts of one towards one.
func weakest(facts *host.Facts, sc *scenario.Scenario, records []trial.Record) {
	var uses []trial.Use
	for i := len(records) - 1; i >= 0 && len(uses) == 0; i-- {
		uses = records[i].Uses
	}
	if len(uses) == 0 {
		return
	}
	*facts = host.Facts{Reuse: facts.Reuse}
	least := func(x *int, n int) {
		if n > 0 && (*x == 0 || n < *x) {
			*x = n
		}
	}
	ways := max(1, len(sc.Fleet.SourceAddresses)) * sc.Target.Destinations()
	for _, u := range uses {
		least(&facts.Cores, u.Cores)
		least(&facts.Descriptors, u.Descriptors)
		least(&facts.Ports, u.Ports/ways)
		if u.Memory > 0 && (facts.Memory == 0 || u.Memory < facts.Memory) {
			facts.Memory, facts.MemoryAvailable = u.Memory, u.Memory
		}
	}
	if facts.Memory == 0 {
		facts.Unknown |= host.UnknownMemory
	}
	if facts.Ports == 0 {
		facts.Unknown |= host.UnknownPorts
	}
	facts.Cores = max(1, facts.Cores)
}

// hubShare is the embedded hub's part of the processors that a process takes with it; 0 when that cannot be told, which makes devices dear.
func hubShare(sc *scenario.Scenario, hub *fit.Hub) float64 {
	devices := fit.Demand(sc, sc.Devices(), 1).Processors
	if hub.Processors <= 0 {
		return 0
	}
	return hub.Processors / (hub.Processors + devices)
}
