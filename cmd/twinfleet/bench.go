package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/twinfleet/twinfleet/internal/bench"
	"github.com/twinfleet/twinfleet/internal/bench/bare"
)

func newBench(e env) *cobra.Command {
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure what devices and operations cost on this machine",
		Long: `Measure what a device and an operation cost on this machine: processor time and memory of fleet and
embedded hub, in processes of their own on loopback, beside bare programs that do nothing but what
must be done. Ratios matter, not figures: those depend on the machine and on what else it does.

It takes some ten minutes. Ctrl-C ends it, with the figures that there are by then.`,
		Example: "  twinfleet bench\n  twinfleet bench --json",
	}
	c.Flags().Bool("json", false, "print JSON for programs instead of a table")
	c.Flags().Int("devices", 8000, "devices that connect at once")
	c.Flags().StringSlice("only", nil, "parts that are measured: "+strings.Join(bench.Parts(), ", "))
	c.Flags().String("part", "", "run a bare program, whose settings come from standard input; or, as own, the command that follows, until that ends")
	_ = c.Flags().MarkHidden("part")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := loadSettings(cmd)
		if err != nil {
			return err
		}
		switch part := s.v.GetString("part"); {
		case part == "own":
			return withCode(run(e.whileStdin(args)), errSilent)
		case part != "":
			return bare.Run(part, e.stdin, e.stdout)
		case len(args) > 0:
			return usagef("bench takes no argument, such as %q; parts are chosen with --only", args[0])
		}
		if n := s.v.GetInt("devices"); n < bench.LeastDevices {
			return usagef("--devices %d: fewer than %d tell nothing", n, bench.LeastDevices)
		}
		for _, name := range s.v.GetStringSlice("only") {
			if !slices.Contains(bench.Parts(), name) {
				return usagef("--only %q: a bench has the parts %s", name, strings.Join(bench.Parts(), ", "))
			}
		}
		program, err := os.Executable()
		if err != nil {
			return fmt.Errorf("finding this program: %w", err)
		}
		ctx, cancel := context.WithCancelCause(cmd.Context())
		defer cancel(nil)
		hard, done := e.stopperSaying(ctx, slog.New(slog.NewTextHandler(e.stderr, nil)), "stopping: the figures so far follow", func() { cancel(errInterrupted) })
		defer done()
		rows, err := bench.Run(hard, bench.Options{
			Program: program, Devices: s.v.GetInt("devices"), Only: s.v.GetStringSlice("only"),
			Tell: func(text string) { fmt.Fprintf(e.stderr, "%s …\n", text) },
		})
		if err != nil && hard.Err() != nil {
			err = withCode(codeInterrupted, errInterrupted)
		}
		if len(rows) == 0 && err != nil {
			return err
		}
		return cmp.Or(writeBench(e, rows, s.v.GetBool("json")), err)
	}
	return c
}

func writeBench(e env, rows []bench.Row, asJSON bool) error {
	if !asJSON {
		return bench.Write(e.stdout, rows)
	}
	enc := json.NewEncoder(e.stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(rows)
}

// whileStdin is the environment of a command that is interrupted when standard input ends.
func (e env) whileStdin(args []string) env {
	e.args = args
	e.interrupts = func() (<-chan os.Signal, func()) {
		c := make(chan os.Signal, 1)
		go func() { // until then, or the end of the process
			_, _ = io.Copy(io.Discard, e.stdin)
			c <- os.Interrupt
		}()
		return c, func() {}
	}
	return e
}
