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
	recent    map[string][]*metrics.Snapshot // by stage, empty for the whole run: of the longest window, oldest first
	keep      time.Duration
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

	window  threshold.Verdict  // of windows: the worst so far
	judged  bool               // whether a window had data
	worst   float64            // how far the worst window was from the bound, as a share of it; above 0 misses
	missing time.Time          // since when windows have been missing; zero when the last one held
	missed  bool               // whether they were missing long enough
	aborted *threshold.Verdict // what it was when it ended the run, whatever the last answers make of it; nil when it did not

	value *float64 // of the last window
	state State    // as of the last sample
}

// New makes a Judge of what a Recorder is told. Without a Recorder, nil, it knows of stages only what was between the
// figures at their ends.
func New(rec *metrics.Recorder, thresholds []threshold.Threshold) *Judge {
	j := &Judge{rec: rec, recent: make(map[string][]*metrics.Snapshot)}
	for _, t := range thresholds {
		j.rules = append(j.rules, &rule{Threshold: t, state: notYet(t)})
		j.keep = max(j.keep, t.Scope.Window)
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
		case whole && name != "":
		case r.from != nil && r.to == nil && (whole || r.Scope.Stage == j.stage):
			r.to = j.figures(r, now)
		}
	}
	j.stage = name
	if name != "" {
		j.stages = append(j.stages, name)
	}
	j.remember(now)
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

// remember keeps the figures of whole windows.
func (j *Judge) remember(now *metrics.Snapshot) {
	add := func(stage string, s *metrics.Snapshot) {
		kept := append(j.recent[stage], s)
		for len(kept) > 1 && s.At.Sub(kept[1].At) >= j.keep {
			kept = kept[1:]
		}
		j.recent[stage] = kept
	}
	if j.keep == 0 {
		return
	}
	add("", now)
	for _, r := range j.rules {
		if name := r.Scope.Stage; name == j.stage && r.Scope.Window > 0 && j.split(r) {
			if kept := j.recent[name]; len(kept) == 0 || kept[len(kept)-1].At.Before(now.At) {
				s := *j.figures(r, now)
				s.At = now.At
				add(name, &s)
			}
		}
	}
}

// windows are the figures that a rule's windows begin with.
func (j *Judge) windows(r *rule) []*metrics.Snapshot {
	if j.split(r) {
		return j.recent[r.Scope.Stage]
	}
	return j.recent[""]
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
	j.remember(now)
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
	start := begin(r, figures.At, j.windows(r))
	if start == nil || known(r, start).Before(r.from.At) {
		return threshold.Verdict{Pass: true}
	}
	window := figures.Sub(start)
	window.Elapsed = figures.At.Sub(known(r, start))
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

// begin is the youngest snapshot that tells of a time a rule's window before another; nil when none is that old.
func begin(r *rule, end time.Time, recent []*metrics.Snapshot) *metrics.Snapshot {
	// Ticks wander: a snapshot that is a little too young still begins the window.
	const slack = 50 * time.Millisecond
	for _, s := range slices.Backward(recent) {
		if end.Sub(known(r, s)) >= r.Scope.Window-slack {
			return s
		}
	}
	return nil
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
	start := begin(r, until, j.windows(r))
	if start == nil || known(r, start).Before(r.from.At) || (!j.split(r) && until.Before(j.ended)) || r.Operation == threshold.OfDevices {
		return
	}
	last := j.figures(r, now).Sub(start)
	if j.rec != nil && !j.split(r) {
		if after := j.rec.StageSnapshot(""); after != nil {
			last.Series = last.Sub(after).Series // without what was intended after the last stage
		}
	}
	last.At, last.Elapsed = until, until.Sub(known(r, start))
	r.take(last)
}
