package threshold

import "time"

// Verdict is what became of a threshold.
type Verdict struct {
	Threshold string `json:"threshold"`         // as written
	Observed  string `json:"observed"`          // the value that was compared, with its unit
	Pass      bool   `json:"pass"`              // it was met
	NoData    bool   `json:"no_data,omitempty"` // nothing was observed; that is not a pass
	// CannotSay is that the threshold was neither met nor missed: the load was not the one that was asked for, as Why says.
	CannotSay bool   `json:"cannot_say,omitempty"`
	Why       string `json:"why,omitempty"` // why nothing can be said; empty unless CannotSay
	// Since is when it was seen to be missed, from then on to the end without a break; UTC. Zero when it was not missed, or
	// when that was not seen before the end. Of windows it is the end of the first that counted.
	Since time.Time `json:"since,omitzero"`
}

// Missed reports whether it is sure that the threshold was missed, or that there was nothing to judge.
func (v *Verdict) Missed() bool { return !v.Pass && !v.CannotSay }
