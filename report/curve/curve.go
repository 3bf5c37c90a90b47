// Package curve is how the figure that a threshold compares went through a run: what its chart shows.
package curve

import (
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/judge"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
)

// Curve is the figure of one threshold through a run.
type Curve struct {
	Threshold threshold.Threshold // whose figure it is
	Points    []Point             // in the order of time, where there was a figure
	Missed    []Span              // in which it was missed
	Unsure    []Span              // in which nothing could be said: the load was not the one asked for
	// Moments is the same figure of each sample alone, where that says when it was that the figure became what it is: none for
	// windows, which are such moments, and for what is counted.
	Moments []Point
}

// Point is the figure at a time.
type Point struct {
	At    time.Duration // since the run began
	Value float64       // in the threshold's Unit
}

// Span is a part of a run. Times are since it began.
type Span struct {
	From, To time.Duration // From before To
}

// Of gives the curves of a run, as many as its Rules and in their order; nil of a rule that this version does not know. A curve has at most
// n points: of those that are left out none is further past the bound than one that is shown. What the run itself compared is
// shown; of old records, which do not have it, their samples are judged once more.
func Of(h *report.History, n int) []*Curve {
	curves := make([]*Curve, len(h.Run.Rules))
	var known []int
	var thresholds []threshold.Threshold
	for i := range h.Run.Rules {
		if t, err := h.Run.Rules[i].Threshold(); err == nil {
			curves[i] = &Curve{Threshold: t}
			known, thresholds = append(known, i), append(thresholds, t)
		}
	}
	if len(known) == 0 || len(h.Samples) == 0 {
		return curves
	}
	for k, judged := range judgedBySample(h, thresholds, known) {
		from, to := time.Duration(0), h.Samples[k].At
		if k > 0 {
			from = h.Samples[k-1].At
		}
		for i, c := range known {
			if i < len(judged) {
				curves[c].add(from, to, judged[i])
			}
		}
	}
	merged := h.Merged(n)
	for _, i := range known {
		c := curves[i]
		c.moments(merged)
		c.Points = c.thin(c.Points, n)
	}
	return curves
}

// judgedBySample is how the thresholds that are known stood at each sample.
func judgedBySample(h *report.History, thresholds []threshold.Threshold, known []int) [][]report.Judged {
	all := make([][]report.Judged, len(h.Samples))
	whole := true
	for k := range h.Samples {
		s := &h.Samples[k]
		if len(s.Judged) != len(h.Run.Rules) {
			whole = false
			break
		}
		for _, i := range known {
			all[k] = append(all[k], s.Judged[i])
		}
	}
	if whole {
		return all
	}
	j, total, stage := judge.New(nil, thresholds), &metrics.Snapshot{At: h.Run.Started}, ""
	for k := range h.Samples {
		s := &h.Samples[k]
		if s.Window.Stage != stage {
			stage = s.Window.Stage
			j.Stage(stage, total)
		}
		total = report.Sample{Window: total}.Merge(*s).Window
		j.Sample(total)
		all[k] = report.JudgedOf(j.States(total))
	}
	return all
}

// add adds how the threshold stood with a sample.
func (c *Curve) add(from, to time.Duration, s report.Judged) {
	if s.Over && len(c.Points) > 0 {
		c.Points[len(c.Points)-1].Value = last(s.Value, c.Points[len(c.Points)-1].Value) // the last answers are in it
	} else if s.Value != nil {
		c.Points = append(c.Points, Point{to, *s.Value})
	}
	if s.Over {
		return
	}
	if s.Missed {
		c.Missed = extend(c.Missed, from, to)
	}
	if s.Unsure {
		c.Unsure = extend(c.Unsure, from, to)
	}
}

func last(value *float64, otherwise float64) float64 {
	if value == nil {
		return otherwise
	}
	return *value
}

func extend(spans []Span, from, to time.Duration) []Span {
	if n := len(spans); n > 0 && spans[n-1].To >= from {
		spans[n-1].To = to
		return spans
	}
	return append(spans, Span{from, to})
}

// moments adds the figures of samples.
func (c *Curve) moments(samples []report.Sample) {
	t := c.Threshold
	if t.Scope.Window > 0 || t.Unit() == "number" || !t.ByStage() {
		return
	}
	for _, s := range samples {
		if stage := t.Scope.Stage; stage != "" && s.Window.Stage != stage || s.Window.Elapsed < report.TooShort {
			continue
		}
		if value, ok := t.Value(s.Window); ok {
			c.Moments = append(c.Moments, Point{s.At, value})
		}
	}
}

// thin leaves n points at most: of those between two that are left the worst, and the last one.
func (c *Curve) thin(points []Point, n int) []Point {
	if len(points) <= n || n < 2 {
		return points
	}
	_, bound := c.Threshold.Bound()
	worse := func(a, b float64) bool { return a > b } // further from what is wanted
	if op, _ := c.Threshold.Bound(); op == ">" || op == ">=" {
		worse = func(a, b float64) bool { return a < b }
	} else if op == "==" || op == "!=" {
		worse = func(a, b float64) bool { return (a-bound)*(a-bound) > (b-bound)*(b-bound) }
	}
	step := (len(points) + n - 2) / (n - 1)
	var out []Point
	for i := 0; i < len(points)-1; i += step {
		pick := points[i]
		for _, p := range points[i+1 : min(i+step, len(points)-1)] {
			if worse(p.Value, pick.Value) {
				pick = p
			}
		}
		out = append(out, pick)
	}
	return append(out, points[len(points)-1])
}
