package agent

import (
	"sync"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/swarm/protocol"
)

// adopted are the devices that an agent took over, by the agent that they were lost with. The zero value is none.
type adopted struct {
	mu   sync.Mutex // protects the following fields
	from map[string]*adoption
	of   map[int]*adoption // by index
}

// adoption is devices that were lost with one agent.
type adoption struct {
	devices   *fleet.Adoption // nil for none
	done      bool            // devices is known
	reporters int             // with a report that was acknowledged since
}

// expect says which devices are about to be taken over.
func (a *adopted) expect(lost string, indexes []int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	x := a.entryLocked(lost)
	for _, i := range indexes {
		a.of[i] = x
	}
}

// add says that devices, which may be none, were taken over.
func (a *adopted) add(lost string, devices *fleet.Adoption) {
	a.mu.Lock()
	defer a.mu.Unlock()
	x := a.entryLocked(lost)
	x.devices, x.done = devices, true
}

func (a *adopted) entryLocked(lost string) *adoption {
	if a.from == nil {
		a.from, a.of = make(map[string]*adoption), make(map[int]*adoption)
	}
	if a.from[lost] == nil {
		a.from[lost] = new(adoption)
	}
	return a.from[lost]
}

// reports notes that a device has had a report acknowledged for the first time.
func (a *adopted) reports(index int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if x := a.of[index]; x != nil {
		x.reporters++
	}
}

// status is what became of them.
func (a *adopted) status() (all map[string]protocol.Adopted) {
	a.each(func(lost string, x *adoption) {
		if all == nil {
			all = make(map[string]protocol.Adopted)
		}
		s := protocol.Adopted{Reporters: x.reporters}
		if d := x.devices; d != nil {
			s.Active, s.Back, s.Left = d.Active(), d.Back(), d.Left()
		}
		all[lost] = s
	})
	return all
}

// reach is how far they came.
func (a *adopted) reach() (all map[string][]fleet.Reach) {
	a.each(func(lost string, x *adoption) {
		if x.devices == nil {
			return
		}
		if all == nil {
			all = make(map[string][]fleet.Reach)
		}
		all[lost] = x.devices.Reach()
	})
	return all
}

// each is told of those that were taken over.
func (a *adopted) each(told func(lost string, x *adoption)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for lost, x := range a.from {
		if x.done {
			told(lost, x)
		}
	}
}
