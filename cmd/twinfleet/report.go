package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/account"
	"github.com/twinfleet/twinfleet/report/clean"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/files"
	"github.com/twinfleet/twinfleet/report/record"
	"github.com/twinfleet/twinfleet/report/text"
)

func newReport(e env) *cobra.Command {
	c := &cobra.Command{
		Use:   "report DIR",
		Short: "Make the reports of a run from its record",
		Long: `Make report.html, summary.json, junit.xml and report.md from the record of a run, and print its summary. A run that was
killed left a record too: the reports then tell of what had happened.`,
		Example: `  twinfleet report runs/20261125-120000-connectivity
  twinfleet report runs/20261125-120000-connectivity --percentiles 50,75,99.99`,
		Args: cobra.ExactArgs(1),
	}
	addCommonFlags(c)
	addReportFlags(c)
	c.ValidArgsFunction = completeRuns(1)
	c.Flags().String("color", "auto", "colours in the summary: auto, always or never")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := loadSettings(cmd)
		if err != nil {
			return err
		}
		colored, err := s.color(e)
		if err != nil {
			return err
		}
		o, err := s.reports()
		if err != nil {
			return err
		}
		h, err := files.WriteWith(args[0], o)
		if err != nil {
			return recordError(err)
		}
		if err := text.WriteWith(e.stdout, h.Run, color.Style{Color: colored}, o.Percentiles); err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.stdout, "  %s\n", reportPaths(args[0]))
		return err
	}
	return c
}

// addReportFlags gives a command the flags that say what reports show.
func addReportFlags(c *cobra.Command) {
	f := c.Flags()
	f.String("percentiles", "", "percentiles that reports show, such as 50,90,95,99,99.9, with the shortest, the mean and the longest; by default each report has its own")
	f.String("grafana", "", "address of a Grafana with twinfleet's boards, such as http://127.0.0.1:3000: reports link to the board at the run's own times")
}

// reports is what reports are to show.
func (s settings) reports() (o files.Options, err error) {
	if o.Percentiles, err = account.ParsePercentiles(s.v.GetString("percentiles")); err != nil {
		return o, usagef("--percentiles: %w", err)
	}
	o.Grafana = s.v.GetString("grafana")
	if err := report.CheckGrafana(o.Grafana); err != nil {
		return o, usagef("--grafana: %w", err)
	}
	return o, nil
}

// recordError makes a folder that holds no readable record a mistake of usage.
func recordError(err error) error {
	if errors.Is(err, record.ErrNoRecord) || errors.Is(err, record.ErrVersion) {
		return withCode(codeUsage, err)
	}
	return err
}

// reportPaths says where the reports of a run are, those that are there.
func reportPaths(dir string) string {
	names := files.Existing(dir)
	if len(names) > 0 {
		names[0] = filepath.Join(dir, names[0])
	}
	return "report " + clean.Text(strings.Join(names, " · "))
}
