package front

import "github.com/twinfleet/twinfleet/internal/hub/filters"

// Session is what a Front keeps of a device or module, for people who look.
type Session struct {
	Connected bool           // there is a connection now
	Kept      bool           // the session is not clean: its filters outlive the connection
	Waiting   int            // cloud-to-device messages that wait, with those under way
	Filters   []filters.Kind // what it listens to, now or when it comes back
}

// Session tells of one device or module, by its client id; the zero value for one that never came.
func (f *Front) Session(client string) Session {
	s := f.shard(client)
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.devices[client]
	if d == nil {
		return Session{}
	}
	out := Session{Connected: d.conn != nil, Kept: d.kept, Waiting: d.queue.Len()}
	set := d.filters
	if d.conn != nil {
		d.conn.mu.Lock()
		set = d.conn.filters
		d.conn.mu.Unlock()
	}
	for kind, granted := range set {
		if granted != 0 {
			out.Filters = append(out.Filters, filters.Kind(kind))
		}
	}
	return out
}

// Sessions counts sessions.
type Sessions struct {
	Connected int // devices and modules with a connection
	Kept      int // sessions that are not clean
	Away      int // of them those whose device is not connected
	Waiting   int // cloud-to-device messages that wait for their devices
}

// Sessions counts them by a walk over all, in some milliseconds for 100,000: to be asked now and then.
func (f *Front) Sessions() (n Sessions) {
	for i := range f.shards {
		s := &f.shards[i]
		s.mu.Lock()
		for _, d := range s.devices {
			n.Waiting += d.queue.Len()
			if d.conn != nil {
				n.Connected++
			}
			if d.kept {
				n.Kept++
				if d.conn == nil {
					n.Away++
				}
			}
		}
		s.mu.Unlock()
	}
	return n
}
