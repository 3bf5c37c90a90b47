package crew

import (
	"fmt"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/scenario"
	spec "github.com/twinfleet/twinfleet/scenario/target"
	"github.com/twinfleet/twinfleet/schedule"
	"github.com/twinfleet/twinfleet/schedule/chance"
)

// groupProfile turns what the scenario says of a group into what its devices do.
func groupProfile(g *scenario.Group) (fleet.Group, error) {
	types, err := connectivity(&g.Report)
	if err != nil {
		return fleet.Group{}, err
	}
	p := fleet.Group{
		Name: g.Name, FirstIndex: g.FirstIndex,
		Report:    fleet.Reporting{Types: types, Extra: g.Report.Properties, Every: g.Report.Every, Gaps: g.Report.Gaps, Sync: g.Report.Sync},
		Session:   schedule.Churn{Online: g.Online, Offline: g.Offline},
		Tokens:    fleet.Tokens{Life: g.Tokens.Life, Margin: g.Tokens.Margin, Spread: g.Tokens.Spread},
		KeepAlive: g.KeepAlive, Timeout: g.Timeout, Answer: g.Answer,
		Methods:  fleet.Methods{Delay: g.Method.Delay, Status: g.Method.Status},
		InFlight: g.InFlight, Wait: g.Overflow == "wait", Shared: g.Shared,
	}
	if g.Over() == spec.HTTPS {
		p.Tokens = fleet.Tokens{} // each message has a fresh one
	}
	p.Backoff, p.Throttled = g.Backoffs()
	return p, nil
}

// connectivity is how a group's network changes.
func connectivity(r *scenario.Report) (chain chance.Chain[string], err error) {
	types, err := weighted(r.Types)
	if err != nil || r.Next == nil {
		return chance.NewChain(types, nil), err
	}
	next := make(map[string]chance.Weighted[string], len(r.Next))
	for from, to := range r.Next {
		if next[from], err = weighted(to); err != nil {
			return chain, fmt.Errorf("connectivity after %s: %w", from, err)
		}
	}
	return chance.NewChain(types, next), nil
}

func weighted(choices []scenario.Weight) (chance.Weighted[string], error) {
	if len(choices) == 0 {
		return chance.Weighted[string]{}, nil
	}
	names := make([]string, len(choices))
	weights := make([]float64, len(choices))
	for i, c := range choices {
		names[i], weights[i] = c.Name, c.Weight
	}
	return chance.NewWeighted(names, weights)
}
