package metrics

import "github.com/twinfleet/twinfleet/metrics/histogram"

// Doubt says how to learn, at any time, why the load of a stage was not the one that was asked for; "" when it was. What is
// judged of such a stage, or of a whole run that has one, is answered with CannotSay, and does not abort the run: it is
// looked at again until it is sure.
func (j *Judge) Doubt(why func(stage string) string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.doubt = why
}

// doubts is why nothing can be said of a rule's scope; "" when something can.
func (j *Judge) doubts(r *rule) string {
	if j.doubt == nil {
		return ""
	}
	if r.Scope.Stage != "" {
		return j.doubt(r.Scope.Stage)
	}
	for _, name := range j.stages {
		if why := j.doubt(name); why != "" {
			return why
		}
	}
	return ""
}

// unlessInDoubt is the verdict on a rule, or that there is none. How the schedule was kept is known whatever the load was.
func (j *Judge) unlessInDoubt(r *rule, v Verdict) Verdict {
	if r.aggregate.ofSchedule() {
		return v
	}
	if why := j.doubts(r); why != "" && r.from != nil {
		v.CannotSay, v.Why, v.Pass = true, why, false
	}
	return v
}

// Missed reports whether it is sure that the threshold was missed, or that there was nothing to judge.
func (v *Verdict) Missed() bool { return !v.Pass && !v.CannotSay }

// WantsMore reports whether the threshold asks for a number of operations or devices, or for a rate, that is at least so much:
// a stage that was cut short may be why there was less.
func (t Threshold) WantsMore() bool {
	unit := t.aggregate.unit()
	return (unit == unitCount || unit == unitRate) && !t.upper() && t.op != "!="
}

// WantsFailure reports whether a threshold asks that operations fail: it holds for the figures as they are, and would not if
// every operation that was due had ended well at once.
func (t Threshold) WantsFailure(s *Snapshot) bool {
	if t.aggregate.ofQueries() || !t.Evaluate(s).Pass {
		return false
	}
	well := &Snapshot{At: s.At, Elapsed: s.Elapsed}
	for _, d := range s.Devices {
		if d.State == "connecting" || d.State == "backoff" {
			d.State = "connected"
		}
		well.Devices = append(well.Devices, d)
	}
	for i := range s.Series {
		if x := &s.Series[i]; x.Operation == t.Operation && x.Scheduled() > 0 {
			at := histogram.Histogram{Buckets: []histogram.Bucket{{Count: x.Scheduled()}}, Count: x.Scheduled()}
			good := SeriesSnapshot{Operation: x.Operation, Group: x.Group, OnTime: x.Scheduled()}
			good.Lag, good.OwnLag, good.Response[OK], good.Service[OK] = at, at, at, at
			well.Series = append(well.Series, good)
		}
	}
	return !t.Evaluate(well).Pass
}
