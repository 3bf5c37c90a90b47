package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/twinfleet/twinfleet/internal/report"
	"github.com/twinfleet/twinfleet/internal/report/compare"
	"github.com/twinfleet/twinfleet/internal/report/record"
)

func newCompare(e env) *cobra.Command {
	c := &cobra.Command{
		Use:   "compare BEFORE AFTER",
		Short: "Say whether a run did worse than an earlier one, by more than noise",
		Long: `Compare two runs by their records: latencies, rates and errors of every operation. A figure is worse when it changed for the
worse by more than --max-regression, a latency also by more than --floor, and when chance alone would make such a difference
in less than one of a hundred comparisons (Mann-Whitney U test over the blocks of both runs).

Exit codes: 0 nothing is worse, 2 the usage is wrong, 99 something is worse.`,
		Example: "  twinfleet compare runs/20261125-120000-connectivity runs/20261126-120000-connectivity",
		Args:    cobra.ExactArgs(2),
	}
	addCommonFlags(c)
	c.ValidArgsFunction = completeRuns(2)
	f := c.Flags()
	f.String("max-regression", "10%", "a change for the worse by more than this counts")
	f.Duration("floor", 0, "a latency that changed by less did not change; 1ms when 0")
	f.Bool("all", false, "show every figure, not only those that changed")
	f.String("color", "auto", "colours: auto, always or never")
	c.RunE = func(cmd *cobra.Command, args []string) error { return compareRuns(e, cmd, args[0], args[1]) }
	return c
}

func compareRuns(e env, cmd *cobra.Command, before, after string) error {
	s, err := loadSettings(cmd)
	if err != nil {
		return err
	}
	color, err := s.color(e)
	if err != nil {
		return err
	}
	text := s.v.GetString("max-regression")
	share, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
	if err != nil || share <= 0 || !strings.HasSuffix(text, "%") {
		return usagef("--max-regression %q: write a share, such as 10%%", text)
	}
	var runs [2]*report.History
	for i, dir := range []string{before, after} {
		if runs[i], err = record.Read(dir); err != nil {
			return recordError(err)
		}
	}
	result := compare.Compare(runs[0], runs[1], compare.Options{MaxRegression: share / 100, Floor: s.v.GetDuration("floor")})
	if err := result.Write(e.stdout, report.Style{Color: color}, s.v.GetBool("all")); err != nil {
		return fmt.Errorf("writing the comparison: %w", err)
	}
	if len(result.Regressions()) > 0 {
		return withCode(codeThreshold, errSilent)
	}
	return nil
}
