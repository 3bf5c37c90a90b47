package write

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/compare"
	"github.com/twinfleet/twinfleet/report/compare/trend"
	"github.com/twinfleet/twinfleet/report/html"
	"github.com/twinfleet/twinfleet/report/human"
)

//go:embed assets
var assets embed.FS

// comparePage is what the template shows: of two runs, or of several.
type comparePage struct {
	Style      template.CSS
	Title      string
	Answer     compare.Answer
	Word       string // the answer in a word or two
	Sentence   string
	Remarks    []string
	Facts      []string   // headings of Runs
	Runs       [][]string // a run each
	Warnings   []warning
	Rows       []pairRow        // of two runs: what a reader needs
	Others     []pairRow        // likewise: the rest
	Small      []chartGroup     // of several
	Thresholds []thresholdTrend // of both
	Names      []string         // of the runs, for Thresholds
}

// warning is what a reader must know, with lines that differ.
type warning struct{ Text, Lines string }

// pairRow is a figure in two runs.
type pairRow struct {
	Cells    []string // all but the interval and the verdict
	Interval template.HTML
	Range    string
	Verdict  string
	Class    string // bad, unsure, good or quiet
}

// thresholdTrend is a threshold in all runs.
type thresholdTrend struct {
	Text  string
	Cells []resultCell
}

type resultCell struct{ Mark, Class, Observed string }

// chartGroup is the charts of one operation.
type chartGroup struct {
	Operation string
	Charts    []smallChart
}

// bad is how many of its figures are worse in the last run.
func (g chartGroup) bad() (n int) {
	for _, c := range g.Charts {
		if c.Class == "bad" {
			n++
		}
	}
	return n
}

type smallChart struct {
	Name, First, Last, Change, Verdict, Class string
	Drawing                                   template.HTML
}

// HTML writes a comparison of two runs as one page that needs nothing else.
func HTML(w io.Writer, c *compare.Comparison) error {
	p := &comparePage{Title: c.Before.Name + ": before and after", Answer: c.Answer(), Sentence: c.Sentence(), Remarks: remarks(c, false)}
	p.Facts, p.Runs = sides(c)
	for _, text := range warnings(c) {
		p.Warnings = append(p.Warnings, split(text))
	}
	for _, r := range shown(c, false) {
		p.Rows = append(p.Rows, rowOf(&r))
	}
	for i := range c.Rows {
		if quiet := c.Rows[i]; !slices.ContainsFunc(shown(c, false), func(r compare.Row) bool { return same(&r, &quiet) }) {
			p.Others = append(p.Others, rowOf(&quiet))
		}
	}
	p.thresholds(trend.ThresholdsOf(c.Before, c.After), []string{"before", "after"})
	return p.write(w)
}

// TrendHTML writes how figures went from run to run as one page that needs nothing else.
func TrendHTML(w io.Writer, t *trend.Trend) error {
	p := &comparePage{Title: fmt.Sprintf("%s: %d runs", t.Last().Name, len(t.Runs)), Answer: t.Answer(), Sentence: t.Sentence()}
	p.Facts = []string{"run", "started", "took", "outcome", "devices", "target", "version", "against the first"}
	for i := range t.Runs {
		r := &t.Runs[i]
		p.Runs = append(p.Runs, []string{
			fmt.Sprint(i + 1), r.Started.Format(time.DateTime), human.Duration(r.Duration()), r.Headline(), r.DevicesText(), r.Target, r.Version, words(r.Answer()),
		})
	}
	for _, text := range trendWarnings(t) {
		p.Warnings = append(p.Warnings, split(text))
	}
	if c := t.Last().Against; c != nil {
		p.Remarks = append([]string{"A dot is a run; red is worse than the first by more than the margin, and that is sure. " +
			"Figures are of whole runs; what is worse is told from the part that both have."}, remarks(c, false)...)
	}
	for i := range t.Figures {
		f := &t.Figures[i]
		if f.Nothing() {
			continue
		}
		if n := len(p.Small); n == 0 || p.Small[n-1].Operation != f.Operation {
			k := slices.IndexFunc(p.Small, func(g chartGroup) bool { return g.Operation == f.Operation })
			if k >= 0 {
				p.Small[k].Charts = append(p.Small[k].Charts, chartOf(f))
				continue
			}
			p.Small = append(p.Small, chartGroup{Operation: f.Operation})
		}
		g := &p.Small[len(p.Small)-1]
		g.Charts = append(g.Charts, chartOf(f))
	}
	slices.SortStableFunc(p.Small, func(a, b chartGroup) int { return b.bad() - a.bad() })
	var names []string
	for i := range t.Runs {
		names = append(names, fmt.Sprint(i+1))
	}
	p.thresholds(t.Thresholds, names)
	return p.write(w)
}

func (p *comparePage) write(w io.Writer) error {
	p.Word = words(p.Answer)
	t, err := template.ParseFS(assets, "assets/compare.tmpl")
	if err != nil {
		return fmt.Errorf("reading the comparison's template: %w", err)
	}
	for _, name := range []string{"report.css", "page.css"} {
		b, err := html.Asset(name)
		if err != nil {
			return fmt.Errorf("reading the comparison's style: %w", err)
		}
		p.Style += template.CSS(string(b) + "\n")
	}
	own, err := assets.ReadFile("assets/compare.css")
	if err != nil {
		return fmt.Errorf("reading the comparison's style: %w", err)
	}
	p.Style += template.CSS(own)
	var b bytes.Buffer
	if err := t.Execute(&b, p); err != nil {
		return fmt.Errorf("making the comparison: %w", err)
	}
	_, err = w.Write(b.Bytes())
	return err
}

func (p *comparePage) thresholds(all []trend.Threshold, names []string) {
	p.Names = names
	for _, x := range all {
		row := thresholdTrend{Text: x.Text}
		for _, o := range x.Outcomes {
			class := map[string]string{"✓": "pass", "✗": "miss", "?": "unsure"}[resultMark(o)]
			row.Cells = append(row.Cells, resultCell{resultMark(o), class, o.Observed})
		}
		p.Thresholds = append(p.Thresholds, row)
	}
}

// split is a warning with the lines that follow it apart.
func split(text string) warning {
	text, lines, _ := strings.Cut(text, "\n")
	return warning{text, lines}
}

// sides are two runs side by side: what they are, a row each.
func sides(c *compare.Comparison) (headings []string, rows [][]string) {
	headings = []string{"what", "before", "after"}
	add := func(name string, of func(*report.Run) string) {
		a, b := of(c.Before), of(c.After)
		if a+b != "" {
			rows = append(rows, []string{name, a, b})
		}
	}
	add("scenario", func(r *report.Run) string { return r.Name })
	add("started", func(r *report.Run) string { return r.Started.Format(time.DateTime) })
	add("outcome", func(r *report.Run) string { return r.Headline() })
	add("took", func(r *report.Run) string { return human.Duration(r.Duration()) })
	add("devices", func(r *report.Run) string { return r.DevicesText() })
	add("target", func(r *report.Run) string { return r.Target })
	add("client", func(r *report.Run) string { return r.Client })
	add("version", func(r *report.Run) string { return r.Version })
	add("seed", func(r *report.Run) string { return fmt.Sprint(r.Seed) })
	add("generator", func(r *report.Run) string { return r.GeneratorLine() })
	return headings, rows
}

// same reports whether two rows are of the same figure.
func same(a, b *compare.Row) bool {
	return a.Operation == b.Operation && a.Group == b.Group && a.Figure == b.Figure
}

// rowOf is a figure of two runs.
func rowOf(r *compare.Row) pairRow {
	all := columns(r)
	x := pairRow{Cells: all[:5], Range: all[5], Verdict: all[6], Interval: drawInterval(r), Class: "quiet"}
	switch {
	case r.Bad():
		x.Class = "bad"
	case r.Verdict == compare.TooShort || r.Verdict == compare.LateStart || r.Verdict == compare.Appeared:
		x.Class = "unsure"
	case r.Verdict == compare.Better:
		x.Class = "good"
	}
	return x
}

// drawInterval draws the interval of a change beside none, the line in the middle, and the margin, which is dashed: what is to the right of
// it is worse. The ends of the drawing are three margins away, or further.
func drawInterval(r *compare.Row) template.HTML {
	if math.IsNaN(r.Low) || math.IsNaN(r.High) || r.Margin <= 0 {
		return ""
	}
	const width, height, middle = 160.0, 18.0, 80.0
	x := func(v float64) float64 { return middle + (middle-4)*math.Max(-1, math.Min(1, v/(3*r.Margin))) }
	worse := r.Margin
	if r.Less {
		worse = -r.Margin
	}
	b := &strings.Builder{}
	fmt.Fprintf(b, `<svg class="interval" viewBox="0 0 %g %g" role="img" aria-label="%s">`, width, height, template.HTMLEscapeString(interval(r)))
	fmt.Fprintf(b, `<path class="none" d="M%g 1V17"/><path class="margin" d="M%.1f 1V17"/>`, middle, x(worse))
	fmt.Fprintf(b, `<path class="range" d="M%.1f 9H%.1f"/><circle cx="%.1f" cy="9" r="3"/></svg>`, x(r.Low), math.Max(x(r.High), x(r.Low)+1), x(r.Change))
	return template.HTML(b.String()) // of numbers, and of what is escaped
}

// chartOf is a figure from run to run.
func chartOf(f *trend.Figure) smallChart {
	last := len(f.Values) - 1
	row := compare.Row{Unit: f.Unit, Before: f.Values[0], After: f.Values[last]}
	c := smallChart{
		Name: f.Name, First: known(&row, row.Before), Last: known(&row, row.After), Change: between(&row), Verdict: string(f.Verdicts[last]), Class: "quiet",
		Drawing: drawTrend(f),
	}
	if f.Bad(last) {
		c.Class = "bad"
	}
	return c
}

// drawTrend draws a dot for each run and joins them, from 0 up.
func drawTrend(f *trend.Figure) template.HTML {
	const width, height, edge, top, bottom = 220.0, 72.0, 8.0, 8.0, 8.0
	highest := 0.0
	for _, v := range f.Values {
		if !math.IsNaN(v) {
			highest = math.Max(highest, v)
		}
	}
	if highest == 0 {
		highest = 1
	}
	x := func(i int) float64 { return edge + (width-2*edge)*float64(i)/float64(max(len(f.Values)-1, 1)) }
	y := func(v float64) float64 { return height - bottom - (height-top-bottom)*v/highest }
	b := &strings.Builder{}
	fmt.Fprintf(b, `<svg class="trend" viewBox="0 0 %g %g" role="img" aria-label="%s">`, width, height, template.HTMLEscapeString(f.Operation+" "+f.Name+" from run to run"))
	fmt.Fprintf(b, `<path class="axis" d="M%g %gH%g"/>`, edge, height-bottom, width-edge)
	if !math.IsNaN(f.Values[0]) {
		fmt.Fprintf(b, `<path class="first" d="M%g %.1fH%g"/>`, edge, y(f.Values[0]), width-edge)
	}
	pen := "M"
	path := ""
	for i, v := range f.Values {
		if math.IsNaN(v) {
			pen = "M"
			continue
		}
		path += fmt.Sprintf("%s%.1f %.1f", pen, x(i), y(v))
		pen = "L"
	}
	fmt.Fprintf(b, `<path class="line" d="%s"/>`, path)
	for i, v := range f.Values {
		if math.IsNaN(v) {
			continue
		}
		class := ""
		if f.Bad(i) {
			class = ` class="bad"`
		}
		row := compare.Row{Unit: f.Unit}
		fmt.Fprintf(b, `<circle%s cx="%.1f" cy="%.1f" r="3"><title>%s</title></circle>`, class, x(i), y(v),
			template.HTMLEscapeString(fmt.Sprintf("run %d: %s %s", i+1, value(&row, v), f.Verdicts[i])))
	}
	b.WriteString("</svg>")
	return template.HTML(b.String()) // of numbers, and of what is escaped
}
