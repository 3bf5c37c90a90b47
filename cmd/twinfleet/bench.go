package main

import (
	"encoding/json"
	"fmt"
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

It takes some three minutes.`,
		Example: "  twinfleet bench\n  twinfleet bench --json",
		Args:    cobra.NoArgs,
	}
	c.Flags().Bool("json", false, "print JSON for programs instead of a table")
	c.Flags().Int("devices", 8000, "devices that connect at once")
	c.Flags().StringSlice("only", nil, "parts that are measured: "+strings.Join(bench.Parts(), ", "))
	c.Flags().String("part", "", "run a bare program, whose settings come from standard input")
	_ = c.Flags().MarkHidden("part")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := loadSettings(cmd)
		if err != nil {
			return err
		}
		if part := s.v.GetString("part"); part != "" {
			return bare.Run(part, e.stdin, e.stdout)
		}
		if n := s.v.GetInt("devices"); n < 1 {
			return usagef("--devices %d: at least one is needed", n)
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
		rows, err := bench.Run(cmd.Context(), bench.Options{
			Program: program, Devices: s.v.GetInt("devices"), Only: s.v.GetStringSlice("only"),
			Tell: func(text string) { fmt.Fprintf(e.stderr, "%s …\n", text) },
		})
		if err != nil {
			return err
		}
		if s.v.GetBool("json") {
			enc := json.NewEncoder(e.stdout)
			enc.SetIndent("", "  ")
			return enc.Encode(rows)
		}
		return bench.Write(e.stdout, rows)
	}
	return c
}
