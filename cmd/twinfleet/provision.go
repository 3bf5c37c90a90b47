package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/twinfleet/twinfleet/internal/identity/keyfile"
	"github.com/twinfleet/twinfleet/internal/identity/paced"
	"github.com/twinfleet/twinfleet/internal/target/registry"
	"github.com/twinfleet/twinfleet/report/human"
)

func newProvision(e env) *cobra.Command {
	c := &cobra.Command{
		Use:   "provision SCENARIO",
		Short: "Make a scenario's identities and leave them",
		Long: `Make the identities of a scenario in the registry of its hub, 100 a call, and leave them: runs then
find them. It goes on when the registry throttles, and may be repeated after an interruption: what is
there is left as it is. With --out the connection strings of the devices go to a file that a group
takes with identity: {file: …}; the file holds keys, and its owner alone may read it.`,
		Example: "  twinfleet provision my.yaml\n  twinfleet provision my.yaml --out devices.jsonl",
		Args:    cobra.ExactArgs(1),
	}
	addCommonFlags(c)
	addScenarioFlags(c)
	c.Flags().String("out", "", "file that takes the connection strings of the devices, one JSON object a line; it is continued when it is there")
	c.Flags().Bool("quiet", false, "print no progress, only the counts")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return onRegistry(cmd.Context(), e, cmd, args[0], "identities made", provision)
	}
	return c
}

func newDeprovision(e env) *cobra.Command {
	c := &cobra.Command{
		Use:   "deprovision SCENARIO",
		Short: "Remove a scenario's identities",
		Long: `Remove the identities with the ids of a scenario's devices from the registry of its hub, 100 a call,
whoever made them. Devices of an identity file, and all others of the hub, are left alone. It goes on
when the registry throttles, and may be repeated after an interruption.`,
		Args: cobra.ExactArgs(1),
	}
	addCommonFlags(c)
	addScenarioFlags(c)
	c.Flags().Bool("quiet", false, "print no progress, only the counts")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return onRegistry(cmd.Context(), e, cmd, args[0], "identities removed", deprovision)
	}
	return c
}

// onRegistry runs a command that works on the registry, with progress and Ctrl-C.
func onRegistry(ctx context.Context, e env, cmd *cobra.Command, file, what string, do func(context.Context, registry.Options, settings, io.Writer) error) error {
	e.outlive()
	s, err := loadSettings(cmd)
	if err != nil {
		return err
	}
	log, err := s.logger(e.stderr)
	if err != nil {
		return err
	}
	sc, err := loadScenario(e, file, s)
	if err != nil {
		return err
	}
	sayTrust(e, sc)
	stop := make(chan struct{})
	hard, done := e.stopperSaying(ctx, log, "stopping: calls under way are waited for; once more stops at once", func() { close(stop) })
	defer done()
	o := registry.Options{Scenario: sc, Stop: stop}
	if !s.v.GetBool("quiet") {
		o.Progress = registryProgress(e.stderr, what)
	}
	err = do(hard, o, s, e.stdout)
	switch {
	case errors.Is(err, paced.ErrStopped), err != nil && errors.Is(context.Cause(hard), errInterrupted):
		return withCode(codeInterrupted, errors.New("interrupted; the same command goes on"))
	case errors.Is(err, registry.ErrNoRegistry):
		return withCode(codeUsage, err)
	}
	return err
}

// registryProgress prints a line a second, and one when the registry throttles.
func registryProgress(w io.Writer, what string) func(paced.Progress) {
	var last time.Time
	return func(p paced.Progress) {
		if p.Done < p.Total && time.Since(last) < countEvery {
			return
		}
		last = time.Now()
		fmt.Fprintf(w, "%s: %s of %s%s\n", what, human.Count(p.Done), human.Count(p.Total), p.Hindrance())
	}
}

func provision(ctx context.Context, o registry.Options, s settings, w io.Writer) (err error) {
	out := s.v.GetString("out")
	if out != "" {
		if o.Out, err = keyfile.Open(out); err != nil {
			return withCode(codeUsage, err)
		}
		defer func() { err = errors.Join(err, o.Out.Close()) }()
	}
	c, err := registry.Provision(ctx, o)
	if errors.Is(err, registry.ErrNoRegistry) {
		return err
	}
	fmt.Fprintf(w, "%s: %s made, %s there already", human.Number(c.Total, "identity"), number(c.Made), number(c.Existed+c.Done))
	if left := c.Total - c.Made - c.Existed - c.Done; left > 0 {
		fmt.Fprintf(w, ", %s left to do", number(left))
	}
	fmt.Fprintln(w)
	ofFiles(w, c)
	if out != "" {
		fmt.Fprintf(w, "connection strings of %s are in %s: it holds keys\n", human.Number(c.Made+c.Existed+c.Done-c.Unsaved, "device"), out)
	}
	return err
}

func deprovision(ctx context.Context, o registry.Options, _ settings, w io.Writer) error {
	c, err := registry.Deprovision(ctx, o)
	if errors.Is(err, registry.ErrNoRegistry) {
		return err
	}
	fmt.Fprintf(w, "%s: %s removed, %s were not there", human.Number(c.Total, "identity"), number(c.Removed), number(c.Missing))
	if left := c.Total - c.Removed - c.Missing; left > 0 {
		fmt.Fprintf(w, ", %s left to do", number(left))
	}
	fmt.Fprintln(w)
	ofFiles(w, c)
	return err
}

func ofFiles(w io.Writer, c registry.Counts) {
	if c.OfFiles > 0 {
		fmt.Fprintf(w, "%s of identity files: left alone\n", human.Number(c.OfFiles, "device"))
	}
}

func number(n int) string { return human.Count(n) }
