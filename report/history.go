package report

import (
	"slices"
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
	// Standing is how the run stands with it; nil in records, which have Judged of it.
	Standing *Standing `json:"-"`
	// Judged is how the thresholds stand with it, in the order of the run's Rules; nil in old records.
	Judged []Judged `json:"judged,omitempty"`
}

// Judged is how a threshold stands at the end of a sample: what its chart shows.
type Judged struct {
	Value  *float64 `json:"value,omitempty"`  // what is compared, in the threshold's Unit; nil when there is nothing yet
	Missed bool     `json:"missed,omitempty"` // it would be missed if the run ended now
	Unsure bool     `json:"unsure,omitempty"` // nothing can be said: the load is not the one asked for
	Over   bool     `json:"over,omitempty"`   // what it judges is over
}

// JudgedOf is how thresholds stand, as a sample keeps it.
func JudgedOf(states []judge.State) []Judged {
	if len(states) == 0 {
		return nil
	}
	all := make([]Judged, len(states))
	for i := range states {
		s := &states[i]
		all[i] = Judged{Value: s.Value, Missed: s.Missed() && !s.Pending, Unsure: s.CannotSay, Over: s.Over}
	}
	return all
}

// TooShort is the length of an interval that is too short for a rate: the rest of a second at the end of a run.
const TooShort = time.Second / 2

// Rule is a threshold as the record keeps it, so that the run can be judged once more.
type Rule struct {
	Selector string          `json:"selector"` // as metrics/threshold reads it
	Expr     string          `json:"expr"`     // likewise
	Scope    threshold.Scope `json:"scope"`    // over what it is judged
}

// Threshold is the threshold of a rule; an error when this version has none like it.
func (r *Rule) Threshold() (threshold.Threshold, error) {
	t, err := threshold.Parse(r.Selector, r.Expr)
	t.Scope = r.Scope
	return t, err
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
	return Sample{At: next.At, Window: sum, Judged: next.Judged}
}

// Complete fills in what a record lacks whose run did not say its last word: the figures are what came before its samples and
// their sum, stages go as far as anything was told, and the thresholds are judged on that.
func (h *History) Complete() {
	if h.Whole {
		return
	}
	r := h.Run
	r.Outcome, r.Reason = Interrupted, "the record ends without a last word: the program was killed"
	r.Ended = r.Started
	if r.Totals == nil {
		r.Totals = &metrics.Snapshot{}
	}
	r.Ended = r.Started.Add(r.Totals.Elapsed)
	r.Totals.At = r.Ended
	judge := judge.New(nil, h.thresholds())
	stage, started, ended := "", 0, len(r.Stages)
	for _, s := range h.Samples {
		if s.Window.Stage != stage {
			stage = s.Window.Stage
			judge.Stage(stage, r.Totals)
			if stage != "" { // else the last one is over
				r.began(stage, r.Ended.Sub(r.Started))
			}
		}
		total := Sample{Window: r.Totals}.Merge(s)
		r.Totals, r.Ended = total.Window, r.Started.Add(s.At)
		judge.Sample(r.Totals)
		started = max(started, startedDevices(s.Window))
		if n := len(r.Stages); n > ended && r.Stages[n-1].Name == stage {
			r.Stages[n-1].To = s.At
		}
	}
	for _, e := range h.Events { // the last second may have no sample
		if e.Kind == KindStage {
			r.began(e.Text, e.At)
		}
		if at := r.Started.Add(e.At); at.After(r.Ended) {
			r.Ended = at
		}
	}
	if n := len(r.Stages); n > 0 && r.Stages[n-1].To == 0 {
		r.Stages[n-1].To = r.Ended.Sub(r.Started)
	}
	if r.Ran == nil || *r.Ran < started {
		r.Ran = &started
	}
	r.Thresholds = judge.End(r.Totals)
}

// began adds a stage that had begun when the record was cut, unless it is known.
func (r *Run) began(name string, at time.Duration) {
	if slices.ContainsFunc(r.Stages, func(t Stage) bool { return t.Name == name }) {
		return
	}
	if n := len(r.Stages); n > 0 && r.Stages[n-1].To == 0 {
		r.Stages[n-1].To = at
	}
	r.Stages = append(r.Stages, Stage{Name: name, From: at})
}

// startedDevices is how many devices had been started at the end of a window.
func startedDevices(window *metrics.Snapshot) (n int) {
	for _, d := range window.Devices {
		if d.State != "waiting" {
			n += d.Count
		}
	}
	return n
}

func (h *History) thresholds() []threshold.Threshold {
	var all []threshold.Threshold
	for _, rule := range h.Run.Rules {
		if t, err := rule.Threshold(); err == nil { // else written by a version with other thresholds
			all = append(all, t)
		}
	}
	return all
}
