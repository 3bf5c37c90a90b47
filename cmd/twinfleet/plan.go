package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/twinfleet/twinfleet/internal/capacity/buy"
	"github.com/twinfleet/twinfleet/internal/capacity/price"
	"github.com/twinfleet/twinfleet/internal/capacity/purchase"
	"github.com/twinfleet/twinfleet/internal/capacity/verify"
	"github.com/twinfleet/twinfleet/internal/fit"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
	written "github.com/twinfleet/twinfleet/report/purchase"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/plan"
	"github.com/twinfleet/twinfleet/scenario/plan/tables"
)

func newPlan(e env) *cobra.Command {
	c := &cobra.Command{
		Use:     "plan SCENARIO | --from RUN",
		Aliases: []string{"inspect"},
		Short:   "Say what a scenario will do and what to buy for it, without starting anything",
		Long: `Show the plan of a scenario: stages, the busiest second and the total of every operation, what it
needs of this machine, how many messages it counts for; and the purchase: the cheapest tier and number
of units of Azure IoT Hub that carry it all day and in its peaks, what binds, why all that is cheaper
does not, what it costs a month, and which changes of the scenario would make it cheaper.
With --agents N: what each of N agents needs, whether this machine holds all of them, and how many
machines like it the fleet needs.
Nothing is started and nothing is asked, unless --verify is given: the plan is arithmetic.

Exit codes: 0 planned, and with --verify borne out; 1 not borne out, 2 the scenario or the usage is
wrong, 98 the generator was the bottleneck of a verification, 130 interrupted.`,
		Example: "  twinfleet plan connectivity\n  twinfleet plan my.yaml --tier S1 --units 2\n  twinfleet plan my.yaml --prices prices.json --json\n  twinfleet plan --from runs/20261125-120000-connectivity --devices 1000000",
		Args:    cobra.MaximumNArgs(1), // none with --from
	}
	addCommonFlags(c)
	addScenarioFlags(c)
	addTierFlags(c)
	addCrewFlags(c)
	f := c.Flags()
	f.String("from", "", "folder of the record of a run: plan for a fleet of --devices that does what that run's did")
	f.Bool("json", false, "print JSON for programs instead of tables")
	f.Bool("markdown", false, "print the purchase in Markdown, for a page or a comment")
	f.Bool("verify", false, "run the scenario in small on the embedded hub with the purchase and with the next cheaper one, and see that only the first holds")
	f.Bool("allow-saturated", false, "with --verify: take the figures although the generator was the bottleneck")
	f.String("prices", "", "file with prices (JSON; docs/plan.md has the format) instead of the built-in ones")
	c.RunE = func(cmd *cobra.Command, args []string) error { return runPlan(cmd.Context(), e, cmd, args) }
	return c
}

// planned is what the command prints as JSON: the plan, and the purchase.
type planned struct {
	*plan.Plan
	Crew         *fit.Crew        `json:"agents,omitempty"`       // nil unless it was asked for
	Purchase     *report.Purchase `json:"purchase,omitempty"`     // nil for a target that is no IoT Hub and stands for none
	Verification *verify.Result   `json:"verification,omitempty"` // nil unless it was asked for
}

func runPlan(ctx context.Context, e env, cmd *cobra.Command, args []string) error {
	s, err := loadSettings(cmd)
	if err != nil {
		return err
	}
	if err := planFlags(cmd, s); err != nil {
		return err
	}
	market, err := s.market()
	if err != nil {
		return err
	}
	switch from := s.v.GetString("from") != ""; {
	case from && len(args) > 0:
		return usagef("plan takes a scenario or --from, not both; see %q", cmd.CommandPath()+" --help")
	case from:
		return planFrom(e, s, &market)
	case len(args) == 0:
		return usagef("%s: accepts 1 arg(s), received 0; see %q", cmd.CommandPath(), cmd.CommandPath()+" --help")
	}
	file := args[0]
	sc, resize, err := loadResizable(e, file, s)
	if err != nil {
		return err
	}
	agents, err := s.crewOf(sc)
	if err != nil {
		return err
	}
	if agents != nil {
		sc = agents.settled(sc)
	} else if sc, _, err = settle(sc); err != nil {
		return err
	}
	p, err := plan.Make(sc, s.planned())
	if err != nil {
		return usagef("--tier: %w", err)
	}
	if agents != nil {
		p.Machine = agents.each
	}
	o := purchase.Options{Market: market, Resize: resize}
	if p.Tier != nil {
		o.Tier, o.Units = p.Tier.Tier, p.Tier.Units
	}
	found, err := purchase.Of(sc, p, o)
	if err != nil {
		return usagef("%w", err)
	}
	markdown, verifies := s.v.GetBool("markdown"), s.v.GetBool("verify")
	if found == nil && (markdown || verifies) {
		return usagef("%s: %s", file, nothing(p))
	}
	if s.v.GetBool("json") {
		out := planned{Plan: p, Purchase: found}
		if agents != nil {
			out.Crew = agents.Crew
		}
		var failed error
		if verifies {
			out.Verification, failed = runVerify(ctx, e, s, &verify.Options{Scenario: sc, Plan: p, Purchase: found, Market: &market})
		}
		return cmp.Or(writeJSON(e.stdout, out), failed)
	}
	if err := writePlan(e.stdout, p, agents, found, markdown); err != nil || !verifies {
		return err
	}
	result, failed := runVerify(ctx, e, s, &verify.Options{Scenario: sc, Plan: p, Purchase: found, Market: &market})
	return cmp.Or(writeVerification(e.stdout, result), failed)
}

// nothing says why there is nothing to buy for a plan.
func nothing(p *plan.Plan) string {
	if !p.Hub {
		return fmt.Sprintf("there is nothing to buy: the target, of kind %s, is no IoT Hub", p.Target)
	}
	return "there is nothing to buy: no device is ever active; stages say how many are (devices: 100%)"
}

// planFlags refuses flags that would do nothing beside others.
func planFlags(cmd *cobra.Command, s settings) error {
	if s.v.GetBool("json") && s.v.GetBool("markdown") {
		return usagef("--json and --markdown: one of them; the plan is printed once")
	}
	if cmd.Flags().Changed("allow-saturated") && !s.v.GetBool("verify") {
		return usagef("--allow-saturated is about runs: give --verify too, or leave it out")
	}
	if cmd.Flags().Changed("agents") && s.v.GetString("from") != "" {
		return usagef("--agents is about a scenario's devices, of which a record does not tell enough: give a scenario in place of --from")
	}
	return tierFlags(cmd, s)
}

// writePlan writes plan and purchase for people.
func writePlan(w io.Writer, p *plan.Plan, agents *crew, found *report.Purchase, markdown bool) error {
	if markdown {
		return written.Markdown(w, found)
	}
	if err := tables.Write(w, p); err != nil {
		return err
	}
	if len(p.Notes) > 0 {
		fmt.Fprintln(w)
	}
	if agents != nil {
		if err := agents.write(w); err != nil {
			return err
		}
	}
	if found == nil {
		_, err := fmt.Fprintln(w, nothing(p))
		return err
	}
	return written.Text(w, found)
}

// runVerify holds a purchase to what the embedded hub does. What it found comes with the error, too.
func runVerify(ctx context.Context, e env, s settings, o *verify.Options) (*verify.Result, error) {
	log, err := s.logger(e.stderr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	hard, done := e.stopperSaying(ctx, log, "stopping the verification", cancel)
	defer done()
	if s.given("log-level") { // that a tier sheds load is what a verification wants to see
		o.Logger = log
	}
	o.Version, o.AllowSaturated = versionText(), s.v.GetBool("allow-saturated")
	o.Tell = func(line string) { fmt.Fprintln(e.stderr, line) }
	r, err := verify.Run(hard, *o)
	return r, verified(err)
}

// verified gives the end of a verification its exit code.
func verified(err error) error {
	switch {
	case errors.Is(err, verify.ErrNothing):
		return usagef("--verify: %w", err)
	case errors.Is(err, verify.ErrSaturated):
		return withCode(codeSaturated, err)
	case errors.Is(err, verify.ErrInterrupted):
		return withCode(codeInterrupted, err)
	}
	return withCode(codeFailed, err)
}

// writeVerification says what a verification found, for people.
func writeVerification(w io.Writer, r *verify.Result) error {
	if r == nil || len(r.Steps) == 0 {
		return nil
	}
	b := &strings.Builder{}
	b.WriteString("\nverified on the embedded hub\n")
	for i := range r.Steps {
		x := &r.Steps[i]
		mark := "✗"
		if x.Clean == x.Want && x.Reason == "" {
			mark = "✓"
		}
		if x.Near || x.Reason != "" {
			mark = "!"
		}
		should := "carries the load"
		if !x.Want {
			should = "does not carry the load"
		}
		human.Wrap(b, mark+" ", "  ", fmt.Sprintf("%s, which %s: %s (%s)", x.Offer.Name(), should, x, human.Duration(time.Duration(x.Seconds*float64(time.Second)))))
	}
	for _, n := range r.Notes {
		human.Wrap(b, "! ", "  ", n)
	}
	_, err := io.WriteString(w, b.String())
	return err
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

// tierFlags refuses a number of units that is none, and one of no tier.
//
// What the environment or a configuration file says is for all commands: only the command line is asked for its sense.
func tierFlags(cmd *cobra.Command, s settings) error {
	switch units := s.v.GetInt("units"); {
	case units < 1:
		return usagef("--units %d: a purchase has 1 unit or more", units)
	case cmd.Flags().Changed("units") && s.v.GetString("tier") == "":
		return usagef("--units %d: of which tier? Give --tier too", units)
	}
	return nil
}

// planned is the tier to hold a plan to; none is the scenario's own.
func (s settings) planned() plan.Options {
	return plan.Options{Tier: s.v.GetString("tier"), Units: s.v.GetInt("units")}
}
