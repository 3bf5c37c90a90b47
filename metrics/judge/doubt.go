package judge

import "github.com/twinfleet/twinfleet/metrics/threshold"

// Doubt says how to learn, at any time, why the load of a stage was not the one that was asked for; "" when it was. What is
// judged of such a stage, or of a whole run that has one, is answered with CannotSay, and does not abort the run: it is
// judged once more, every second, until it is sure.
func (j *Judge) Doubt(why func(stage string) string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.doubt = why
}

// Excuse says how to learn, at any time, that a verdict on the i-th threshold says nothing of the target, for reasons that the Judge does not
// know: excuse then sets its CannotSay. Such a threshold does not abort the run.
func (j *Judge) Excuse(excuse func(i int, v *threshold.Verdict)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.excuse = excuse
}

// excused reports whether a verdict says nothing of the target.
func (j *Judge) excused(i int, v threshold.Verdict) bool {
	if j.excuse != nil {
		j.excuse(i, &v)
	}
	return v.CannotSay
}

// doubts is why nothing can be said of a rule's scope; "" when something can.
func (j *Judge) doubts(r *rule) string {
	if j.doubt == nil {
		return ""
	}
	if r.Scope.Stage != "" {
		return j.doubtOf(r.Scope.Stage)
	}
	for _, name := range j.stages {
		if why := j.doubtOf(name); why != "" {
			return why
		}
	}
	return ""
}

// doubtOf asks why nothing can be said of a stage. The answer takes figures of the stage: see once.
func (j *Judge) doubtOf(stage string) string {
	why, known := j.doubted[stage]
	if !known {
		if why = j.doubt(stage); j.doubted != nil {
			j.doubted[stage] = why
		}
	}
	return why
}

// unlessInDoubt is the verdict on a rule, or that there is none. How the schedule was kept is known whatever the load was.
func (j *Judge) unlessInDoubt(r *rule, v threshold.Verdict) threshold.Verdict {
	if r.OfSchedule() {
		return v
	}
	if why := j.doubts(r); why != "" && r.from != nil {
		v.CannotSay, v.Why, v.Pass = true, why, false
	}
	return v
}
