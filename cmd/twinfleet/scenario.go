package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/twinfleet/twinfleet/internal/target"
	"github.com/twinfleet/twinfleet/report/clean"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/problem"
)

// addScenarioFlags gives a command the flags that every command with a scenario takes.
func addScenarioFlags(c *cobra.Command) {
	addSetFlag(c)
	c.Flags().Int("devices", 0, "let the fleet have so many devices: groups and stages keep their proportions (default: the scenario's own)")
	c.Flags().Duration("duration", 0, "let the stages last so long together, each in proportion: 2m (default: the scenario's own)")
}

// addSetFlag gives a command with a scenario the flag that changes its keys.
func addSetFlag(c *cobra.Command) {
	c.Flags().StringArray("set", nil, "override a key of the scenario: fleet.groups.robots.count=10; may be repeated")
	c.ValidArgsFunction = completeScenarios
	if err := c.RegisterFlagCompletionFunc("set", completeSet); err != nil {
		panic(err) // the flag was added above
	}
}

// loadScenario reads and checks a scenario, from a file, from standard input, or a built-in one by its name; its problems
// are printed as they are, one a line, and so are its warnings.
func loadScenario(e env, file string, s settings) (*scenario.Scenario, error) {
	text, err := scenarioText(file, e.stdin)
	if err != nil {
		return nil, withCode(codeUsage, err)
	}
	sc, err := decodeScenario(file, text, s)
	if err == nil {
		tellWarnings(e, sc)
	}
	return sc, err
}

// tellWarnings prints what is no mistake and yet worth a look.
func tellWarnings(e env, sc *scenario.Scenario) {
	for _, w := range sc.Warnings {
		fmt.Fprintf(e.stderr, "warning: %s\n", w)
	}
}

// scenarioOptions are how the flags want a scenario read.
func (s settings) scenarioOptions() scenario.Options {
	return scenario.Options{Set: s.v.GetStringSlice("set"), Devices: s.v.GetInt("devices"), Duration: s.v.GetDuration("duration")}
}

// decodeScenario checks the text of a scenario.
func decodeScenario(file string, text []byte, s settings) (*scenario.Scenario, error) {
	if file == standardInput {
		file = "stdin"
	}
	// Nothing asked for would be the scenario's own; other numbers are the scenario's to judge.
	if s.given("devices") && s.v.GetInt("devices") == 0 {
		return nil, usagef("--devices 0: a fleet has 1 to %s", human.Number(scenario.MostDevices, "device"))
	}
	if s.given("duration") && s.v.GetDuration("duration") == 0 {
		return nil, usagef("--duration %s: stages last a millisecond at least; leave it out for the scenario's own", s.v.GetString("duration"))
	}
	sc, err := scenario.Decode(file, text, s.scenarioOptions())
	return sc, inScenario(err)
}

// sayTrust says when a scenario's target is a hub of this machine whose certificate is found without being named.
func sayTrust(e env, sc *scenario.Scenario) {
	if ca := target.Nearby(&sc.Target); ca != "" {
		fmt.Fprintf(e.stderr, "trusts the certificate of the hub on this machine: %s\n", ca)
	}
}

// inScenario says how many mistakes a scenario has.
func inScenario(err error) error {
	var problems problem.List
	if !errors.As(err, &problems) {
		return withCode(codeUsage, err)
	}
	n := "1 mistake"
	if len(problems) > 1 {
		n = fmt.Sprintf("%d mistakes", len(problems))
	}
	return usagef("%s in the scenario; nothing was started\n%w", n, err)
}

func newValidate(e env) *cobra.Command {
	c := &cobra.Command{
		Use:   "validate SCENARIO...",
		Short: "Check scenarios without starting anything",
		Args:  cobra.MinimumNArgs(1),
	}
	addCommonFlags(c)
	addScenarioFlags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := loadSettings(cmd)
		if err != nil {
			return err
		}
		var errs []error
		for _, file := range args {
			sc, err := loadScenario(e, file, s)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			if _, err := fmt.Fprintf(e.stdout, "%s: valid: %s, %s\n", clean.Text(file), human.Number(sc.Devices(), "device"), human.Number(len(sc.Stages), "stage")); err != nil {
				return err // who cannot be told that it is valid must not think so
			}
		}
		return withCode(codeUsage, errors.Join(errs...))
	}
	return c
}

// color says whether output may be coloured.
func (s settings) color(e env) (bool, error) {
	switch c := s.v.GetString("color"); c {
	case "always":
		return true, nil
	case "never":
		return false, nil
	case "auto":
		return e.terminal() > 0 && e.getenv("NO_COLOR") == "", nil
	default:
		return false, usagef("--color %q: use auto, always or never", c)
	}
}
