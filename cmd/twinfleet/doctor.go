package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/twinfleet/twinfleet/internal/doctor"
	"github.com/twinfleet/twinfleet/internal/fit"
	"github.com/twinfleet/twinfleet/internal/host"
	"github.com/twinfleet/twinfleet/internal/target/probe"
	"github.com/twinfleet/twinfleet/report/clean"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/plan"
)

func newDoctor(e env) *cobra.Command {
	c := &cobra.Command{
		Use:   "doctor SCENARIO",
		Short: "Check machine and target before a run",
		Long: `Check what would spoil a run of a scenario: descriptors, local ports, source addresses and memory of
this machine; name, port, certificate, credentials and clock of the target; limits of a tier that the
scenario exceeds for sure. Each finding comes with its remedy. Nothing is changed.

With --agents N: what each of N agents needs, and whether this machine holds all of them.

Exit codes: 0 no problem, 1 a problem that would fail the run, 2 the scenario or the usage is wrong.`,
		Example: "  twinfleet doctor my.yaml\n  twinfleet doctor my.yaml --tier S1 --units 2\n  twinfleet doctor my.yaml --agents 4",
		Args:    cobra.ExactArgs(1),
	}
	addCommonFlags(c)
	addScenarioFlags(c)
	addTierFlags(c)
	addCrewFlags(c)
	c.Flags().Bool("json", false, "print JSON for programs instead of lines")
	c.Flags().String("color", "auto", "colours: auto, always or never")
	c.RunE = func(cmd *cobra.Command, args []string) error { return runDoctor(cmd.Context(), e, cmd, args[0]) }
	return c
}

func runDoctor(ctx context.Context, e env, cmd *cobra.Command, file string) error {
	s, err := loadSettings(cmd)
	if err != nil {
		return err
	}
	sc, err := loadScenario(e, file, s)
	if err != nil {
		return err
	}
	sayTrust(e, sc)
	colored, err := s.color(e)
	if err != nil {
		return err
	}
	agents, err := s.crewOf(sc)
	if err != nil {
		return err
	}
	var facts host.Facts
	if agents != nil {
		sc = agents.settled(sc)
	} else if sc, facts, err = settle(sc); err != nil {
		return err
	}
	if err := tierFlags(cmd, s); err != nil {
		return err
	}
	p, err := plan.Make(sc, s.planned())
	if err != nil {
		return usagef("--tier: %w", err)
	}
	var all []doctor.Finding
	if agents != nil {
		all = doctor.Agents(agents.scenario, agents.Crew, agents.each, agents.facts)
	} else {
		all = doctor.Machine(sc, p, facts)
	}
	if agents == nil || agents.Hub == nil {
		reached, err := reach(ctx, sc)
		if err != nil {
			return err
		}
		all = append(all, reached...)
	}
	all = append(all, doctor.Tier(sc, p)...)
	if s.v.GetBool("json") {
		enc := json.NewEncoder(e.stdout)
		enc.SetIndent("", "  ")
		err = enc.Encode(all)
	} else {
		err = writeFindings(e.stdout, all, color.Style{Color: colored})
	}
	if err != nil || len(doctor.Problems(all)) == 0 {
		return err
	}
	return withCode(codeFailed, errSilent)
}

// reach asks the target; the embedded hub is not there yet.
func reach(ctx context.Context, sc *scenario.Scenario) ([]doctor.Finding, error) {
	t, err := probe.New(ctx, sc)
	if errors.Is(err, probe.ErrNothingToProbe) {
		return []doctor.Finding{{Check: "target", Level: doctor.OK, Text: err.Error()}}, nil
	}
	if err != nil {
		return []doctor.Finding{{Check: "target", Level: doctor.Problem, Text: err.Error(), Remedy: "correct target in the scenario"}}, nil
	}
	return doctor.Reach(ctx, sc.Target.Can(), t, time.Now), t.Close()
}

func writeFindings(w io.Writer, all []doctor.Finding, style color.Style) error {
	width := 0
	for _, f := range all {
		width = max(width, len(f.Check))
	}
	b := &strings.Builder{}
	for _, f := range all {
		mark := style.Mark(f.Level == doctor.OK)
		if f.Level == doctor.Warning {
			mark = "!"
		}
		fmt.Fprintf(b, "%s %-*s  %s\n", mark, width, f.Check, clean.Text(f.Text))
		if f.Remedy != "" {
			fmt.Fprintf(b, "  %-*s  → %s\n", width, "", f.Remedy)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// settle fits a scenario to what this machine has.
func settle(sc *scenario.Scenario) (*scenario.Scenario, host.Facts, error) {
	facts, err := host.Read()
	if err != nil {
		return nil, facts, err
	}
	fitted, err := fit.To(sc, facts)
	return fitted, facts, err
}

// preflight fits a scenario to this machine, and refuses a run for which that has too little, before anything is started.
func preflight(sc *scenario.Scenario, force bool) (*scenario.Scenario, error) {
	facts, err := host.Read()
	if err != nil {
		return sc, nil // what cannot be read cannot be judged
	}
	fitted, err := fit.To(sc, facts)
	if err != nil {
		return nil, withCode(codeUsage, err)
	}
	p, err := plan.Make(fitted, plan.Options{})
	if err != nil {
		return nil, withCode(codeUsage, err)
	}
	problems := doctor.Problems(doctor.Machine(fitted, p, facts))
	if len(problems) == 0 || force {
		return fitted, nil
	}
	lines := []string{"this machine has too little for the scenario; nothing was started (--force starts all the same)"}
	for _, f := range problems {
		lines = append(lines, fmt.Sprintf("%s: %s; %s", f.Check, clean.Text(f.Text), f.Remedy))
	}
	return nil, withCode(codeFailed, errors.New(strings.Join(lines, "\n")))
}
