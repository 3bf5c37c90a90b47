package metrics

import (
	"slices"
	"time"
)

// stageMark is where a stage begins.
type stageMark struct {
	name string
	from time.Time
}

// stageOf is the number of the stage in which a time lies, from 1; 0 is before the first.
func (r *Recorder) stageOf(at time.Time) (number int, name string) {
	marks := *r.marks.Load()
	for i := len(marks) - 1; i >= 0; i-- {
		if !at.Before(marks[i].from) {
			return i + 1, marks[i].name
		}
	}
	return 0, ""
}

// SetStage begins a stage now: what is intended from now on counts for it, what was intended before does not.
// It gives the time at which the stage begins. With an empty name the last stage is over. The stage that runs goes on.
func (r *Recorder) SetStage(name string) time.Time { return r.SetStageAt(name, time.Now()) }

// SetStageAt is SetStage for a stage that begins, or began, at a time, which is not before the stage before it began.
func (r *Recorder) SetStageAt(name string, at time.Time) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	marks := slices.Clone(*r.marks.Load())
	if n := len(marks); n > 0 {
		if marks[n-1].name == name {
			return marks[n-1].from
		}
		if at.Before(marks[n-1].from) {
			at = marks[n-1].from
		}
	}
	marks = append(marks, stageMark{name, at})
	r.marks.Store(&marks)
	return at
}

// stage is the stage that runs. The caller holds the lock.
func (r *Recorder) stage() string {
	marks := *r.marks.Load()
	if len(marks) == 0 {
		return ""
	}
	return marks[len(marks)-1].name
}

// Stages copies the numbers of each stage: of the operations that were intended in it, whenever they ended. The first is
// what was intended before any stage, with an empty name, if there is anything. Devices and queries are not split by stage.
func (r *Recorder) Stages() []*Snapshot {
	now := time.Now()
	marks := *r.marks.Load()
	out := make([]*Snapshot, len(marks)+1)
	for i := range out {
		out[i] = r.stageSnapshot(i, marks, now)
	}
	if len(out[0].Series) == 0 {
		out = out[1:]
	}
	return out
}

// StageSnapshot copies the numbers of the last stage of a name so far, as Stages has them; nil when none of that name began.
func (r *Recorder) StageSnapshot(name string) *Snapshot {
	marks := *r.marks.Load()
	for i := len(marks) - 1; i >= 0; i-- {
		if marks[i].name == name {
			return r.stageSnapshot(i+1, marks, time.Now())
		}
	}
	return nil
}

func (r *Recorder) stageSnapshot(number int, marks []stageMark, now time.Time) *Snapshot {
	from, to := r.stageBounds(number, marks, now)
	r.telling.RLock()
	defer r.telling.RUnlock()
	s := &Snapshot{At: to, Elapsed: to.Sub(from), behind: r.behind(to)}
	if number > 0 {
		s.Stage = marks[number-1].name
	}
	for _, series := range r.allSeries() {
		if x, ok := series.stageSnapshot(number, from, to, now); ok {
			s.Series = append(s.Series, x)
			s.Errors = mergeErrors(s.Errors, ofAllGroups(x.Reasons))
		}
	}
	return s
}

// stageBounds is when a stage began, and when it ended or, while it runs, that it is now.
func (r *Recorder) stageBounds(number int, marks []stageMark, now time.Time) (from, to time.Time) {
	from, to = r.start, now
	if number > 0 {
		from = marks[number-1].from
	}
	if number < len(marks) {
		to = marks[number].from
	}
	return from, to
}
