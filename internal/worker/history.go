package worker

import "time"

// history is what is known of the states that a device's twin went through: those that the target
// acknowledged, and whether there may have been others between them.
type history struct {
	known  bool    // states begins with a state that is known
	states []known // in the order of their versions
	sent   []time.Time
}

// known is a state that the target acknowledged.
type known struct {
	version      int64
	connectivity string // empty when the device has not reported it
	acked        time.Time
	// unsure is true when reports before this one were never acknowledged: the twin may have been in
	// other states between the one before and this one.
	unsure bool
}

const (
	maxStates = 256         // of one device
	maxSent   = 128         // reports of one device whose acknowledgement is open
	keepFor   = time.Minute // beyond the audit's tolerance: as long as a query may take
)

// begin says that the twin was empty at a time.
func (h *history) begin(at time.Time) {
	h.known, h.states = true, []known{{acked: at}}
}

func (h *history) sending(at time.Time) {
	if len(h.sent) == maxSent {
		h.sent = h.sent[1:] // those of lost reports: the ones left say so too
	}
	h.sent = append(h.sent, at)
}

// acked adds a state. Reports that were sent earlier and are still open were lost, for a device's
// reports are carried out in the order in which they were sent.
func (h *history) acked(r Ack, tolerance time.Duration) {
	lost, open := 0, h.sent[:0]
	for _, at := range h.sent {
		switch {
		case at.Before(r.Sent):
			lost++
		case at.After(r.Sent):
			open = append(open, at)
		}
	}
	h.sent = open
	last := known{}
	if n := len(h.states); n > 0 {
		last = h.states[n-1]
	}
	if r.Version <= last.version {
		return // an acknowledgement that was overtaken by a later one's
	}
	s := known{version: r.Version, connectivity: r.Connectivity, acked: r.Acked, unsure: lost > 0}
	if r.Connectivity == "" {
		if len(h.states) == 0 {
			return // what else is in the twin is not known
		}
		s.connectivity = last.connectivity
	}
	h.known = true
	h.states = append(h.states, s)
	h.forget(r.Acked.Add(-tolerance - keepFor))
}

// forget drops states that are too old to matter to a query that is under way: all but the last of
// those acknowledged before a time.
func (h *history) forget(before time.Time) {
	first := max(0, len(h.states)-maxStates)
	for first+1 < len(h.states) && h.states[first+1].acked.Before(before) {
		first++
	}
	if first > 0 {
		h.states = append(h.states[:0], h.states[first:]...)
	}
}

// last is the last state that the target acknowledged.
func (h *history) last() (known, bool) {
	if len(h.states) == 0 {
		return known{}, false
	}
	return h.states[len(h.states)-1], true
}

// since are the states that the twin may have been in from a time on until now: the last that was
// acknowledged by then, and all later ones. sure is false when there may have been others.
func (h *history) since(from time.Time) (states []known, sure bool) {
	first := -1
	for i := range h.states {
		if h.states[i].acked.After(from) {
			break
		}
		first = i
	}
	sure = h.known && first >= 0 && len(h.sent) == 0
	states = h.states[max(first, 0):]
	for i := range states {
		sure = sure && (i == 0 || !states[i].unsure)
	}
	return states, sure
}
