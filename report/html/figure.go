package html

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/report/curve"
	"github.com/twinfleet/twinfleet/report/human"
)

// The size of a threshold's chart, in its own units, and where in it the figure is drawn.
const (
	chartWidth, chartHeight                      = 360.0, 112.0
	chartLeft, chartRight, chartTop, chartBottom = 4.0, 4.0, 16.0, 16.0
	curvePoints                                  = 180
)

// thresholdChart draws how the figure of a threshold went through a run of some length: its bound, and where it was missed. It is drawn
// here and not in the browser, so that it prints. Empty when there is nothing to draw.
func thresholdChart(c *curve.Curve, length time.Duration) template.HTML {
	if c == nil || len(c.Points)+len(c.Moments) == 0 || length <= 0 {
		return ""
	}
	unit := c.Threshold.Unit()
	op, bound := c.Threshold.Bound()
	low, high := span(c, bound, unit)
	x := func(t time.Duration) float64 {
		return chartLeft + (chartWidth-chartLeft-chartRight)*math.Min(1, t.Seconds()/length.Seconds())
	}
	y := func(v float64) float64 {
		share := (v - low) / (high - low)
		return chartTop + (chartHeight-chartTop-chartBottom)*(1-math.Max(0, math.Min(1, share)))
	}
	b := &strings.Builder{}
	fmt.Fprintf(b, `<svg class="curve" viewBox="0 0 %g %g" role="img" aria-label="%s">`, chartWidth, chartHeight, template.HTMLEscapeString(describe(c, length)))
	band := func(class string, spans []curve.Span) {
		for _, s := range spans {
			from, to := x(s.From), x(s.To)
			fmt.Fprintf(b, `<rect class="%s" x="%.1f" y="%g" width="%.1f" height="%g"/>`, class, from, chartTop, math.Max(to-from, 1), chartHeight-chartTop-chartBottom)
		}
	}
	band("unsure", joined(c.Unsure, length))
	band("missed", joined(c.Missed, length))
	fmt.Fprintf(b, `<path class="axis" d="M%g %gH%g"/>`, chartLeft, chartHeight-chartBottom, chartWidth-chartRight)
	line := func(class string, points []curve.Point) {
		if len(points) == 0 {
			return
		}
		fmt.Fprintf(b, `<polyline class="%s" points="`, class)
		for _, p := range points {
			fmt.Fprintf(b, "%.1f,%.1f ", x(p.At), y(p.Value))
		}
		b.WriteString(`"/>`)
		if len(points) == 1 {
			fmt.Fprintf(b, `<circle class="%s" cx="%.1f" cy="%.1f" r="2"/>`, class, x(points[0].At), y(points[0].Value))
		}
	}
	line("moment", c.Moments)
	fmt.Fprintf(b, `<path class="bound" d="M%g %.1fH%g"/>`, chartLeft, y(bound), chartWidth-chartRight)
	line("figure", c.Points)
	text := func(x, y float64, anchor, class, s string) {
		fmt.Fprintf(b, `<text class="%s" x="%.1f" y="%.1f" text-anchor="%s">%s</text>`, class, x, y, anchor, template.HTMLEscapeString(s))
	}
	text(chartLeft, chartTop-5, "start", "", "to "+value(high, unit))
	text(chartWidth-chartRight, chartTop-5, "end", "", "wanted "+op+" "+value(bound, unit))
	from := "0s"
	if low > 0 {
		from = "0s, from " + value(low, unit)
	}
	text(chartLeft, chartHeight-4, "start", "", from)
	text(chartWidth-chartRight, chartHeight-4, "end", "", human.Duration(length.Round(time.Second)))
	b.WriteString("</svg>")
	return template.HTML(b.String()) // of numbers, of words of this program, and of what is escaped above
}

// span is what the vertical axis shows: from 0 but for shares that are near all, to a little above the highest.
func span(c *curve.Curve, bound float64, unit string) (low, high float64) {
	low, high = bound, bound
	for _, points := range [][]curve.Point{c.Points, c.Moments} {
		for _, p := range points {
			low, high = math.Min(low, p.Value), math.Max(high, p.Value)
		}
	}
	if unit == "ratio" && low > 0.5 {
		high = 1
		return math.Max(0, low-math.Max(0.15*(1-low), 1e-4)), high
	}
	if high == 0 {
		return 0, 1
	}
	if high *= 1.12; unit == "ratio" {
		high = math.Min(high, 1)
	}
	return 0, high
}

// joined is spans with those put together that a chart could not show apart.
func joined(spans []curve.Span, length time.Duration) []curve.Span {
	var out []curve.Span
	for _, s := range spans {
		if n := len(out); n > 0 && s.From-out[n-1].To < length/curvePoints {
			out[n-1].To = s.To
			continue
		}
		out = append(out, s)
	}
	return out
}

// value is a figure with its unit.
func value(x float64, unit string) string {
	switch unit {
	case "seconds":
		return human.Duration(time.Duration(x * float64(time.Second)))
	case "ratio":
		return strconv.FormatFloat(100*x, 'g', 4, 64) + "%"
	case "per_second":
		return human.Rate(x)
	default:
		return strconv.FormatFloat(x, 'g', 6, 64)
	}
}

// describe is a chart for those who do not see it.
func describe(c *curve.Curve, length time.Duration) string {
	_, bound := c.Threshold.Bound()
	unit := c.Threshold.Unit()
	text := "the figure over " + human.Duration(length.Round(time.Second))
	if n := len(c.Points); n > 0 {
		text += ", " + value(c.Points[n-1].Value, unit) + " in the end"
	}
	text += ", bound " + value(bound, unit)
	for i, s := range c.Missed {
		if i == 3 {
			text += fmt.Sprintf("; missed %d times more", len(c.Missed)-i)
			break
		}
		text += "; missed from " + human.Duration(s.From.Round(time.Second)) + " to " + human.Duration(s.To.Round(time.Second))
	}
	return text
}
