package report

import (
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/judge"
	"github.com/twinfleet/twinfleet/metrics/threshold"
)

// History is a run with what happened in it, second by second: all that a report may show.
type History struct {
	Run     *Run     // the record; of a run that was cut, as far as it is known
	Samples []Sample // oldest first, about one a second
	Events  []Event  // in the order in which they were told
	// Whole says that the run said its last word. The record of a process that was killed has none.
	Whole bool
}

// Sample is what came in about a second. Samples merge exactly.
type Sample struct {
	At      time.Duration     `json:"at"`     // its end, since the run began
	Window  *metrics.Snapshot `json:"window"` // what came in it
	Total   *metrics.Snapshot `json:"-"`      // since the run began; the record has the sum, and this is nil there
	Waiting int               `json:"-"`      // after the last stage: operations whose answers are waited for
	Left    time.Duration     `json:"-"`      // how long that takes at most; 0 when it is not known
	// Standing is how the run stands with it; nil in records.
	Standing *Standing `json:"-"`
}

// TooShort is the length of an interval that is too short for a rate: the rest of a second at the end of a run.
const TooShort = time.Second / 2

// Rule is a threshold as the record keeps it, so that the run can be judged once more.
type Rule struct {
	Selector string          `json:"selector"` // as metrics/threshold reads it
	Expr     string          `json:"expr"`     // likewise
	Scope    threshold.Scope `json:"scope"`    // over what it is judged
}

// Merged is the samples put together so that at most n are left, for charts. Nothing is averaged: their
// distributions are merged.
func (h *History) Merged(n int) []Sample {
	if len(h.Samples) <= n || n < 1 {
		return h.Samples
	}
	step := (len(h.Samples) + n - 1) / n
	out := make([]Sample, 0, n)
	for i := 0; i < len(h.Samples); i += step {
		part := h.Samples[i]
		for _, next := range h.Samples[i+1 : min(i+step, len(h.Samples))] {
			part = part.Merge(next)
		}
		out = append(out, part)
	}
	return out
}

// Merge adds the sample that follows.
func (s Sample) Merge(next Sample) Sample {
	sum := s.Window.Merge(next.Window)
	sum.At, sum.Elapsed = next.Window.At, s.Window.Elapsed+next.Window.Elapsed
	// What is a state and not a number of events is as it was at the end.
	sum.Stage, sum.Devices, sum.Queries = next.Window.Stage, next.Window.Devices, next.Window.Queries
	return Sample{At: next.At, Window: sum}
}

// Complete fills in what a record lacks whose run did not say its last word: the figures are the sum
// of its samples, and the thresholds are judged on them.
func (h *History) Complete() {
	if h.Whole {
		return
	}
	r := h.Run
	r.Outcome, r.Reason = Interrupted, "the record ends without a last word: the program was killed"
	r.Ended = r.Started
	r.Totals = &metrics.Snapshot{At: r.Started}
	judge := judge.New(nil, h.thresholds())
	stage := ""
	for _, s := range h.Samples {
		if s.Window.Stage != stage {
			stage = s.Window.Stage
			judge.Stage(stage, r.Totals)
			if stage != "" { // else the last one is over
				r.Stages = append(r.Stages, Stage{Name: stage, From: r.Ended.Sub(r.Started)})
			}
		}
		total := Sample{Window: r.Totals}.Merge(s)
		r.Totals, r.Ended = total.Window, r.Started.Add(s.At)
		judge.Sample(r.Totals)
		if n := len(r.Stages); n > 0 && stage != "" {
			r.Stages[n-1].To = s.At
		}
	}
	r.Thresholds = judge.End(r.Totals)
}

func (h *History) thresholds() []threshold.Threshold {
	var all []threshold.Threshold
	for _, rule := range h.Run.Rules {
		t, err := threshold.Parse(rule.Selector, rule.Expr)
		if err != nil {
			continue // written by a version with other thresholds
		}
		t.Scope = rule.Scope
		all = append(all, t)
	}
	return all
}
