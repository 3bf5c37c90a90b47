// Package known is what the run knows of the states that twins went through.
package known

import (
	"slices"
	"time"
)

// History is what is known of the states that a device's twin went through: those that the target
// acknowledged, and whether there may have been others between them. Its zero value knows of none. It is not safe for
// concurrent use.
type History struct {
	known  bool    // states begins with a state that is known
	missed bool    // there may be acknowledgements after states of which nobody told
	states []State // in the order of their versions
	sent   []time.Time
}

// State is a state that the target acknowledged.
type State struct {
	Version      int64     // $version of the reported properties; 0 of a twin that was made empty
	Connectivity string    // empty when the device has not reported it
	Acked        time.Time // when the target acknowledged it
	// unsure is true when reports before this one were never acknowledged: the twin may have been in
	// other states between the one before and this one.
	unsure bool
}

const (
	maxStates = 256         // of one device
	maxSent   = 128         // reports of one device whose acknowledgement is open
	keepFor   = time.Minute // beyond the tolerance: as long as a query may take
)

// Begin says that the twin was empty at a time.
func (h *History) Begin(at time.Time) {
	h.known, h.states = true, []State{{Acked: at}}
}

// Sending notes that the device is about to report: the report may be true of its twin from now on.
func (h *History) Sending(at time.Time) {
	if len(h.sent) == maxSent {
		h.sent = h.sent[1:] // those of lost reports: the ones left say so too
	}
	h.sent = append(h.sent, at)
}

// Miss notes that the target may have acknowledged reports of which nobody tells: until the next that is told, nothing is known.
func (h *History) Miss() { h.missed = true }

// Report is an acknowledged report.
type Report struct {
	Connectivity string    // empty when the report did not tell it
	Version      int64     // $version of the reported properties after it
	Sent         time.Time // as Sending was told
	Acked        time.Time // when the target acknowledged it
}

// Acked adds a state. Reports that were sent earlier and are still open were lost, for a device's
// reports are carried out in the order in which they were sent.
func (h *History) Acked(r Report, tolerance time.Duration) {
	lost := h.answer(r.Sent)
	last := State{}
	if n := len(h.states); n > 0 {
		last = h.states[n-1]
	}
	if r.Version <= last.Version {
		return // an acknowledgement that was overtaken by a later one's
	}
	s := State{Version: r.Version, Connectivity: r.Connectivity, Acked: r.Acked, unsure: lost > 0 || h.missed}
	if r.Connectivity == "" {
		if len(h.states) == 0 {
			return // what else is in the twin is not known
		}
		if h.missed {
			return // likewise
		}
		s.Connectivity = last.Connectivity
	}
	h.known, h.missed = true, false
	h.states = append(h.states, s)
	h.forget(r.Acked.Add(-tolerance - keepFor))
}

// sameTime is by how much a moment may differ when it is told twice as another's clock has it. As a rule it is told as the same time: but not when
// the clocks were compared between the two, and what was learnt counts for that moment already.
const sameTime = time.Millisecond

// answer closes the report that was sent at a time, and those before it, which were lost: it returns how many.
func (h *History) answer(sent time.Time) (lost int) {
	off := func(at time.Time) time.Duration { return at.Sub(sent).Abs() }
	nearest := -1
	for i, at := range h.sent {
		if off(at) < sameTime && (nearest < 0 || off(at) <= off(h.sent[nearest])) {
			nearest = i
		}
	}
	lost = max(0, nearest)
	if nearest < 0 {
		for lost < len(h.sent) && h.sent[lost].Before(sent) {
			lost++
		}
	}
	h.sent = slices.Delete(h.sent, 0, max(lost, nearest+1))
	return lost
}

// forget drops states that are too old to matter to a query that is under way: all but the last of
// those acknowledged before a time.
func (h *History) forget(before time.Time) {
	first := max(0, len(h.states)-maxStates)
	for first+1 < len(h.states) && h.states[first+1].Acked.Before(before) {
		first++
	}
	if first > 0 {
		h.states = append(h.states[:0], h.states[first:]...)
	}
}

// Last is the last state that the target acknowledged; ok is false when it acknowledged none.
func (h *History) Last() (last State, ok bool) {
	if len(h.states) == 0 {
		return State{}, false
	}
	return h.states[len(h.states)-1], true
}

// Since are the states that the twin may have been in from a time on until now: the last that was
// acknowledged by then, and all later ones. sure is false when there may have been others.
func (h *History) Since(from time.Time) (states []State, sure bool) {
	first := -1
	for i := range h.states {
		if h.states[i].Acked.After(from) {
			break
		}
		first = i
	}
	sure = h.known && !h.missed && first >= 0 && len(h.sent) == 0
	states = h.states[max(first, 0):]
	for i := range states {
		sure = sure && (i == 0 || !states[i].unsure)
	}
	return states, sure
}
