package devices

import (
	"github.com/twinfleet/twinfleet/internal/hub/filters"
)

// Resumed is what an MQTT connection finds of its session.
type Resumed struct {
	Present bool        // there is a session from before
	Filters filters.Set // of it
	durable Durable
	table   *Table
}

// Durable waits until the session is kept as it is: before, it must not be acknowledged.
func (r Resumed) Durable() error { return r.durable.Wait(r.table.ctx) }

// Resume is Attach for an MQTT connection: a session that is not clean gets its filters back, and nothing outlives a clean one.
func (t *Table) Resume(client string, o Outlet, clean bool, check func() error) (Resumed, error) {
	r := Resumed{table: t}
	err := t.attach(client, o, check, func(d *state) {
		r.Present = !clean && d.kept
		if clean {
			t.keepFilters(client, d, filters.Set{})
		}
		d.kept = !clean
		r.durable, r.Filters = d.durable, d.filters
	})
	return r, err
}

// Keep makes filters those of the kept session of an outlet's device, and returns when they are.
func (t *Table) Keep(client string, o Outlet, set filters.Set) error {
	var durable Durable
	t.existing(client, func(d *state) {
		if d.outlet == o {
			t.keepFilters(client, d, set)
			durable = d.durable
		}
	})
	return durable.Wait(t.ctx)
}

// Listens reports whether a device with so many filters listens to a kind.
func Listens(set filters.Set, kind Kind) bool {
	switch kind {
	case TwinResponses:
		return set[filters.TwinResponses] != 0
	case Desired:
		return set[filters.Desired] != 0
	case Methods:
		return set[filters.Methods] != 0
	case Messages:
		return set[filters.C2D] != 0 || set[filters.Module] != 0
	case Inputs:
		return set[filters.Module] != 0 || set[filters.ModuleInputs] != 0
	default:
		return false
	}
}

// Session is what a Table keeps of a device or module, for people who look.
type Session struct {
	Connected bool   // it has an outlet now
	Kept      bool   // there is an MQTT session that is not clean: its filters outlive the connection
	Waiting   int    // cloud-to-device messages that wait, with those under way
	Listens   []Kind // what it listens to, now or when it comes back
}

// Session tells of one device or module, by its client id; the zero value for one that never came.
func (t *Table) Session(client string) Session {
	s := t.shard(client)
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.devices[client]
	if d == nil {
		return Session{}
	}
	out := Session{Connected: d.outlet != nil, Kept: d.kept, Waiting: d.messages()}
	for kind := range kinds {
		if d.outlet != nil && d.outlet.Listens(kind) || d.outlet == nil && Listens(d.filters, kind) {
			out.Listens = append(out.Listens, kind)
		}
	}
	return out
}

// Sessions counts what is remembered.
type Sessions struct {
	Connected int // devices and modules with an outlet
	Kept      int // MQTT sessions that are not clean
	Away      int // of them those whose device is not connected
	Waiting   int // cloud-to-device messages that wait for their devices
}

// Sessions counts them by a walk over all, in some milliseconds for 100,000: to be asked now and then.
func (t *Table) Sessions() (n Sessions) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for _, d := range s.devices {
			n.Waiting += d.messages()
			if d.outlet != nil {
				n.Connected++
			}
			if d.kept {
				n.Kept++
				if d.outlet == nil {
					n.Away++
				}
			}
		}
		s.mu.Unlock()
	}
	return n
}

// Remembered is of how many devices and modules there is something to remember: an outlet, a session, messages, or calls.
func (t *Table) Remembered() int {
	n := 0
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		n += len(s.devices)
		s.mu.Unlock()
	}
	return n
}
