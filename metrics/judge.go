package metrics

import (
	"cmp"
	"fmt"
	"sync"
	"time"
)

// Scope says over what a threshold is judged, and what follows when it does not hold. The zero value
// judges the whole run once, at its end.
type Scope struct {
	// Stage is the one stage whose operations count; empty for the whole run. A whole-run figure
	// hides an outage at the end of a ramp.
	Stage string
	// Window judges every stretch of this length instead of all at once, a second after the other. A
	// stretch in which nothing ended says nothing about latency and is passed over. At most MaxWindow.
	Window time.Duration
	// For is how long a window must go on missing before it counts, as in an alerting rule.
	For time.Duration
	// Abort ends the run as soon as the threshold is missed, but not before Delay of its scope has passed.
	Abort bool
	Delay time.Duration
}

// MaxWindow is the longest Scope.Window: so many seconds of snapshots are kept.
const MaxWindow = 10 * time.Minute

// String is the scope as verdicts write it; empty for the whole run.
func (s Scope) String() string {
	text := ""
	add := func(format string, a ...any) {
		if text != "" {
			text += ", "
		}
		text += fmt.Sprintf(format, a...)
	}
	if s.Stage != "" {
		add("stage %s", s.Stage)
	}
	if s.Window > 0 {
		add("every %v", s.Window)
	}
	if s.For > 0 {
		add("for %v", s.For)
	}
	return text
}

// Judge follows thresholds through a run: it is told when stages begin and given a snapshot about once
// a second. What it keeps does not grow with the run. It is safe for concurrent use.
type Judge struct {
	mu     sync.Mutex // protects the following fields
	begun  bool
	rules  []*rule
	recent []*Snapshot // of the longest window, oldest first
	keep   time.Duration
	stage  string
}

// rule is one threshold with what was seen of it.
type rule struct {
	Threshold
	from, to *Snapshot // the ends of its scope; nil before they are known

	window   Verdict   // of windows: the worst so far
	judged   bool      // whether a window had data
	worst    float64   // how far the worst window was from the bound, as a share of it; above 0 misses
	missing  time.Time // since when windows have been missing; zero when the last one held
	missed   bool      // whether they were missing long enough
	reported bool      // that it aborts the run
}

// NewJudge makes a Judge.
func NewJudge(thresholds []Threshold) *Judge {
	j := &Judge{}
	for _, t := range thresholds {
		j.rules = append(j.rules, &rule{Threshold: t})
		j.keep = max(j.keep, t.Scope.Window)
	}
	return j
}

// Stage tells that a stage begins, with the figures of that moment. An empty name ends the last one.
func (j *Judge) Stage(name string, now *Snapshot) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.begun = true
	for _, r := range j.rules {
		switch {
		case r.Scope.Stage == "" && r.from == nil:
			// The whole run has all operations, those that made the identities too; its rates are over its stages.
			r.from = &Snapshot{At: now.At}
		case r.Scope.Stage == "":
		case r.Scope.Stage == name && name != j.stage:
			r.from, r.to = now, nil
		case r.Scope.Stage == j.stage && r.from != nil && r.to == nil:
			r.to = now
		}
	}
	j.stage = name
}

// Sample takes the figures of about once a second. It returns the thresholds that have just been missed
// and abort the run.
func (j *Judge) Sample(now *Snapshot) []Verdict {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.begun {
		return nil
	}
	if j.keep > 0 {
		j.recent = append(j.recent, now)
		for len(j.recent) > 1 && now.At.Sub(j.recent[1].At) >= j.keep {
			j.recent = j.recent[1:]
		}
	}
	var aborting []Verdict
	for _, r := range j.rules {
		if r.from == nil || r.to != nil {
			continue
		}
		v := r.sample(now, j.recent)
		if r.Scope.Abort && !r.reported && !v.Pass && !v.NoData && now.At.Sub(r.from.At) >= r.Scope.Delay {
			r.reported = true
			aborting = append(aborting, v)
		}
	}
	return aborting
}

// sample judges one rule in the middle of its scope.
func (r *rule) sample(now *Snapshot, recent []*Snapshot) Verdict {
	if r.Scope.Window == 0 {
		return r.Evaluate(now.Sub(r.from))
	}
	start := begin(now, recent, r.Scope.Window)
	if start == nil || start.At.Before(r.from.At) {
		return Verdict{Pass: true}
	}
	v, excess := r.evaluate(now.Sub(start))
	switch {
	case v.NoData && r.aggregate == aggRate: // nothing is a rate too, and what an outage looks like
		v = Verdict{Threshold: v.Threshold, Observed: "rate = 0.0/s", Pass: r.holds(0)}
		excess = r.excess(0)
	case v.NoData:
		return Verdict{Pass: true}
	}
	if !r.judged || excess > r.worst {
		r.judged, r.worst, r.window = true, excess, v
		r.window.Observed = "worst " + v.Observed
	}
	switch {
	case v.Pass:
		r.missing = time.Time{}
	case r.missing.IsZero():
		r.missing = now.At
	}
	if !v.Pass && now.At.Sub(r.missing) >= r.Scope.For {
		r.missed = true
		return v
	}
	v.Pass = true
	return v
}

// begin is the youngest snapshot that is a window older than now; nil when none is that old.
func begin(now *Snapshot, recent []*Snapshot, window time.Duration) *Snapshot {
	// Ticks wander: a snapshot that is a little too young still begins the window.
	const slack = 50 * time.Millisecond
	for i := len(recent) - 1; i >= 0; i-- {
		if now.At.Sub(recent[i].At) >= window-slack {
			return recent[i]
		}
	}
	return nil
}

// End gives the verdicts on a run that ended with the given figures, in the order of the thresholds.
func (j *Judge) End(now *Snapshot) []Verdict {
	j.mu.Lock()
	defer j.mu.Unlock()
	verdicts := make([]Verdict, 0, len(j.rules))
	for _, r := range j.rules {
		verdicts = append(verdicts, r.end(now))
	}
	return verdicts
}

func (r *rule) end(now *Snapshot) Verdict {
	none := Verdict{Threshold: r.String(), Observed: "no data", NoData: true}
	switch {
	case r.Scope.Window > 0 && !r.judged:
		if r.from != nil {
			none.Observed = "no data in any window"
		}
		return none
	case r.Scope.Window > 0:
		v := r.window
		v.Pass = !r.missed
		return v
	case r.from == nil && r.Scope.Stage != "":
		none.Observed = "the stage did not run"
		return none
	case r.from == nil:
		return r.Evaluate(now)
	}
	return r.Evaluate(cmp.Or(r.to, now).Sub(r.from))
}
