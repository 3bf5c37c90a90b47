package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/twinfleet/twinfleet/report/clean"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/quick"
)

// hubVariable is where a connection string comes from: it is a secret.
const hubVariable = "TWINFLEET_HUB"

// caVariable names the file with the certificate of a hub of one's own, as twinfleet hub prints it.
const caVariable = "TWINFLEET_CA"

// quickFlags are those that only a run without a file has.
func quickFlags() []string { return []string{"hub", "every", "tag", "query", "threshold"} }

// addQuickFlags gives run the flags of a run without a file.
func addQuickFlags(c *cobra.Command) {
	f := c.Flags()
	f.String("hub", "embedded", "without a file: what to load, embedded or mqtt://host of a broker; a connection string is taken from "+hubVariable)
	f.String("every", quick.DefaultEvery, "without a file: how often each device reports, or on a broker sends: 30s, 10s..20s, ~15s")
	f.StringArray("tag", nil, "without a file: a tag of all devices, plant=Redmond43 or location.plant=Redmond43; may be repeated")
	f.StringArray("query", nil, "without a file: a query that the service side runs every ten seconds, or ten times in a shorter run; may be repeated")
	f.StringArray("threshold", nil, `without a file: a condition, "p(95) < 250ms" or "connect: error_rate < 1%"; may be repeated`)
	f.Bool("print", false, "print the scenario as it would run, and run nothing")
}

// scenarioArgs takes a scenario, or none when flags say what to run.
func scenarioArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return cobra.ExactArgs(1)(cmd, args)
	}
	for _, name := range append(quickFlags(), "devices") {
		if cmd.Flags().Changed(name) {
			return nil
		}
	}
	return errors.New("accepts 1 arg(s), received 0; without a scenario, say how many devices: --devices 100")
}

// loadAsked reads the scenario to run: of a file, or, when none is named, what the flags stand for.
func loadAsked(e env, cmd *cobra.Command, args []string, s settings) (*scenario.Scenario, error) {
	if len(args) == 0 {
		return loadQuick(e, cmd, s)
	}
	var beside []string
	for _, name := range quickFlags() {
		if cmd.Flags().Changed(name) { // what the environment says is for runs without a file
			beside = append(beside, "--"+name)
		}
	}
	if len(beside) > 0 {
		return nil, usagef("%s and %s: a scenario says that itself; change it with --set, or leave the scenario out", args[0], strings.Join(beside, ", "))
	}
	return loadScenario(e, args[0], s)
}

// loadQuick makes the scenario that the flags stand for.
func loadQuick(e env, cmd *cobra.Command, s settings) (*scenario.Scenario, error) {
	run := quick.Run{
		Hub: s.v.GetString("hub"), Devices: s.v.GetInt("devices"), Every: s.v.GetString("every"), Duration: s.v.GetDuration("duration"),
	}
	for _, x := range []struct {
		name string
		into *[]string
	}{{"tag", &run.Tags}, {"query", &run.Queries}, {"threshold", &run.Thresholds}} {
		*x.into = s.lines(cmd, x.name)
		if slices.ContainsFunc(*x.into, func(text string) bool { return strings.TrimSpace(text) == "" }) {
			return nil, usagef("--%s is empty: a variable that is not set?", x.name)
		}
	}
	if !s.given("devices") {
		return nil, usagef("a run without a scenario needs --devices, how many: 1 to %d", scenario.MostDevices)
	}
	if run.Devices < 1 || run.Devices > scenario.MostDevices {
		return nil, usagef("--devices %d: a run without a scenario needs 1 to %d", run.Devices, scenario.MostDevices)
	}
	fromFile, err := s.hubOfFile(e)
	if err != nil {
		return nil, err
	}
	if fromFile != "" {
		run.Hub = fromFile
	}
	if fromFile != "" || run.Hub == e.getenv(hubVariable) {
		run.HubVariable = hubVariable
		if e.getenv(caVariable) != "" {
			run.CAVariable = caVariable
		}
	}
	text, err := run.Text()
	if errors.Is(err, quick.ErrSecret) {
		return nil, usagef("--hub: %w; put it into the environment variable %s, and leave --hub out", err, hubVariable)
	}
	if err != nil {
		return nil, withCode(codeUsage, err)
	}
	sc, err := scenario.Decode("flags", text, scenario.Options{Set: s.v.GetStringSlice("set")})
	if err != nil {
		return nil, fmt.Errorf("%w\nthe scenario that the flags stand for:\n%s", inScenario(err), numbered(text))
	}
	tellWarnings(e, sc)
	return sc, nil
}

// lines are the values of a flag that may be repeated; in the environment they stand one a line, for they have spaces.
func (s settings) lines(cmd *cobra.Command, name string) []string {
	if f := cmd.Flags().Lookup(name); f.Changed {
		if given, ok := f.Value.(pflag.SliceValue); ok { // of one that is empty nobody else knows
			return given.GetSlice()
		}
	}
	if text, ok := s.v.Get(name).(string); ok {
		return strings.Split(strings.TrimRight(text, "\n"), "\n")
	}
	return s.v.GetStringSlice(name)
}

// hubOfFile is the target in the file that the environment names, as twinfleet hub leaves it; empty when there is none, or --hub or the variable itself
// says the target.
func (s settings) hubOfFile(e env) (string, error) {
	name := e.getenv(hubVariable + "_FILE")
	if name == "" || s.given("hub") {
		return "", nil
	}
	b, err := scenario.ReadVariable(name)
	if err != nil {
		return "", usagef("the file of %s_FILE: %w", hubVariable, err)
	}
	return b, nil
}

// numbered is a text with the numbers of its lines, which messages name.
func numbered(text []byte) string {
	var b strings.Builder
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		fmt.Fprintf(&b, "%4d  %s", n, line)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// sayScenario prints the scenario that a run without a file stands for, before it runs.
func sayScenario(e env, s settings, sc *scenario.Scenario) {
	if s.v.GetBool("quiet") || s.v.GetBool("json") {
		return
	}
	fmt.Fprintf(e.stderr, "# the scenario that the flags stand for; --print prints it alone, to keep it\n%s\n", clean.Redact(string(sc.Source)))
}

// printScenario prints a scenario as it would run.
func printScenario(e env, sc *scenario.Scenario) error {
	_, err := fmt.Fprint(e.stdout, clean.Redact(string(sc.Source)))
	return err
}
