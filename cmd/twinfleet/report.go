package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

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
		Example: "  twinfleet report runs/20261125-120000-connectivity",
		Args:    cobra.ExactArgs(1),
	}
	addCommonFlags(c)
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
		h, err := files.Write(args[0])
		if err != nil {
			return recordError(err)
		}
		if err := text.Write(e.stdout, h.Run, color.Style{Color: colored}); err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.stdout, "  %s\n", reportPaths(args[0]))
		return err
	}
	return c
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
