package report

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity/rollout/exercise"
	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/report/human"
)

//go:embed page.tmpl
var files embed.FS

// page is what the template shows.
type page struct {
	*Answer
	Title, About   string
	StormColumns   []string
	BackoffColumns []string
	Chart          template.HTML
	Took           string
	Live           string // what goes on, of a study that has not ended; "" for a report
	Refresh        int    // seconds; 0 for a report
	Records        []trialRow
}

// trialRow is a trial for people.
type trialRow struct {
	Number             int
	What, Rate         string
	Verdict, Why       string
	Took, Dir          string
	Good, Bad, Unknown bool
}

// What says what a trial was for.
func What(a *exercise.Asked) string {
	devices := human.Number(a.Devices, "device")
	switch {
	case !a.IsStorm():
		return devices + " up"
	case a.Backoff != "":
		return "storm of " + devices + ", " + a.Backoff
	}
	return "storm of " + devices
}

// HTML writes the answer as a page that needs nothing else. live says what goes on, of a study that has not ended: such a page loads itself
// anew.
func (a *Answer) HTML(w io.Writer, live string) error {
	t, err := template.New("page.tmpl").Funcs(template.FuncMap{
		"time": func(t time.Time) string { return t.Format("2006-01-02 15:04:05 MST") },
	}).ParseFS(files, "page.tmpl")
	if err != nil {
		return fmt.Errorf("reading the page of the study: %w", err)
	}
	p := page{
		Answer: a, Title: a.Headline(), About: a.about(), StormColumns: StormColumns(), BackoffColumns: BackoffColumns(), Chart: a.chart(), Took: roughly(a.Seconds), Live: live,
	}
	if live != "" {
		p.Refresh = 2
	}
	for i := range a.Trials {
		r := &a.Trials[i]
		p.Records = append(p.Records, trialRow{
			Number: r.Number, What: What(&r.Asked), Rate: rate(r.Rate), Verdict: Verdict(r), Why: r.Why, Took: roughly(r.Seconds), Dir: r.Dir,
			Good: r.Verdict == search.Held, Bad: r.Verdict == search.Missed, Unknown: r.Verdict == search.Undelivered,
		})
	}
	var b bytes.Buffer
	if err := t.Execute(&b, p); err != nil {
		return fmt.Errorf("making the page of the study: %w", err)
	}
	_, err = w.Write(b.Bytes())
	return err
}

// Verdict is what came of a trial in a word.
func Verdict(r *exercise.Record) string {
	switch {
	case !r.IsStorm() || r.Verdict == search.Undelivered:
		return string(r.Verdict)
	case r.Verdict == search.Held:
		return "no harm"
	}
	return "harm"
}

// The drawing of the reconnect curves, in pixels.
const (
	width, height          = 860, 320
	left, right, top, foot = 70, 20, 20, 46
)

// chart draws how the whole fleet came back with each back-off: the share of it that was back, against time.
func (a *Answer) chart() template.HTML {
	type curve struct {
		name   string
		points []float64 // devices that were back at the end of each interval
		every  float64
	}
	var curves []curve
	longest := 0.0
	for i := range a.Trials {
		r := &a.Trials[i]
		if !r.IsStorm() || r.Part == exercise.Again || r.Devices != a.Devices || r.Every == 0 || r.Verdict == search.Undelivered || r.Part == exercise.Storm && a.Own == "" {
			continue
		}
		c := curve{name: rowOf(r, a.Own).Backoff, every: r.Every}
		sum := 0.0
		for _, n := range r.Returns {
			sum += float64(n)
			c.points = append(c.points, sum)
		}
		longest = max(longest, float64(len(c.points))*c.every)
		curves = append(curves, c)
	}
	if len(curves) == 0 || longest == 0 || a.Devices == 0 {
		return ""
	}
	x := func(s float64) float64 { return left + s/longest*(width-left-right) }
	y := func(n float64) float64 { return height - foot - min(1, n/float64(a.Devices))*(height-top-foot) }
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	say(`<svg viewBox="0 0 %d %d" role="img" aria-label="devices that are back against time since the cut">`, width, height)
	for i := range 5 {
		share := float64(i) / 4
		say(`<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text x="%d" y="%.1f" text-anchor="end">%.0f %%</text>`, left, width-right, y(share*float64(a.Devices)),
			y(share*float64(a.Devices)), left-8, y(share*float64(a.Devices))+4, 100*share)
		say(`<text x="%.1f" y="%d" text-anchor="middle">%s</text>`, x(share*longest), height-foot+18, template.HTMLEscapeString(seconds(share*longest)))
	}
	say(`<text x="%d" y="%d" text-anchor="middle">time since the cut</text>`, (left+width-right)/2, height-8)
	for i, c := range curves {
		line := []string{fmt.Sprintf("%.1f,%.1f", x(0), y(0))}
		for k, n := range c.points {
			line = append(line, fmt.Sprintf("%.1f,%.1f", x(float64(k+1)*c.every), y(n)))
		}
		say(`<polyline class="c%d" points="%s"><title>%s</title></polyline>`, i%5, strings.Join(line, " "), template.HTMLEscapeString(c.name))
		say(`<text class="c%d" x="%d" y="%d" text-anchor="end">%s</text>`, i%5, width-right-4, height-foot-10-16*(len(curves)-1-i), template.HTMLEscapeString(c.name))
	}
	b.WriteString("</svg>")
	return template.HTML(b.String())
}
