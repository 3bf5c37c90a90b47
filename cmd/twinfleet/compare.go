package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/compare"
	"github.com/twinfleet/twinfleet/report/compare/write"
	"github.com/twinfleet/twinfleet/report/record"
)

func newCompare(e env) *cobra.Command {
	c := &cobra.Command{
		Use:   "compare BEFORE AFTER",
		Short: "Say whether a run did worse than an earlier one, by more than noise",
		Long: `Compare two runs by their records: latencies, rates and what ended badly, of every operation. Each figure is given with the
interval that holds its true change 19 times of 20, and so the answer is one of three: worse; not worse by more than the margin,
which the interval excludes; or too short to tell. An operation that vanished is worse.

Exit codes: 0 nothing is worse by more than the margin, 2 the usage is wrong, 97 it cannot be told, 99 something is worse.`,
		Example: `  twinfleet compare runs/20261125-120000-connectivity runs/20261126-120000-connectivity
  twinfleet compare before after --margin 20%
  twinfleet compare before after --margin p50=5%,p99=50%,rate=2%`,
		Args: cobra.ExactArgs(2),
	}
	addCommonFlags(c)
	c.ValidArgsFunction = completeRuns(2)
	f := c.Flags()
	f.String("margin", "", "by how much a figure may be worse: 20% for all latencies and rates, or p50=10%,p95=15%,p99=25%,rate=10%,errors=0.1%, which are the defaults")
	f.Duration("floor", time.Millisecond, "a latency that changed by less did not change")
	f.Bool("allow-saturated", false, "compare stages whose load was not delivered as asked like others; the comparison still says so")
	f.Bool("all", false, "show every figure, not only those that changed")
	f.Bool("json", false, "print JSON for programs instead of tables")
	f.Bool("markdown", false, "print Markdown for a comment instead of tables")
	f.String("color", "auto", "colours: auto, always or never")
	c.RunE = func(cmd *cobra.Command, args []string) error { return compareRuns(e, cmd, args) }
	return c
}

func compareRuns(e env, cmd *cobra.Command, dirs []string) error {
	s, err := loadSettings(cmd)
	if err != nil {
		return err
	}
	colored, err := s.color(e)
	if err != nil {
		return err
	}
	o := compare.Options{Floor: s.v.GetDuration("floor"), AllowSaturated: s.v.GetBool("allow-saturated")}
	if o.Floor <= 0 {
		return usagef("--floor %s: write a time above 0, such as 1ms", o.Floor)
	}
	if s.v.GetBool("json") && s.v.GetBool("markdown") {
		return usagef("--json and --markdown: give one of them")
	}
	if o.Margins, err = margins(s.v.GetString("margin")); err != nil {
		return err
	}
	var runs [2]*report.History
	for i, dir := range dirs {
		if runs[i], err = record.Read(dir); err != nil {
			return recordError(err)
		}
		if o.Scenarios[i], err = record.Scenario(dir); err != nil {
			return err
		}
	}
	result := compare.Compare(runs[0], runs[1], o)
	all := s.v.GetBool("all")
	switch {
	case s.v.GetBool("json"):
		err = write.JSON(e.stdout, result)
	case s.v.GetBool("markdown"):
		err = write.Markdown(e.stdout, result, all)
	default:
		err = write.Text(e.stdout, result, color.Style{Color: colored}, all)
	}
	if err != nil {
		return fmt.Errorf("writing the comparison: %w", err)
	}
	switch result.Answer() {
	case compare.SomethingWorse:
		return withCode(codeThreshold, errSilent)
	case compare.CannotTell:
		return withCode(codeCannotTell, errSilent)
	default:
		return nil
	}
}

// margins reads --margin: one share for latencies and rates, or one for each of the figures named.
func margins(text string) (compare.Margins, error) {
	var m compare.Margins
	if text == "" {
		return m, nil
	}
	for _, item := range strings.Split(text, ",") {
		figure, value, named := strings.Cut(strings.TrimSpace(item), "=")
		if !named {
			figure, value = "", figure
		}
		share, err := strconv.ParseFloat(strings.TrimSuffix(value, "%"), 64)
		if err != nil || !(share > 0) || share > 1e6 || !strings.HasSuffix(value, "%") {
			return m, usagef("--margin %q: write a share above 0, such as 10%%", item)
		}
		share /= 100
		into := map[string][]*float64{
			"": {&m.P50, &m.P95, &m.P99, &m.Rate}, "p50": {&m.P50}, "p95": {&m.P95}, "p99": {&m.P99}, "rate": {&m.Rate},
			"errors": {&m.Errors},
		}[figure]
		if into == nil {
			return m, usagef("--margin %q: there is no figure %q; there are p50, p95, p99, rate and errors", item, figure)
		}
		for _, x := range into {
			*x = share
		}
	}
	return m, nil
}
