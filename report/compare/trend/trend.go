// Package trend is how figures went from run to run: of three runs and more, each of which is also compared with the first.
package trend

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/account"
	"github.com/twinfleet/twinfleet/report/compare"
)

// Trend is several runs in the order in which they were added. Make one with New.
type Trend struct {
	Runs       []Run       // the first is what the others are held against
	Figures    []Figure    // by operation as the first run that has it has them
	Thresholds []Threshold // in the order in which they came

	options compare.Options
	first   *report.History
	text    string // the first run's scenario
}

// Run is one of the runs.
type Run struct {
	*report.Run                     // without its samples
	Whole       bool                // it said its last word
	Against     *compare.Comparison // with the first; nil of the first itself
}

// Answer is what the comparison with the first run says of a run; "" of the first.
func (r *Run) Answer() compare.Answer {
	if r.Against == nil {
		return ""
	}
	return r.Against.Answer()
}

// Warnings are what makes a run hard to compare with the first: none of the first.
func (r *Run) Warnings() []string {
	if r.Against == nil {
		return nil
	}
	return slices.Concat(r.Against.Unfit, r.Against.Doubts, r.Against.Notes)
}

// Figure is one figure of one operation in all runs.
type Figure struct {
	Operation string            // of a query: with its name
	Name      string            // p50, p95, p99, rate, errors, throttled
	Unit      compare.Unit      // what Values are measured in
	Values    []float64         // of whole runs, as many as there are; NaN where a run has none
	Verdicts  []compare.Verdict // what the comparison with the first run says; "" where it says nothing
}

// Threshold is what became of one threshold in all runs.
type Threshold struct {
	Text     string   // as written
	Outcomes []Result // as many as there are runs
}

// Result is what became of a threshold in one run.
type Result struct {
	Known     bool   // the run has it
	Pass      bool   // it was met
	CannotSay bool   // nothing can be said: the load was not the one asked for
	Observed  string // what was compared, with its unit
}

func resultOf(v *threshold.Verdict) Result { return Result{true, v.Pass, v.CannotSay, v.Observed} }

// New begins a trend.
func New(o compare.Options) *Trend { return &Trend{options: o} }

// Add adds a run with its scenario, which may be empty. Of all but the first nothing large is kept.
func (t *Trend) Add(h *report.History, scenario string) {
	n := len(t.Runs)
	r := Run{Run: h.Run, Whole: h.Whole}
	if n == 0 {
		t.first, t.text = h, scenario
	} else {
		o := t.options
		o.Scenarios = [2]string{t.text, scenario}
		r.Against = compare.Compare(t.first, h, o)
	}
	t.Runs = append(t.Runs, r)
	for _, l := range account.Lines(h.Run.Totals) {
		t.line(n, l, h.Run.Loaded())
	}
	if r.Against != nil {
		for i := range r.Against.Rows {
			if row := &r.Against.Rows[i]; row.Group == "" {
				t.verdict(n, row)
			}
		}
	}
	for i := range h.Run.Thresholds {
		v := &h.Run.Thresholds[i]
		t.threshold(v.Threshold, n).Outcomes[n] = resultOf(v)
	}
	for i := range t.Figures {
		t.Figures[i].fill(n + 1)
	}
	for i := range t.Thresholds {
		t.Thresholds[i].fill(n + 1)
	}
}

// line adds the figures of an operation of one run.
func (t *Trend) line(n int, l account.Line, loaded time.Duration) {
	x := l.Series
	due := max(float64(x.Scheduled()), 1)
	if h := x.Latency(false); h.Count > 0 {
		for _, q := range []struct {
			name string
			of   float64
		}{{"p50", 0.5}, {"p95", 0.95}, {"p99", 0.99}} {
			t.figure(l.Name, q.name, compare.Seconds).set(n, h.Quantile(q.of).Seconds())
		}
	}
	t.figure(l.Name, "rate", compare.PerSecond).set(n, float64(x.Ended())/max(loaded.Seconds(), 1e-9))
	t.figure(l.Name, "errors", compare.Share).set(n, float64(x.Errors())/due)
	t.figure(l.Name, "throttled", compare.Share).set(n, float64(x.Count(metrics.Throttled))/due)
}

// verdict adds what the comparison with the first run says of a figure.
func (t *Trend) verdict(n int, row *compare.Row) {
	for i := range t.Figures {
		if f := &t.Figures[i]; f.Operation == row.Operation && f.Name == row.Figure {
			f.fill(n + 1)
			f.Verdicts[n] = row.Verdict
		}
	}
}

func (t *Trend) figure(operation, name string, unit compare.Unit) *Figure {
	for i := range t.Figures {
		if f := &t.Figures[i]; f.Operation == operation && f.Name == name {
			return f
		}
	}
	t.Figures = append(t.Figures, Figure{Operation: operation, Name: name, Unit: unit})
	return &t.Figures[len(t.Figures)-1]
}

func (f *Figure) fill(n int) {
	for len(f.Values) < n {
		f.Values, f.Verdicts = append(f.Values, math.NaN()), append(f.Verdicts, "")
	}
}

func (f *Figure) set(n int, value float64) {
	f.fill(n + 1)
	f.Values[n] = value
}

// Nothing reports whether a figure was 0 in all runs that have it: it is not worth a line.
func (f *Figure) Nothing() bool {
	return !slices.ContainsFunc(f.Values, func(x float64) bool { return !math.IsNaN(x) && x != 0 })
}

// Bad reports whether the comparison says that a run's figure is worse than the first one's.
func (f *Figure) Bad(run int) bool {
	v := f.Verdicts[run]
	return v == compare.Worse || v == compare.Vanished
}

func (t *Trend) threshold(text string, n int) *Threshold {
	for i := range t.Thresholds {
		if t.Thresholds[i].Text == text {
			t.Thresholds[i].fill(n + 1)
			return &t.Thresholds[i]
		}
	}
	t.Thresholds = append(t.Thresholds, Threshold{Text: text})
	t.Thresholds[len(t.Thresholds)-1].fill(n + 1)
	return &t.Thresholds[len(t.Thresholds)-1]
}

func (x *Threshold) fill(n int) {
	for len(x.Outcomes) < n {
		x.Outcomes = append(x.Outcomes, Result{})
	}
}

// Last is the run that the answer is about.
func (t *Trend) Last() *Run { return &t.Runs[len(t.Runs)-1] }

// Answer is what is said of the last run against the first.
func (t *Trend) Answer() compare.Answer { return t.Last().Answer() }

// Sentence is the answer in a line.
func (t *Trend) Sentence() string {
	text := "the last of " + fmt.Sprint(len(t.Runs)) + " runs against the first: " + t.Last().Against.Sentence()
	worse := 0
	for i := 1; i < len(t.Runs)-1; i++ {
		if t.Runs[i].Answer() == compare.SomethingWorse {
			worse++
		}
	}
	switch worse {
	case 0:
		return text
	case 1:
		return text + "; one of those between is worse"
	default:
		return text + fmt.Sprintf("; %d of those between are worse", worse)
	}
}

// ThresholdsOf are what became of thresholds in some runs.
func ThresholdsOf(runs ...*report.Run) []Threshold {
	t := &Trend{}
	for n, r := range runs {
		for i := range r.Thresholds {
			t.threshold(r.Thresholds[i].Threshold, n).Outcomes[n] = resultOf(&r.Thresholds[i])
		}
	}
	for i := range t.Thresholds {
		t.Thresholds[i].fill(len(runs))
	}
	return t.Thresholds
}
