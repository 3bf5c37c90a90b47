package answer

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/report/human"
)

//go:embed page.tmpl
var files embed.FS

// page is what the template shows.
type page struct {
	*Answer
	Title   string
	Columns []string
	Rows    [][]string
	Chart   template.HTML
	Took    string
	Live    string // what goes on, of a search that has not ended; "" for a report
	Refresh int    // seconds; 0 for a report
	Records []row
}

// row is a trial for people.
type row struct {
	Number              int
	Load, Phase         string
	Verdict, Why        string
	Done, P50, P99      string
	Took, Dir           string
	Settled, Undecided  bool
	Good, Bad, Doubtful bool
}

// HTML writes the answer as a page that needs nothing else. live says what goes on, of a search that has not ended: such a page loads itself
// anew.
func (a *Answer) HTML(w io.Writer, live string) error {
	t, err := template.New("page.tmpl").Funcs(template.FuncMap{
		"time": func(t time.Time) string { return t.Format("2006-01-02 15:04:05 MST") },
	}).ParseFS(files, "page.tmpl")
	if err != nil {
		return fmt.Errorf("reading the page of the search: %w", err)
	}
	p := page{Answer: a, Title: a.Headline(), Columns: Columns(), Rows: a.Rows(), Chart: a.chart(), Took: roughly(a.Seconds), Live: live}
	if live != "" {
		p.Refresh = 2
	}
	for i := range a.Trials {
		r := &a.Trials[i]
		p.Records = append(p.Records, row{
			Number: r.Number, Load: a.Vary.Number(r.Load), Phase: string(r.Phase), Verdict: string(r.Verdict), Why: r.Why, Done: human.Rate(r.Done),
			P50: duration(r.P50), P99: duration(r.P99), Took: roughly(r.Seconds), Dir: r.Dir, Settled: r.Settled,
			Good: r.Verdict == search.Held, Bad: r.Verdict == search.Missed, Doubtful: r.Verdict == search.Undelivered || r.Verdict == search.Spent,
		})
	}
	var b bytes.Buffer
	if err := t.Execute(&b, p); err != nil {
		return fmt.Errorf("making the page of the search: %w", err)
	}
	_, err = w.Write(b.Bytes())
	return err
}

// The drawing of the curve, in pixels.
const (
	width, height          = 860, 360
	left, right, top, foot = 70, 70, 20, 46
)

// chart draws throughput and latency against load.
func (a *Answer) chart() template.HTML {
	if len(a.Curve) < 2 {
		return ""
	}
	mostLoad, mostDone, mostLate := 0.0, 0.0, 0.0
	for _, p := range a.Curve {
		mostLoad, mostDone, mostLate = max(mostLoad, p.Load), max(mostDone, p.Done), max(mostLate, p.P99)
	}
	if mostDone == 0 {
		return ""
	}
	mostDone, mostLoad = nice(mostDone), mostLoad*1.04
	leastLate := mostLate
	for _, p := range a.Curve {
		if p.P99 > 0 {
			leastLate = min(leastLate, p.P99)
		}
	}
	low, high := math.Floor(math.Log10(max(leastLate, 1e-4))), math.Ceil(math.Log10(max(mostLate, 1e-3)))
	if high <= low {
		high = low + 1
	}
	x := func(load float64) float64 { return left + load/mostLoad*(width-left-right) }
	y := func(done float64) float64 { return height - foot - done/mostDone*(height-top-foot) }
	z := func(late float64) float64 {
		return height - foot - (math.Log10(max(late, 1e-6))-low)/(high-low)*(height-top-foot)
	}
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	say(`<svg viewBox="0 0 %d %d" role="img" aria-label="throughput and latency against load">`, width, height)
	if a.Held > 0 && a.Missed > 0 {
		say(`<rect class="limit" x="%.1f" y="%d" width="%.1f" height="%d"><title>the limit lies between %s and %s</title></rect>`, x(a.Held), top,
			max(2, x(a.Missed)-x(a.Held)), height-top-foot, a.Vary.Number(a.Held), a.Vary.Number(a.Missed))
	}
	for i := range 5 {
		v := mostDone * float64(i) / 4
		say(`<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text class="done" x="%d" y="%.1f" text-anchor="end">%s</text>`, left, width-right, y(v), y(v), left-8, y(v)+4,
			template.HTMLEscapeString(human.Rate(v)))
	}
	for load, step := 0.0, nice(mostLoad/5); load <= mostLoad; load += step {
		say(`<text x="%.1f" y="%d" text-anchor="middle">%s</text>`, x(load), height-foot+18, template.HTMLEscapeString(a.Vary.Number(load)))
	}
	for e := low; e <= high; e++ {
		v := math.Pow(10, e)
		say(`<text class="late" x="%d" y="%.1f">%s</text>`, width-right+8, z(v)+4, template.HTMLEscapeString(duration(v)))
	}
	say(`<text x="%d" y="%d" text-anchor="middle">load (%s)</text>`, (left+width-right)/2, height-8, template.HTMLEscapeString(a.Vary.What()))
	a.drawPrediction(say, mostLoad, mostDone, x, y)
	draw := func(class string, at func(Point) (float64, bool)) {
		var line []string
		for _, p := range a.Curve {
			if v, ok := at(p); ok {
				line = append(line, fmt.Sprintf("%.1f,%.1f", x(p.Load), v))
			}
		}
		say(`<polyline class="%s" points="%s"/>`, class, strings.Join(line, " "))
	}
	draw("late", func(p Point) (float64, bool) { return z(p.P99), p.P99 > 0 })
	draw("done", func(p Point) (float64, bool) { return y(p.Done), true })
	for _, p := range a.Curve {
		class := "held"
		if p.Missed >= p.Held {
			class = "missed"
		}
		title := template.HTMLEscapeString(fmt.Sprintf("%s: %s, %s done, p99 %s", a.Vary.Number(p.Load), verdictOf(p), human.Rate(p.Done), duration(p.P99)))
		say(`<circle class="%s" cx="%.1f" cy="%.1f" r="5"><title>%s</title></circle>`, class, x(p.Load), y(p.Done), title)
	}
	b.WriteString("</svg>")
	return template.HTML(b.String())
}

// drawPrediction draws the fitted curve.
func (a *Answer) drawPrediction(say func(string, ...any), mostLoad, mostDone float64, x, y func(float64) float64) {
	p := a.Prediction
	if p == nil || p.Lambda.Estimate == 0 || p.UnitOfLoad == 0 {
		return
	}
	const steps = 60
	var line []string
	for i := 1; i <= steps; i++ {
		load := mostLoad * float64(i) / steps
		n := load / p.UnitOfLoad
		done := p.Lambda.Estimate * n / (1 + p.Sigma.Estimate*(n-1) + p.Kappa.Estimate*n*(n-1))
		if done > 0 && done <= mostDone {
			line = append(line, fmt.Sprintf("%.1f,%.1f", x(load), y(done)))
		}
	}
	say(`<polyline class="fit" points="%s"><title>Universal Scalability Law, a prediction</title></polyline>`, strings.Join(line, " "))
}

// nice is a round number not below another.
func nice(v float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, f := range []float64{1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10} {
		if f*unit >= v {
			return f * unit
		}
	}
	return 10 * unit
}
