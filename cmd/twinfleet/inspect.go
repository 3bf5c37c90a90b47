package main

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/twinfleet/twinfleet/scenario/plan"
	"github.com/twinfleet/twinfleet/scenario/plan/tables"
)

func newInspect(e env) *cobra.Command {
	c := &cobra.Command{
		Use:   "inspect SCENARIO",
		Short: "Show what a scenario will do, without starting anything",
		Long: `Show the plan of a scenario: stages, the busiest second and the total of every operation, what it
needs of this machine, how many messages it counts for, and which limits of a tier it exceeds.
Nothing is started and nothing is asked: the plan is arithmetic.`,
		Example: "  twinfleet inspect configs/scenarios/connectivity.yaml\n  twinfleet inspect my.yaml --tier S1 --units 2\n  twinfleet inspect my.yaml --json",
		Args:    cobra.ExactArgs(1),
	}
	addCommonFlags(c)
	addScenarioFlags(c)
	addTierFlags(c)
	c.Flags().Bool("json", false, "print JSON for programs instead of tables")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := loadSettings(cmd)
		if err != nil {
			return err
		}
		sc, err := loadScenario(e, args[0], s)
		if err != nil {
			return err
		}
		if sc, _, err = settle(sc); err != nil {
			return err
		}
		p, err := plan.Make(sc, s.tier())
		if err != nil {
			return usagef("--tier: %w", err)
		}
		if !s.v.GetBool("json") {
			return tables.Write(e.stdout, p)
		}
		enc := json.NewEncoder(e.stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(p)
	}
	return c
}

// addTierFlags gives a command the flags that hold a scenario to a tier.
func addTierFlags(c *cobra.Command) {
	c.Flags().String("tier", "", "hold the scenario to this tier: F1, B1, B2, B3, S1, S2 or S3 (default: the scenario's own)")
	c.Flags().Int("units", 1, "units of the tier")
}

func (s settings) tier() plan.Options {
	return plan.Options{Tier: s.v.GetString("tier"), Units: s.v.GetInt("units")}
}
