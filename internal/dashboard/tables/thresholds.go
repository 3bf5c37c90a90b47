package tables

import (
	"math"

	"github.com/twinfleet/twinfleet/metrics/judge"
)

// How a threshold stands.
const (
	stateMet       = "met"
	stateMissed    = "missed"
	stateCannotSay = "cannot_say"
	statePending   = "pending" // nothing can be missed or met yet
)

// Threshold is how one threshold stands.
type Threshold struct {
	Text     string   `json:"text"`     // as written
	State    string   `json:"state"`    // met, missed, cannot_say or pending
	Observed string   `json:"observed"` // what is compared, for people
	Value    *float64 `json:"value"`    // the same as a number, in the unit; null when there is none
	Bound    float64  `json:"bound"`    // what it is compared with
	Op       string   `json:"op"`       // and how: <, <=, >, >=, == or !=
	Unit     string   `json:"unit"`     // seconds, ratio, per_second or number
	Since    *float64 `json:"since"`    // missed from then on without a break, in seconds since the run began; null when that was seen at the end only
	Why      string   `json:"why"`      // why nothing can be said
	Past     *float64 `json:"past"`     // how far it is past its bound, as a share of that; below 0 it holds with so much to spare
}

func thresholds(e *Evidence) []Threshold {
	var states []judge.State
	if e.Standing != nil {
		states = e.Standing.Thresholds
	}
	if e.Over { // what came of them, with the last figures of each
		last := states
		states = make([]judge.State, len(e.Run.Thresholds))
		for i, v := range e.Run.Thresholds {
			states[i] = judge.State{Verdict: v, Over: true}
			if i < len(last) {
				states[i].Value = last[i].Value
			}
		}
	}
	all := make([]Threshold, 0, len(states))
	for i := range states {
		s := &states[i]
		t := Threshold{Text: s.Threshold, State: stateOf(s), Observed: s.Observed, Why: s.Why}
		if v := s.Value; v != nil && !s.NoData && !math.IsNaN(*v) && !math.IsInf(*v, 0) {
			t.Value = v
		}
		if i < len(e.Rules) {
			t.Op, t.Bound = e.Rules[i].Bound()
			t.Unit = e.Rules[i].Unit()
			t.Past = past(t)
		}
		if !s.Since.IsZero() && t.State == stateMissed {
			since := max(0, s.Since.Sub(e.Run.Started).Seconds())
			t.Since = &since
		}
		all = append(all, t)
	}
	return all
}

func stateOf(s *judge.State) string {
	switch {
	case s.Pending:
		return statePending
	case s.CannotSay:
		return stateCannotSay
	case s.Pass:
		return stateMet
	}
	return stateMissed
}

// past is how far a value is past its bound; nil where no share can be told.
func past(t Threshold) *float64 {
	if t.Value == nil || t.Bound == 0 {
		return nil
	}
	share := (*t.Value - t.Bound) / math.Abs(t.Bound)
	switch t.Op {
	case ">", ">=":
		share = -share
	case "<", "<=":
	default:
		return nil
	}
	return &share
}
