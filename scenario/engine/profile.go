package engine

import (
	"fmt"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/schedule"
	"github.com/twinfleet/twinfleet/scenario"
)

// groupProfile turns what the scenario says of a group into what its devices do.
func groupProfile(g *scenario.Group) (fleet.Group, error) {
	types, err := weighted(g.Report.Types)
	if err != nil {
		return fleet.Group{}, err
	}
	p := fleet.Group{
		Name:      g.Name,
		Report:    fleet.Reporting{Types: types, Extra: g.Report.Properties, Every: g.Report.Every, Sync: g.Report.Sync},
		Telemetry: fleet.Telemetry{Every: g.Telemetry.Every, Payload: g.Telemetry.Payload, QoS: byte(g.Telemetry.QoS), Retain: g.Telemetry.Retain, Sync: g.Telemetry.Sync},
		Session:   fleet.Session{Online: g.Online, Offline: g.Offline},
		Tokens:    fleet.Tokens{Life: g.Tokens.Life, Margin: g.Tokens.Margin, Spread: g.Tokens.Spread},
		KeepAlive: g.KeepAlive, Timeout: g.Timeout, Answer: g.Answer,
		Methods: fleet.Methods{Delay: g.Method.Delay, Status: g.Method.Status},
	}
	switch g.Backoff {
	case "fixed":
		p.Backoff = schedule.FixedBackoff()
	case "none":
		p.Backoff = schedule.NoBackoff()
	default:
		p.Backoff = schedule.ExponentialBackoff()
	}
	if g.Report.Next == nil {
		return p, nil
	}
	p.Report.Next = make(map[string]schedule.Weighted[string], len(g.Report.Next))
	for from, to := range g.Report.Next {
		if p.Report.Next[from], err = weighted(to); err != nil {
			return fleet.Group{}, fmt.Errorf("connectivity after %s: %w", from, err)
		}
	}
	return p, nil
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
