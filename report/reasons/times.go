package reasons

import (
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
)

// Timed is a Part with when it was met, since the run began. A reason that no sample has, as of a record that was cut before, is
// met at no time that is known: both are negative.
type Timed struct {
	Part
	First time.Duration // the end of the first sample that has it, or the last time itself when that is before
	Last  time.Duration // when it was met last
}

// key is what parts are told apart by.
type key struct {
	stage           string
	operation       metrics.Operation
	group           string
	outcome, reason string
}

// WithTimes are the parts of a run with when they were met.
func WithTimes(h *report.History) []Timed {
	first := make(map[key]time.Duration)
	note := func(k key, at time.Duration) {
		if old, ok := first[k]; !ok || at < old {
			first[k] = at
		}
	}
	for i := range h.Samples {
		w := h.Samples[i].Window
		for n := range w.Series {
			for _, e := range w.Series[n].Reasons {
				k := key{w.Stage, e.Operation, e.Group, e.Outcome, e.Reason}
				note(k, h.Samples[i].At)
				k.stage = ""
				note(k, h.Samples[i].At)
			}
		}
	}
	parts := Parts(h.Run)
	all := make([]Timed, len(parts))
	for i, p := range parts {
		t := Timed{Part: p, First: -1, Last: -1}
		if !p.Last.IsZero() {
			t.Last = p.Last.Sub(h.Run.Started)
		}
		k := key{p.Stage, p.Operation, p.Group, p.Outcome, p.Reason}
		at, ok := first[k]
		if k.stage = ""; !ok { // an operation of the stage ended after it
			at, ok = first[k]
		}
		if ok {
			if t.First = at; t.Last >= 0 {
				t.First = min(at, t.Last)
			}
		}
		all[i] = t
	}
	return all
}
