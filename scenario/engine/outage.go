package engine

import (
	"time"

	"github.com/twinfleet/twinfleet/internal/report"
)

// An outage begins when at least one device in outageShare has lost its connection unasked,
// and ends when all but one in outageShare of those connected before are back.
const outageShare = 100

// outageFinder finds outages in a series of samples. It is a pure function of what it is fed.
type outageFinder struct {
	before int // devices connected when all was well
	calm   int // connections lost before the outage that is open
	open   bool
	now    report.Outage
	found  []report.Outage
}

// add takes one sample: how many devices are connected, how many have lost a connection and are not
// yet back, and how many connections were lost so far.
func (f *outageFinder) add(at time.Duration, connected, lost, losses int) {
	tolerated := (connected + lost) / outageShare
	switch {
	case !f.open && lost > tolerated:
		f.open = true
		f.before = connected + lost
		f.now = report.Outage{From: at, To: at, Lost: lost, Total: losses - f.calm}
	case f.open:
		f.now.Lost = max(f.now.Lost, lost)
		f.now.Total = losses - f.calm
		f.now.To = at
		if lost <= f.before/outageShare {
			f.now.Recovered = true
			f.found = append(f.found, f.now)
			f.open = false
		}
	}
	if !f.open {
		f.calm = losses
	}
}

// end closes an outage that is still open and returns all that were found.
func (f *outageFinder) end(at time.Duration) []report.Outage {
	if f.open {
		f.now.To = at
		f.found = append(f.found, f.now)
		f.open = false
	}
	return f.found
}
