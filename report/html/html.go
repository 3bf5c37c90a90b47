// Package html makes the report of a run as one page that needs nothing else: it opens from disk, offline,
// and can be mailed. Its charts can be hovered over and zoomed into.
package html

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/metrics/histogram"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/account"
	"github.com/twinfleet/twinfleet/report/answers"
	"github.com/twinfleet/twinfleet/report/charts"
	"github.com/twinfleet/twinfleet/report/findings"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/report/purchase"
)

//go:embed assets
var assets embed.FS

// maxPoints is how many points in time a chart has at most: about a pixel each, and the page stays small.
const maxPoints = 400

// page is what the template shows.
type page struct {
	Run        *report.Run
	Whole      bool
	Answers    []answers.Answer
	Thresholds []thresholdView
	Columns    []string // of Ops
	Ops        [][]string
	Tables     []account.Table
	Reasons    []reasonRow
	MoreWhy    string
	Queries    []string
	TimesOf    []string // columns of Times
	Times      []timesRow
	Waves      []waveRow
	Outages    []outageRow
	MoreOut    string
	Gaps       []string
	Findings   []findings.Finding
	Agents     *agentsView // nil for a run in one process
	Events     []eventRow
	Buy        *purchaseView // nil when the record does not tell
	Scenario   string
	Data       template.JS // JSON, escaped for a script element
	Style      template.CSS
	Script     template.JS
}

// purchaseView is what to buy.
type purchaseView struct {
	Headline, Caption, Source string
	Columns                   []string
	Rows                      [][]string
	Lines                     []purchase.Line
	Changes                   []string
}

func viewOf(p *report.Purchase) *purchaseView {
	if p == nil {
		return nil
	}
	return &purchaseView{
		purchase.Headline(p), purchase.Caption(p), purchase.Source(p), purchase.Columns(), purchase.Rows(p), purchase.Lines(p), purchase.Changes(p),
	}
}

// timesRow is all that is told of one distribution of times.
type timesRow struct {
	Operation, Group, Of string
	Figures              []string
}

// usual are the percentiles that a page shows unless others are chosen.
func usual() account.Percentiles { return account.Percentiles{50, 90, 95, 99, 99.9} }

// Write writes the page. The scenario is shown as it is given: without secrets.
func Write(w io.Writer, h *report.History, scenario []byte) error {
	return WriteWith(w, h, scenario, nil)
}

// WriteWith is Write with percentiles of one's choice.
func WriteWith(w io.Writer, h *report.History, scenario []byte, percentiles account.Percentiles) error {
	if len(percentiles) == 0 {
		percentiles = usual()
	}
	t, err := template.New("report.tmpl").Funcs(template.FuncMap{
		"duration": human.Duration,
		"time":     func(t time.Time) string { return t.Format("2006-01-02 15:04:05 MST") },
	}).ParseFS(assets, "assets/report.tmpl")
	if err != nil {
		return fmt.Errorf("reading the report's template: %w", err)
	}
	p, err := newPage(h, scenario, percentiles)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, p); err != nil {
		return fmt.Errorf("making the report: %w", err)
	}
	_, err = w.Write(b.Bytes())
	return err
}

func newPage(h *report.History, scenario []byte, percentiles account.Percentiles) (*page, error) {
	p := &page{
		Run: h.Run, Whole: h.Whole, Answers: answers.Of(h), Thresholds: thresholds(h), Tables: account.Tables(h.Run, percentiles),
		Columns: append([]string{"operation", "count", "rate", "throttled", "errors"}, percentiles.Headings()...),
		Queries: findings.Queries(h.Run), TimesOf: percentiles.Headings(), Times: times(h.Run, percentiles), Waves: waves(h.Run), Gaps: gaps(h),
		Events: events(h), Scenario: string(scenario), Buy: viewOf(h.Run.Purchase),
	}
	p.Reasons, p.MoreWhy = why(h)
	p.Outages, p.MoreOut = outages(h.Run)
	p.Findings = slices.DeleteFunc(findings.Of(h.Run), func(f findings.Finding) bool { return f.Wave || f.Agent }) // they have tables
	p.Agents = agentsOf(h.Run)
	// encoding/json writes <, >, & and U+2028 as escapes: nothing in the data can end the script element.
	samples := h.Merged(maxPoints)
	columns := charts.New(samples, withWait(h))
	for i := range samples {
		if samples[i].Window.Stage != "" {
			columns.End = samples[i].At.Seconds()
		}
	}
	data, err := json.Marshal(columns)
	if err != nil {
		return nil, fmt.Errorf("writing the charts' data: %w", err)
	}
	p.Data = template.JS(data)
	for _, part := range []struct {
		names []string
		into  func(string)
	}{
		{[]string{"uplot.min.css", "report.css", "charts.css"}, func(s string) { p.Style += template.CSS(s) }},
		{[]string{"page.css"}, func(s string) { p.Style += template.CSS(s) }},
		{[]string{"uplot.min.js", "charts.js"}, func(s string) { p.Script += template.JS(s) }},
	} {
		for _, name := range part.names {
			b, err := assets.ReadFile("assets/" + name)
			if err != nil {
				return nil, fmt.Errorf("reading the report's parts: %w", err)
			}
			part.into(string(b) + "\n")
		}
	}
	for _, l := range account.Lines(h.Run.Totals) {
		p.Ops = append(p.Ops, l.Cells(h.Run, percentiles))
	}
	return p, nil
}

// withWait is the stages of a run with the wait for the last answers, where that took its time.
func withWait(h *report.History) []report.Stage {
	stages := h.Run.Stages
	if len(stages) == 0 || len(h.Samples) == 0 {
		return stages
	}
	over, end := stages[len(stages)-1].To, h.Samples[len(h.Samples)-1].At
	if end-over < 2*time.Second {
		return stages
	}
	return append(slices.Clip(stages), report.Stage{Name: "waiting for answers", From: over, To: end})
}

// times are the distributions of every operation and group.
func times(r *report.Run, p account.Percentiles) []timesRow {
	var rows []timesRow
	for i := range r.Totals.Series {
		x := &r.Totals.Series[i]
		for _, of := range []struct {
			name string
			h    histogram.Histogram
		}{{"from the schedule", x.Latency(false)}, {"from the send", x.Latency(true)}, {"lag of the start", x.Lag}} {
			if of.h.Count == 0 {
				continue
			}
			rows = append(rows, timesRow{string(x.Operation), x.Group, of.name, p.Cells(of.h, "–")})
		}
	}
	return rows
}

// Asset is one of the page's own parts, for a page that draws the same charts: charts.js, charts.css, report.css,
// uplot.min.js or uplot.min.css.
func Asset(name string) ([]byte, error) { return assets.ReadFile("assets/" + name) }
