package target

import (
	"errors"
	"fmt"

	"github.com/twinfleet/twinfleet/internal/iothub/connstring"
	"github.com/twinfleet/twinfleet/internal/iothub/query/parse"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/scenario"
	spec "github.com/twinfleet/twinfleet/scenario/target"
)

// ErrApart is the class of errors of a scenario that needs its embedded hub in its own process. Their texts name what needs it, and
// what to do.
var ErrApart = errors.New("this needs the embedded hub in the process of the run")

// Elsewhere is a scenario for the embedded hub as it runs against hubs that are processes of their own, each of which is that hub: spoken to in
// clear, filled and left as one that goes with the run. Its limits hold from Target.Arm on, when it takes that (hub.Options.ArmByRequest); one
// that holds them from its start throttles the making of identities, too. Its tier, units, burst and query lag must be those of the scenario,
// which keeps them: nobody can look.
//
// What only a hub in the run's own process has is refused: faults of stages and models of its service, a trial, its provisioning service, and
// certificates of an authority, which it would have to be told of. Errors match ErrApart; none holds a key.
func Elsewhere(sc *scenario.Scenario, hubs []connstring.Service) (*scenario.Scenario, error) {
	refuse := func(format string, a ...any) (*scenario.Scenario, error) {
		return nil, fmt.Errorf("%w: "+format, append([]any{ErrApart}, a...)...)
	}
	switch t := &sc.Target; {
	case t.Kind != spec.Embedded:
		return refuse("the scenario's target is no embedded hub, but %s", t.Can().Name)
	case len(hubs) == 0:
		return refuse("no hub is given in its place")
	case t.Trial != nil:
		return refuse("a trial leaves time out of it")
	case t.Transport == spec.Memory:
		return refuse("target.transport: memory has no sockets, over which another process is spoken to; remove it")
	}
	for i := range sc.Stages {
		if sc.Stages[i].Hub != nil {
			return refuse("stage %s has faults of the hub (hub: …), which nobody can ask of one in another process; remove them", sc.Stages[i].Name)
		}
	}
	for i := range sc.Fleet.Groups {
		g := &sc.Fleet.Groups[i]
		x := g.Identity.Certificates()
		switch {
		case g.Identity.DPS != nil:
			return refuse("group %s provisions at its provisioning service (identity: {dps: …}); remove it", g.Name)
		case x != nil:
			return refuse("devices of group %s have certificates (identity: {x509: …}), and a hub in another process is spoken to in clear; use keys", g.Name)
		}
	}
	if err := severalHubs(sc, len(hubs)); err != nil {
		return nil, err
	}
	out := *sc
	out.Target.Kind, out.Target.Plain, out.Target.Transport, out.Target.Hubs = spec.Apart, true, spec.TCP, nil
	out.Target.Hub = hubs[0].Reveal()
	if len(hubs) > 1 {
		for _, c := range hubs {
			out.Target.Hubs = append(out.Target.Hubs, c.Reveal())
		}
	}
	return &out, nil
}

// severalHubs holds what a scenario asks of its hub to what several of them answer together.
func severalHubs(sc *scenario.Scenario, hubs int) error {
	if hubs < 2 {
		return nil
	}
	for i := range sc.Fleet.Groups {
		if g := &sc.Fleet.Groups[i]; g.Measured() {
			return fmt.Errorf("%w: deliveries of group %s are read at one hub, and there are %d; remove telemetry.deliveries, or use one", ErrApart, g.Name, hubs)
		}
	}
	queries := make(map[string]string)
	for _, q := range sc.Service.Queries {
		queries["query "+q.Name] = q.SQL
	}
	for i := range sc.Stages {
		for _, x := range sc.Stages[i].Steps {
			if x.Query != nil {
				queries["a step of stage "+sc.Stages[i].Name] = x.Query.SQL
			}
		}
	}
	if f := sc.Service.Freshness; f != nil {
		queries["the query of service.freshness"] = f.Query
	}
	for what, sql := range queries {
		q, err := parse.Query(sql)
		if err != nil {
			continue // the name of another, or for the hub to judge
		}
		if _, why := q.OverParts(); why != "" {
			return fmt.Errorf("%w: the answers of %d hubs to %s in %s do not add up to one; ask for COUNT() or for the devices, or use one hub", ErrApart, hubs, why, what)
		}
	}
	return nil
}

// Places are the hubs of a scenario as devices alone need them: where they are, and a policy and a key that open nothing. They take the place of
// the connection strings in target.hub or target.hubs, or are Elsewhere's, so that no process but the one with the service side has its keys.
// Of any other target there are none.
func Places(sc *scenario.Scenario) ([]connstring.Service, error) {
	if k := sc.Target.Kind; k != spec.IoTHub && k != spec.Apart {
		return nil, nil
	}
	var all []connstring.Service
	for _, t := range sc.Target.Each() {
		c, err := connstring.ParseService(t.Hub)
		if err != nil {
			return nil, fmt.Errorf("target.hub: %w", err)
		}
		all = append(all, connstring.Service{HostName: c.HostName, Policy: "none", Key: sas.NewKey()})
	}
	return all, nil
}
