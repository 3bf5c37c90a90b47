package engine

import (
	"fmt"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/schedule"
)

// groupProfile turns what the scenario says of a group into what its devices do.
func groupProfile(g *scenario.Group) (fleet.Group, error) {
	types, err := connectivity(&g.Report)
	if err != nil {
		return fleet.Group{}, err
	}
	p := fleet.Group{
		Name:   g.Name,
		Report: fleet.Reporting{Types: types, Extra: g.Report.Properties, Every: g.Report.Every, Gaps: g.Report.Gaps, Sync: g.Report.Sync},
		Telemetry: fleet.Telemetry{
			Every: g.Telemetry.Every, Gaps: g.Telemetry.Gaps, QoS: byte(g.Telemetry.QoS), Retain: g.Telemetry.Retain,
			Sync: g.Telemetry.Sync, Deliveries: g.Telemetry.Deliveries,
		},
		Session:   schedule.Churn{Online: g.Online, Offline: g.Offline},
		Tokens:    fleet.Tokens{Life: g.Tokens.Life, Margin: g.Tokens.Margin, Spread: g.Tokens.Spread},
		KeepAlive: g.KeepAlive, Timeout: g.Timeout, Answer: g.Answer,
		Methods:  fleet.Methods{Delay: g.Method.Delay, Status: g.Method.Status},
		InFlight: g.InFlight, Wait: g.Overflow == "wait",
	}
	if t := g.Telemetry.Payload; t != nil {
		p.Telemetry.Payload = t
	} else if t := g.Telemetry.Rows; t != nil {
		p.Telemetry.Payload = t
	}
	p.Backoff, p.Throttled = g.Backoffs()
	return p, nil
}

// connectivity is how a group's network changes.
func connectivity(r *scenario.Report) (chain schedule.Chain[string], err error) {
	types, err := weighted(r.Types)
	if err != nil || r.Next == nil {
		return schedule.NewChain(types, nil), err
	}
	next := make(map[string]schedule.Weighted[string], len(r.Next))
	for from, to := range r.Next {
		if next[from], err = weighted(to); err != nil {
			return chain, fmt.Errorf("connectivity after %s: %w", from, err)
		}
	}
	return schedule.NewChain(types, next), nil
}

func weighted(choices []scenario.Weight) (schedule.Weighted[string], error) {
	if len(choices) == 0 {
		return schedule.Weighted[string]{}, nil
	}
	names := make([]string, len(choices))
	weights := make([]float64, len(choices))
	for i, c := range choices {
		names[i], weights[i] = c.Name, c.Weight
	}
	return schedule.NewWeighted(names, weights)
}
