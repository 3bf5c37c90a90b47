// Package judge follows thresholds through a run: its stages, its windows, and the stages of which nothing can be said.
package judge

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold"
)

// Judge follows thresholds through a run: it is told when stages begin and given a snapshot about once
// a second. What it keeps does not grow with the run. It is safe for concurrent use.
//
// A threshold of a stage judges what was intended in the stage, whenever it ended: what a stage leaves
// unanswered is not forgotten with its end.
type Judge struct {
	mu        sync.Mutex // protects the following fields
	rec       *metrics.Recorder
	begun     time.Time // of the first stage; zero before it
	ended     time.Time // of the last one; zero while it runs
	rules     []*rule
	stage     string
	stages    []string                     // that began, in their order
	figuresOf map[string]*metrics.Snapshot // of stages that the Recorder tells apart; see once
	doubted   map[string]string            // what doubt said of stages; see once
	doubt     func(stage string) string
	excuse    func(i int, v *threshold.Verdict)
}

// rule is one threshold with what was seen of it.
type rule struct {
	threshold.Threshold
	from, to *metrics.Snapshot // at the ends of its scope; nil before they are known

	recent  []*metrics.Snapshot // that a window may begin with, oldest first, each at the time until when it tells; from alone as the scope begins
	seen    time.Time           // until when windows were judged
	window  threshold.Verdict   // of windows: the worst so far
	judged  bool                // whether a window had data
	worst   float64             // how far the worst window was from the bound, as a share of it; above 0 misses
	missing time.Time           // since when windows have been missing; zero when the last one held
	missed  bool                // whether they were missing long enough
	aborted *threshold.Verdict  // what it was when it ended the run, whatever the last answers make of it; nil when it did not

	value *float64 // of the last window
	state State    // as of the last sample
}

// New makes a Judge of what a Recorder is told. Without a Recorder, nil, it knows of stages only what was between the
// figures at their ends.
func New(rec *metrics.Recorder, thresholds []threshold.Threshold) *Judge {
	j := &Judge{rec: rec}
	for _, t := range thresholds {
		j.rules = append(j.rules, &rule{Threshold: t, state: notYet(t)})
	}
	return j
}

// Stage tells that a stage begins, with the figures of that instant. An empty name ends the last one.
func (j *Judge) Stage(name string, now *metrics.Snapshot) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.begun.IsZero() {
		j.begun = now.At
	}
	if name == "" {
		j.ended = now.At
	}
	for _, r := range j.rules {
		whole := r.Scope.Stage == ""
		switch {
		case whole && r.from == nil, !whole && r.Scope.Stage == name && name != j.stage:
			r.from, r.to = j.figures(r, now), nil
			r.recent, r.seen = []*metrics.Snapshot{r.from}, r.from.At
		case whole && name != "":
		case r.from != nil && r.to == nil && (whole || r.Scope.Stage == j.stage):
			r.to = j.figures(r, now)
		}
	}
	j.stage = name
	if name != "" {
		j.stages = append(j.stages, name)
	}
}

// split reports whether the Recorder tells a rule's stage apart. What queries found and what devices are is not split by stage.
func (j *Judge) split(r *rule) bool {
	return r.Scope.Stage != "" && j.rec != nil && r.ByStage()
}

// once has all rules share what is looked up of a stage, until the returned function is called.
func (j *Judge) once() func() {
	j.figuresOf, j.doubted = make(map[string]*metrics.Snapshot), make(map[string]string)
	return func() { j.figuresOf, j.doubted = nil, nil }
}

// figures are what a rule judges, as they are now.
func (j *Judge) figures(r *rule, now *metrics.Snapshot) *metrics.Snapshot {
	if !j.split(r) {
		return now
	}
	name := r.Scope.Stage
	s := j.figuresOf[name]
	if s == nil {
		if s = j.rec.StageSnapshot(name); s == nil {
			s = &metrics.Snapshot{At: now.At}
		}
		if j.figuresOf != nil {
			j.figuresOf[name] = s
		}
	}
	return s
}

// Sample takes the figures of about once a second. It returns the thresholds that have just been missed
// and abort the run.
func (j *Judge) Sample(now *metrics.Snapshot) []threshold.Verdict {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.begun.IsZero() || !j.ended.IsZero() {
		return nil
	}
	defer j.once()()
	var aborting []threshold.Verdict
	for i, r := range j.rules {
		running := r.from != nil && r.to == nil
		var v threshold.Verdict
		if running && (r.Scope.Window > 0 || r.Scope.Abort) {
			v = j.sample(r, now)
		}
		r.state = j.stand(r, now)
		if running && r.Scope.Abort && r.aborted == nil && !v.Pass && !v.NoData && now.At.Sub(r.from.At) >= r.Scope.Delay && j.doubts(r) == "" {
			if v.Since = r.state.Since; v.Since.IsZero() {
				v.Since = now.At.UTC()
			}
			if j.excused(i, v) {
				continue
			}
			aborting = append(aborting, v)
			v.Observed += ", which ended the run"
			r.aborted = &v
			r.state = j.stand(r, now)
		}
	}
	return aborting
}

// sample judges one rule in the middle of its scope.
func (j *Judge) sample(r *rule, now *metrics.Snapshot) threshold.Verdict {
	figures := j.told(r, now)
	switch {
	case figures.At.Before(r.from.At): // nothing is known yet
		return threshold.Verdict{Pass: true}
	case r.Scope.Window == 0:
		return r.Evaluate(j.since(r, j.figures(r, now), now.At))
	}
	start := r.begin(figures.At)
	r.remember(&figures)
	if start == nil {
		return threshold.Verdict{Pass: true}
	}
	window := figures.Sub(start)
	window.Elapsed = figures.At.Sub(start.At)
	if figures.At.After(r.seen) {
		r.seen = figures.At
	}
	return r.take(window)
}

// told are the figures that a rule judges, at the time until when they tell.
func (j *Judge) told(r *rule, now *metrics.Snapshot) metrics.Snapshot {
	figures := *j.figures(r, now)
	figures.At = now.At
	figures.At = known(r, &figures)
	return figures
}

// known is until when figures tell what a rule compares. Where other machines tell it, that is before they were taken. As a rule's scope begins,
// what is in it is known: nothing.
func known(r *rule, figures *metrics.Snapshot) time.Time {
	at := figures.Known(r.Operation, r.Group)
	if r.from != nil && figures.At.Equal(r.from.At) {
		return figures.At
	}
	return at
}

// since is the figures of a rule's whole scope until a time, or until they are known.
func (j *Judge) since(r *rule, figures *metrics.Snapshot, until time.Time) *metrics.Snapshot {
	out := *figures
	switch {
	case !j.split(r) && r.from != nil && r.Scope.Stage != "":
		return figures.Sub(r.from)
	case r.Scope.Stage == "" && !j.begun.IsZero():
		// The whole run has all operations, those that made the identities too; its rates are over its stages.
		if to := known(r, figures); to.Before(until) {
			until = to
		}
		out.Elapsed = max(0, until.Sub(j.begun))
	default:
		out.Elapsed = max(0, out.Elapsed-figures.At.Sub(known(r, figures)))
	}
	return &out
}

// take judges one window.
func (r *rule) take(window *metrics.Snapshot) threshold.Verdict {
	r.value = valueOf(r, window)
	v, excess, ok := r.EvaluateWindow(window)
	if !ok {
		return threshold.Verdict{Pass: true}
	}
	if !r.judged || excess > r.worst {
		r.judged, r.worst, r.window = true, excess, v
		if r.window.Observed = "worst " + v.Observed; math.IsInf(excess, 1) {
			r.window.Observed = "worst: " + v.Observed
		}
	}
	switch {
	case v.Pass:
		r.missing = time.Time{}
	case r.missing.IsZero():
		r.missing = window.At
	}
	if !v.Pass && window.At.Sub(r.missing) >= r.Scope.For {
		r.missed = true
		return v
	}
	v.Pass = true
	return v
}

// slack is by how much the ends of windows may be off: ticks wander.
const slack = 50 * time.Millisecond

// begin is what a window begins with that ends at a time: the youngest figures that are a window old, and no younger than the end of the last window.
// So all that is told is in some window, however late it comes; one that follows a gap is longer. It is nil when none are that old yet. With what is
// older no window begins any more: it is forgotten.
func (r *rule) begin(end time.Time) *metrics.Snapshot {
	for i, s := range slices.Backward(r.recent) {
		if end.Sub(s.At) >= r.Scope.Window-slack && !s.At.After(r.seen) {
			r.recent = r.recent[i:]
			return s
		}
	}
	return nil
}

// remember keeps figures for the windows that will begin with them, unless they tell of the same time as the last ones: while nothing is told none are
// kept, so there are never more than a window has times slack.
func (r *rule) remember(figures *metrics.Snapshot) {
	if last := r.recent[len(r.recent)-1]; figures.At.Sub(last.At) >= slack {
		r.recent = append(r.recent, figures)
	}
}

// End gives the verdicts on a run that ended with the given figures, in the order of the thresholds. Nothing is
// under way any more.
func (j *Judge) End(now *metrics.Snapshot) []threshold.Verdict {
	j.mu.Lock()
	defer j.mu.Unlock()
	defer j.once()()
	verdicts := make([]threshold.Verdict, 0, len(j.rules))
	for _, r := range j.rules {
		v := j.unlessInDoubt(r, j.end(r, now))
		if v.Missed() && r.aborted == nil {
			v.Since = r.state.Since
		}
		verdicts = append(verdicts, v)
	}
	return verdicts
}

func (j *Judge) end(r *rule, now *metrics.Snapshot) threshold.Verdict {
	if r.aborted != nil {
		return *r.aborted
	}
	none := threshold.Verdict{Threshold: r.String(), Observed: "no data", NoData: true}
	if r.from == nil && r.Scope.Stage != "" {
		none.Observed = "the stage did not run"
		return none
	}
	if r.Scope.Window == 0 {
		return r.Evaluate(j.whole(r, now))
	}
	if r.from != nil {
		j.lastWindow(r, now, r.until(now))
	}
	if !r.judged {
		none.Observed = "no data in any window"
		return none
	}
	v := r.window
	v.Pass = !r.missed
	return v
}

// until is when a rule's scope ended, or now.
func (r *rule) until(now *metrics.Snapshot) time.Time {
	if r.to != nil {
		return r.to.At
	}
	return now.At
}

// whole is the figures of a rule's whole scope, which has ended.
func (j *Judge) whole(r *rule, now *metrics.Snapshot) *metrics.Snapshot {
	figures, until := j.figures(r, now), r.until(now)
	// After the last stage the devices are stopped.
	if !j.split(r) && r.to != nil && (r.Scope.Stage != "" && until.Before(j.ended) || r.Operation == threshold.OfDevices) {
		figures = r.to
	}
	return j.since(r, figures, until)
}

// lastWindow judges the window at the end of a rule's scope once more: what was under way then has ended since.
func (j *Judge) lastWindow(r *rule, now *metrics.Snapshot, until time.Time) {
	start := r.begin(until)
	if start == nil || (!j.split(r) && until.Before(j.ended)) || r.Operation == threshold.OfDevices {
		return
	}
	last := j.figures(r, now).Sub(start)
	if j.rec != nil && !j.split(r) {
		if after := j.rec.StageSnapshot(""); after != nil {
			last.Series = last.Sub(after).Series // without what was intended after the last stage
		}
	}
	last.At, last.Elapsed = until, until.Sub(start.At)
	r.take(last)
}
