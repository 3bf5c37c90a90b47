package fleet

import (
	"errors"

	"github.com/twinfleet/twinfleet/internal/audience"
)

// errAudience is returned for a fleet whose messages are for every subscriber, of whom some are not known by their ids.
var errAudience = errors.New("deliveries to every subscriber need the ids of all who listen")

// addAudiences finds out who listens to what, when messages are for every subscriber.
func (f *Fleet) addAudiences() (err error) {
	for _, g := range f.groups {
		for _, k := range g.kinds {
			if k.Deliveries == everySubscriber {
				f.audiences, err = f.index()
				return err
			}
		}
	}
	return nil
}

// index is who listens to what.
func (f *Fleet) index() (*audience.Index, error) {
	var all []audience.Subscriber
	for _, g := range f.groups {
		if !g.Listens || g.protocol.Twins() {
			continue
		}
		for i, id := range g.IDs {
			if id == "" {
				return nil, errAudience
			}
			s := audience.Subscriber{Index: g.First + i}
			for _, filter := range f.filtersOf(g, s.Index, id) {
				s.Filters = append(s.Filters, filter.Topic)
				s.NoLocal = s.NoLocal || filter.NoLocal
			}
			all = append(all, s)
		}
	}
	return audience.New(all), nil
}

// mostHearers is of how many subscribers at most a fleet finds out who listens to what while it runs: that holds its devices up for tens of milliseconds.
const mostHearers = 10_000

// known is who listens to what, for messages that any subscribers may get; nil when nobody knows, or there are too many. It is asked when the first message
// has not come, and then kept.
func (f *Fleet) known() *audience.Index {
	if f.audiences != nil || f.listeners.Load() > mostHearers {
		return f.audiences
	}
	x, err := f.index()
	if err != nil {
		return nil
	}
	return x
}

// hearers is who may get the messages of an account that any subscribers may get, as far as is known. The caller holds the lock.
func (d *device) hearers(a *account) *audience.Audience {
	if a.hearers == nil && !d.group.protocol.Twins() {
		if x := d.fleet.heard(); x != nil {
			a.hearers = x.Of(d.topicOf(a.kind), d.index)
		}
	}
	return a.hearers
}
