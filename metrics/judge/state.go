package judge

import (
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold"
)

// State is how a threshold stands in the middle of a run.
type State struct {
	threshold.Verdict // as it would be if its scope ended now
	// Pending is that nothing can be missed or met yet: its scope has not begun, nothing was measured, or there is still time for
	// what it wants.
	Pending bool
	Over    bool // its scope has ended: of what came of it only the last answers are missing
	// Value is what is compared, in the threshold's Unit, of windows that of the last one; nil when there is no data, or no end to it.
	Value *float64
}

// notYet is how a threshold stands before its scope begins.
func notYet(t threshold.Threshold) State {
	return State{Verdict: threshold.Verdict{Threshold: t.String(), Observed: "not yet", NoData: true}, Pending: true}
}

// States are how the thresholds stand, in their order: at the last Sample while stages run, after that with the figures now.
func (j *Judge) States(now *metrics.Snapshot) []State {
	j.mu.Lock()
	defer j.mu.Unlock()
	defer j.once()()
	states := make([]State, 0, len(j.rules))
	for _, r := range j.rules {
		if !j.ended.IsZero() {
			r.state = j.stand(r, now)
		}
		states = append(states, r.state)
	}
	return states
}

// stand is how a rule stands, after it was judged as its scope wants.
func (j *Judge) stand(r *rule, now *metrics.Snapshot) State {
	s := State{Over: r.to != nil || !j.ended.IsZero()}
	switch {
	case r.aborted != nil:
		s.Verdict, s.Value = *r.aborted, r.state.Value
		s.Verdict = j.unlessInDoubt(r, s.Verdict)
		return s
	case r.from == nil, r.Scope.Window > 0 && !r.judged:
		return notYet(r.Threshold)
	case r.Scope.Window > 0: // the last one is judged at the end, when its operations have ended
		s.Verdict, s.Value = r.window, r.value
		s.Pass = !r.missed
	case s.Over:
		s.Verdict, s.Value = j.end(r, now), valueOf(r, j.whole(r, now))
	case j.told(r, now).At.Before(r.from.At):
		return notYet(r.Threshold)
	default:
		figures := j.since(r, j.figures(r, now), now.At)
		s.Verdict, s.Value = r.Evaluate(figures), valueOf(r, figures)
	}
	s.Pending = s.NoData || !s.Over && !s.Pass && r.WantsMore()
	s.Verdict = j.unlessInDoubt(r, s.Verdict)
	if s.Missed() && !s.Pending {
		if s.Since = r.state.Since; s.Since.IsZero() {
			s.Since = now.At.UTC()
		}
	}
	return s
}

// valueOf is what a rule compares of some figures; nil when there is nothing.
func valueOf(r *rule, figures *metrics.Snapshot) *float64 {
	if value, ok := r.Value(figures); ok {
		return &value
	}
	return nil
}
