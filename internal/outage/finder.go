// Package outage finds the times in which devices had lost their connections, and measures how they come back.
package outage

import (
	"time"

	"github.com/twinfleet/twinfleet/report"
)

// An outage begins when at least one device in share has lost its connection unasked,
// and ends when all but one in share of those connected before are back.
const share = 100

// maxReturns bounds the points of a reconnect curve; a longer one has wider intervals.
const maxReturns = 240

// state is how the fleet was at a time.
type state struct {
	at        time.Duration
	connected int
	lost      int           // devices that have lost a connection and are not yet back
	losses    int           // connections lost so far
	returns   int           // devices that came back so far
	left      int           // devices stopped so far while they were gone
	since     time.Duration // when what is new in it may have begun: the last sample, or the stage's begin after it
}

// finder finds outages in a series of samples. It is a pure function of what it is fed.
type finder struct {
	before int  // devices connected when all was well
	calm   int  // connections lost, and back, before the outage that is open
	back   int  // devices that had come back at the last sample
	losses int  // connections lost at the last sample
	left   int  // devices stopped while they were gone, before the outage that is open
	over   bool // nothing counts any more
	open   bool
	tail   bool // the last of found is over, but not all of its devices are back
	now    report.Outage
	found  []report.Outage
}

// add takes one sample, unless it comes after the end.
func (f *finder) add(x state) {
	if f.over {
		return
	}
	tolerated := (x.connected + x.lost) / share
	// Devices may be back before the next poll.
	fell := max(x.lost, x.losses-f.losses)
	switch {
	case !f.open && fell > tolerated:
		f.open, f.tail = true, false
		f.before = x.connected + x.lost
		f.now = report.Outage{From: x.since, To: x.at, Lost: fell, Total: x.losses - f.calm, Every: time.Second}
		f.point(&f.now, x)
	case f.open:
		f.now.Lost = max(f.now.Lost, x.lost)
		f.now.Total = x.losses - f.calm
		f.now.To, f.now.Left = x.at, x.left-f.left
		f.point(&f.now, x)
		if max(x.lost, x.losses-f.losses) <= f.before/share {
			// Who was stopped meanwhile did not come back, and will not.
			f.now.Recovered = f.now.Left <= f.before/share
			f.found = append(f.found, f.now)
			f.open, f.tail = false, f.now.Recovered
		}
	case f.tail:
		f.point(&f.found[len(f.found)-1], x)
	}
	if f.tail && x.lost == 0 {
		last := &f.found[len(f.found)-1]
		last.AllBack = x.at - last.From
		f.tail = false
	}
	f.back, f.losses = x.returns, x.losses
	if !f.open {
		f.calm = x.losses - x.lost // those who are gone are the first of an outage, if one follows
		f.left = x.left
	}
}

// point adds a sample to the reconnect curve of an outage.
func (f *finder) point(o *report.Outage, x state) {
	i := int((x.at - o.From) / o.Every)
	for i >= maxReturns {
		half := o.Returns[:0]
		for k := 0; k < len(o.Returns); k += 2 {
			sum := o.Returns[k]
			if k+1 < len(o.Returns) {
				sum += o.Returns[k+1]
			}
			half = append(half, sum)
		}
		o.Returns, o.Every = half, 2*o.Every
		i = int((x.at - o.From) / o.Every)
	}
	for len(o.Returns) <= i {
		o.Returns = append(o.Returns, 0)
	}
	o.Returns[i] += x.returns - f.back
}

// end closes an outage that is still open and returns all that were found.
func (f *finder) end(at time.Duration) []report.Outage {
	if f.open {
		f.now.To = at
		f.found = append(f.found, f.now)
		f.open = false
	}
	f.over = true
	return f.found
}
