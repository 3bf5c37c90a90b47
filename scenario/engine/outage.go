package engine

import (
	"time"

	"github.com/twinfleet/twinfleet/internal/report"
	"github.com/twinfleet/twinfleet/metrics"
)

// An outage begins when at least one device in outageShare has lost its connection unasked,
// and ends when all but one in outageShare of those connected before are back.
const outageShare = 100

// maxReturns bounds the points of a reconnect curve; a longer one has wider intervals.
const maxReturns = 240

// look is one sample of the fleet.
type look struct {
	at        time.Duration
	connected int
	lost      int           // devices that have lost a connection and are not yet back
	losses    int           // connections lost so far
	returns   int           // devices that came back so far
	left      int           // devices stopped so far while they were gone
	since     time.Duration // when what is new in it may have begun: the last sample, or the stage's begin after it
}

// outageFinder finds outages in a series of samples. It is a pure function of what it is fed.
type outageFinder struct {
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
func (f *outageFinder) add(x look) {
	if f.over {
		return
	}
	tolerated := (x.connected + x.lost) / outageShare
	// Devices may be back before anybody looks.
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
		if max(x.lost, x.losses-f.losses) <= f.before/outageShare {
			// Who was stopped meanwhile did not come back, and will not.
			f.now.Recovered = f.now.Left <= f.before/outageShare
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
func (f *outageFinder) point(o *report.Outage, x look) {
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
func (f *outageFinder) end(at time.Duration) []report.Outage {
	if f.open {
		f.now.To = at
		f.found = append(f.found, f.now)
		f.open = false
	}
	f.over = true
	return f.found
}

// endOutages looks once more when the last stage is over, and closes what is open: devices that are stopped do not come back.
func (e *Engine) endOutages() {
	e.watching.Lock()
	defer e.watching.Unlock()
	e.findOutage()
	at := e.since()
	found := e.outages.end(at)
	e.record.write(func(r *report.Run) { r.Outages = found })
	e.recovery.EndBecause(e.began().Add(at), metrics.Unanswered, "99 % of the devices were not back when the last stage ended")
	e.recovery = metrics.Started{}
}
