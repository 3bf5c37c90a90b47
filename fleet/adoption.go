package fleet

import "sync/atomic"

// Adoption is devices that a fleet took over from another, and what became of them. Its methods may be called from any goroutine.
type Adoption struct {
	fleet      *Fleet
	active     int // before anyone but Fleet.Adopt has it
	back, left atomic.Int64
	tallies    []tally // by the number of the group
}

// Active is how many of the devices were to run when they were taken over.
func (a *Adoption) Active() int { return a.active }

// Back is how many of Active were connected since.
func (a *Adoption) Back() int { return int(a.back.Load()) }

// Left is how many of Active were stopped before they were connected, other than at the end of all.
func (a *Adoption) Left() int { return int(a.left.Load()) }

// Reach is what of Fleet.Reach is these devices.
func (a *Adoption) Reach() []Reach {
	return a.fleet.reach(func(g *group) *tally { return &a.tallies[g.number] })
}

// regained notes that a device which was taken over is connected, or was stopped before.
func (d *device) regained(back bool) {
	switch {
	case !d.missing:
		return
	case back:
		d.adopted.back.Add(1)
	case !d.fleet.finished():
		d.adopted.left.Add(1)
	}
	d.missing = false
}
