package fleet

import (
	"context"
	"errors"
	"sync/atomic"
)

// Reach is how far the devices of a group came on their way to the target, whether or not they were lost since.
type Reach struct {
	Group      string // its name
	Provisions bool   // it has its devices assigned to a hub: see Provisioning
	Devices    int    // that were started
	Assigned   int    // of them: that were assigned to a hub at least once; 0 unless Provisions
	Tried      int    // of them: that connected, or failed to, at least once; those whose first connection was cut short by the end have not
	Connected  int    // of Tried: that connected at least once, and had what they subscribe to
	Inherited  int    // of Devices: of whom the target had a session that is none of this fleet, as far as it tells: see Group.Kept
	Repeated   int    // times that a device was assigned once more because the hub refused its identity
}

// tally counts how far devices came.
type tally struct{ started, assigned, tried, connected, repeated, inherited atomic.Int64 }

// count counts something of the device, in its group and among those that were taken over with it.
func (d *device) count(what func(*tally)) {
	what(&d.group.tally)
	if d.adopted != nil {
		what(&d.adopted.tallies[d.group.number])
	}
}

// noteArrived keeps that the device is connected to the target.
func (d *device) noteArrived() {
	d.reassigned = 0
	d.noteTried(nil)
	if !d.everArrived {
		d.everArrived = true
		d.count(func(t *tally) { t.connected.Add(1) })
	}
}

// noteTried keeps that the device has connected, or why it has not. A registration that failed is no try, nor is what the end cuts short.
func (d *device) noteTried(failed error) {
	if d.everTried || errors.As(failed, new(unassignedError)) || failed != nil && context.Cause(d.fleet.ctx) != nil {
		return
	}
	d.everTried = true
	d.count(func(t *tally) { t.tried.Add(1) })
}

// Reach is how far the devices of each group came, in the order of the groups. A process that runs a part of them knows of these.
func (f *Fleet) Reach() []Reach { return f.reach(func(g *group) *tally { return &g.tally }) }

// reach is Reach by what counts each group.
func (f *Fleet) reach(of func(*group) *tally) []Reach {
	all := make([]Reach, 0, len(f.groups))
	for _, g := range f.groups {
		t := of(g)
		all = append(all, Reach{
			Group: g.Name, Provisions: g.Provision != nil, Devices: int(t.started.Load()), Assigned: int(t.assigned.Load()),
			Tried: int(t.tried.Load()), Connected: int(t.connected.Load()), Repeated: int(t.repeated.Load()), Inherited: int(t.inherited.Load()),
		})
	}
	return all
}
