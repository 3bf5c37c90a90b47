package trial

import (
	"fmt"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/plan"
)

// Resized are the keys that give a scenario's fleet so many devices, in the proportions of its groups; each group has one at least.
func Resized(sc *scenario.Scenario, devices int) []string { return (&Base{Scenario: sc}).size(devices) }

// RampRate is at which rate a scenario brings its devices up, devices a second, at most; 0 when it brings none.
func RampRate(sc *scenario.Scenario) float64 { return rampRate(sc) }

// Carried is what the target and the network do in a scenario's steady stage, as a stage has it.
func Carried(sc *scenario.Scenario) (map[string]any, error) {
	p, err := plan.Make(sc, plan.Options{})
	if err != nil {
		return nil, fmt.Errorf("planning the scenario: %w", err)
	}
	if p.Steady == nil {
		return nil, fmt.Errorf("%w: no stage has devices", ErrNothingToVary)
	}
	b := &Base{Scenario: sc}
	if err := yaml.Load(sc.Source, &b.source); err != nil {
		return nil, fmt.Errorf("reading the scenario as it runs: %w", err)
	}
	b.carry(p.Steady.Stage)
	return b.carried, nil
}
