package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/twinfleet/twinfleet/internal/capacity/buy"
	"github.com/twinfleet/twinfleet/internal/capacity/price"
	"github.com/twinfleet/twinfleet/internal/capacity/purchase"
	"github.com/twinfleet/twinfleet/report"
	written "github.com/twinfleet/twinfleet/report/purchase"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/plan"
	"github.com/twinfleet/twinfleet/scenario/plan/tables"
)

func newPlan(e env) *cobra.Command {
	c := &cobra.Command{
		Use:     "plan SCENARIO",
		Aliases: []string{"inspect"},
		Short:   "Say what a scenario will do and what to buy for it, without starting anything",
		Long: `Show the plan of a scenario: stages, the busiest second and the total of every operation, what it
needs of this machine, how many messages it counts for; and the purchase: the cheapest tier and number
of units of Azure IoT Hub that carry it all day and in its peaks, what binds, why all that is cheaper
does not, what it costs a month, and which changes of the scenario would make it cheaper.
Nothing is started and nothing is asked: the plan is arithmetic.

Exit codes: 0 planned, 2 the scenario or the usage is wrong.`,
		Example: "  twinfleet plan connectivity\n  twinfleet plan my.yaml --tier S1 --units 2\n  twinfleet plan my.yaml --prices prices.json --json",
		Args:    cobra.ExactArgs(1),
	}
	addCommonFlags(c)
	addScenarioFlags(c)
	addTierFlags(c)
	f := c.Flags()
	f.Bool("json", false, "print JSON for programs instead of tables")
	f.Bool("markdown", false, "print the purchase in Markdown, for a page or a comment")
	f.String("prices", "", "file with prices (JSON; docs/plan.md has the format) instead of the built-in ones")
	c.RunE = func(cmd *cobra.Command, args []string) error { return runPlan(e, cmd, args[0]) }
	return c
}

// planned is what the command prints as JSON: the plan, and the purchase.
type planned struct {
	*plan.Plan
	Purchase *report.Purchase `json:"purchase,omitempty"` // nil for a target that is no IoT Hub and stands for none
}

func runPlan(e env, cmd *cobra.Command, file string) error {
	s, err := loadSettings(cmd)
	if err != nil {
		return err
	}
	market, err := s.market()
	if err != nil {
		return err
	}
	sc, resize, err := loadResizable(e, file, s)
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
	o := purchase.Options{Market: market, Resize: resize}
	if p.Tier != nil {
		o.Tier, o.Units = p.Tier.Tier, p.Tier.Units
	}
	found, err := purchase.Of(sc, p, o)
	if err != nil {
		return usagef("%w", err)
	}
	switch {
	case s.v.GetBool("json"):
		return writeJSON(e.stdout, planned{p, found})
	case s.v.GetBool("markdown"):
		if found == nil {
			return usagef("--markdown: %s is no IoT Hub: there is nothing to buy", p.Target)
		}
		return written.Markdown(e.stdout, found)
	}
	if err := tables.Write(e.stdout, p); err != nil || found == nil {
		return err
	}
	if len(p.Notes) > 0 {
		fmt.Fprintln(e.stdout)
	}
	return written.Text(e.stdout, found)
}

// market is what can be bought: at the built-in prices, or at those of a file.
func (s settings) market() (buy.Market, error) {
	m, err := buy.BuiltIn()
	if err != nil {
		return m, err
	}
	if file := s.v.GetString("prices"); file != "" {
		if m.Prices, err = price.Load(file); err != nil {
			return m, usagef("--prices: %w", err)
		}
	}
	return m, nil
}

// loadResizable reads a scenario, and returns what reads it with another number of devices.
func loadResizable(e env, file string, s settings) (*scenario.Scenario, func(int) (*scenario.Scenario, error), error) {
	text, err := scenarioText(file, e.stdin)
	if err != nil {
		return nil, nil, withCode(codeUsage, err)
	}
	sc, err := decodeScenario(file, text, s)
	if err != nil {
		return nil, nil, err
	}
	o := s.scenarioOptions()
	return sc, func(devices int) (*scenario.Scenario, error) {
		o.Devices = devices
		return scenario.Decode(file, text, o)
	}, nil
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// addTierFlags gives a command the flags that hold a scenario to a tier.
func addTierFlags(c *cobra.Command) {
	c.Flags().String("tier", "", "hold the scenario to this tier: F1, B1, B2, B3, S1, S2 or S3 (default: the scenario's own)")
	c.Flags().Int("units", 1, "units of the tier")
}

func (s settings) tier() plan.Options {
	return plan.Options{Tier: s.v.GetString("tier"), Units: s.v.GetInt("units")}
}
