package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/twinfleet/twinfleet/report/clean"
)

// run carries out one command line and returns the exit code.
func run(e env) int {
	root := newRoot(e)
	root.SetArgs(e.args)
	err := root.ExecuteContext(context.Background())
	if err != nil && !errors.Is(err, errSilent) {
		fmt.Fprintf(e.stderr, "twinfleet: %s\n", shown(err))
	}
	return codeOf(err)
}

// shown is an error as a person may see it, in its lines: without control characters, and without keys, which people
// take for the name of a scenario.
func shown(err error) string {
	lines := strings.Split(strings.TrimSuffix(clean.Redact(err.Error()), "\n"), "\n")
	for i, line := range lines {
		lines[i] = clean.Text(line)
	}
	return strings.Join(lines, "\n")
}

func newRoot(e env) *cobra.Command {
	root := &cobra.Command{
		Use:   "twinfleet",
		Short: "Load a device-twin back end with a simulated fleet and say whether it holds",
		Long: `twinfleet starts thousands of simulated devices that connect over MQTT and report their
connectivity into device twins, runs the back-end worker that tags and queries them, measures
both on one clock, and ends with a verdict: numbers, a report, an exit code.

It speaks to Azure IoT Hub, to any MQTT broker, and to its own embedded hub, which is the default.`,
		Example:       "  twinfleet run connectivity\n  twinfleet init my-scenario.yaml\n  twinfleet validate my-scenario.yaml\n  twinfleet hub",
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       versionLine(),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return usagef("unknown command %q for %q; %s", args[0], cmd.CommandPath(), suggestion(cmd, args[0]))
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetOut(e.stdout)
	root.SetErr(e.stderr)
	root.SetIn(e.stdin)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%w; see %q", err, cmd.CommandPath()+" --help")
	})
	for _, c := range []*cobra.Command{
		newRun(e), newAgent(e), newValidate(e), newPlan(e), newDoctor(e), newProvision(e), newDeprovision(e), newReport(e), newCompare(e), newHub(e), newHealth(e),
		newCapacity(e), newBench(e), newKube(e), newInit(e), newExamples(e), newSchema(e), newVersion(e),
	} {
		root.AddCommand(withUsageCode(c))
	}
	completeBashAlone(root, e.stdout)
	return root
}

// suggestion names the commands that a mistyped one may stand for, or where all of them are.
func suggestion(root *cobra.Command, typed string) string {
	if names := root.SuggestionsFor(typed); len(names) > 0 {
		return "did you mean " + strings.Join(names, " or ") + "?"
	}
	return fmt.Sprintf("see %q", root.CommandPath()+" --help")
}

// withUsageCode makes wrong arguments exit with the code for wrong usage.
func withUsageCode(c *cobra.Command) *cobra.Command {
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usagef("%s: %w; see %q", cmd.CommandPath(), err, cmd.CommandPath()+" --help")
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		withUsageCode(sub)
	}
	return c
}
