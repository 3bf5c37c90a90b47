package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/compare"
	"github.com/twinfleet/twinfleet/report/compare/trend"
	"github.com/twinfleet/twinfleet/report/compare/write"
	"github.com/twinfleet/twinfleet/report/files"
	"github.com/twinfleet/twinfleet/report/record"
)

func newCompare(e env) *cobra.Command {
	c := &cobra.Command{
		Use:   "compare BEFORE [BETWEEN …] AFTER",
		Short: "Say whether a run did worse than an earlier one, by more than noise",
		Long: `Compare two runs by their records: latencies, rates and what ended badly, of every operation. Each figure is given with the
interval that holds its true change 19 times of 20, and so the answer is one of three: worse; not worse by more than the margin,
which the interval excludes; or too short to tell. An operation that vanished is worse.

Of three runs and more each is compared with the first, and how figures went from run to run is shown; the answer and the exit code are
those of the last one. --html writes a page that opens offline, beside what is printed.

Exit codes: 0 nothing is worse by more than the margin, 2 the usage is wrong, 97 it cannot be told, 99 something is worse.`,
		Example: `  twinfleet compare runs/20261125-120000-connectivity runs/20261126-120000-connectivity
  twinfleet compare before after --margin 20%
  twinfleet compare before after --margin p50=5%,p99=50%,rate=2%
  twinfleet compare runs/* --html trend.html`,
		Args: cobra.MinimumNArgs(2),
	}
	addCommonFlags(c)
	c.ValidArgsFunction = completeRuns(maxCompared)
	f := c.Flags()
	f.String("margin", "", "by how much a figure may be worse: 20% for all latencies and rates, or p50=10%,p95=15%,p99=25%,rate=10%,errors=0.1%, which are the defaults")
	f.Duration("floor", time.Millisecond, "a latency that changed by less did not change")
	f.Bool("allow-saturated", false, "compare stages whose load was not delivered as asked like others; the comparison still says so")
	f.Bool("all", false, "show every figure, not only those that changed")
	f.Bool("json", false, "print JSON for programs instead of tables")
	f.Bool("markdown", false, "print Markdown for a comment instead of tables")
	f.String("html", "", "write the comparison as a page to this file too; - for standard output alone")
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
	if s.v.GetString("html") == "-" && (s.v.GetBool("json") || s.v.GetBool("markdown")) {
		return usagef("--html - is written to standard output, as is what --json and --markdown write: give one of them")
	}
	if o.Margins, err = margins(s.v.GetString("margin")); err != nil {
		return err
	}
	if n := len(dirs); n > maxCompared {
		return usagef("%d runs: give %d at most", n, maxCompared)
	}
	out := compareOutput{e: e, settings: s, style: color.Style{Color: colored}, all: s.v.GetBool("all")}
	answer, err := out.write(dirs, o)
	if err != nil {
		return err
	}
	switch answer {
	case compare.SomethingWorse:
		return withCode(codeThreshold, errSilent)
	case compare.CannotTell:
		return withCode(codeCannotTell, errSilent)
	default:
		return nil
	}
}

// maxCompared is how many runs a page can show.
const maxCompared = 100

// compareOutput writes comparisons as the settings ask for.
type compareOutput struct {
	e        env
	settings settings
	style    color.Style
	all      bool
}

// write compares the runs in some folders, writes what was found, and returns the answer.
func (c compareOutput) write(dirs []string, o compare.Options) (compare.Answer, error) {
	t := trend.New(o)
	var pair [2]*report.History
	for i, dir := range dirs {
		h, err := record.Read(dir)
		if err != nil {
			return "", recordError(err)
		}
		scenario, err := record.Scenario(dir)
		if err != nil {
			return "", err
		}
		if len(dirs) == 2 {
			pair[i], o.Scenarios[i] = h, scenario
			continue
		}
		t.Add(h, scenario)
	}
	if len(dirs) > 2 {
		return t.Answer(), c.render(
			func(w io.Writer) error { return write.TrendJSON(w, t) }, func(w io.Writer) error { return write.TrendMarkdown(w, t, c.all) },
			func(w io.Writer) error { return write.TrendHTML(w, t) }, func(w io.Writer) error { return write.TrendText(w, t, c.style, c.all) })
	}
	result := compare.Compare(pair[0], pair[1], o)
	return result.Answer(), c.render(
		func(w io.Writer) error { return write.JSON(w, result) }, func(w io.Writer) error { return write.Markdown(w, result, c.all) },
		func(w io.Writer) error { return write.HTML(w, result) }, func(w io.Writer) error { return write.Text(w, result, c.style, c.all) })
}

// render writes one of the forms to standard output, and the page to its file.
func (c compareOutput) render(asJSON, asMarkdown, asPage, asText func(io.Writer) error) error {
	v := c.settings.v
	page, form := v.GetString("html"), asText
	switch {
	case page == "-":
		form = asPage
	case v.GetBool("json"):
		form = asJSON
	case v.GetBool("markdown"):
		form = asMarkdown
	}
	if page != "" && page != "-" {
		if err := files.Whole(page, asPage); err != nil {
			return fmt.Errorf("writing the page of the comparison: %w", err)
		}
	}
	if err := form(c.e.stdout); err != nil {
		return fmt.Errorf("writing the comparison: %w", err)
	}
	return nil
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
