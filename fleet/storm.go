package fleet

import (
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/schedule"
)

// Storm cuts the connections of a share, from 0 to 1, of the active devices of some groups, or of all when none is
// named, each at a random time within a span, without a word to the target. They come back as their back-off says. It
// returns at once with the number of devices that it will cut, those of other fleets among them. Devices that share a connection lose it
// together: the share is then of the connections that an active device has.
func (f *Fleet) Storm(share float64, within time.Duration, round int, groups ...string) int {
	return f.StormAt(time.Now(), share, within, round, groups...)
}

// StormAt is Storm for one that begins at a time, among the devices that are active then.
func (f *Fleet) StormAt(begin time.Time, share float64, within time.Duration, round int, groups ...string) (cut int) {
	f.CatchUp(begin)
	f.courses.moving.Lock()
	defer f.courses.moving.Unlock()
	hits := func(place int) bool {
		i := int(f.order[place])
		if len(groups) > 0 && !slices.Contains(groups, f.groups[f.groupOf[i]].Name) {
			return false
		}
		first, last := f.sharers(i)
		if first != i {
			return false // who is first speaks for all
		}
		for i := first; i < last; i++ {
			if f.isActive(i) {
				return true
			}
		}
		return false
	}
	for _, x := range f.calendar.Storm(round, len(f.order), hits, share, within) {
		first, last := f.sharers(int(f.order[x.Place]))
		for i := first; i < last; i++ {
			if !f.isActive(i) {
				continue
			}
			if d := f.devices[i].Load(); d == nil || d.cutAt(begin.Add(x.After)) {
				cut++
			}
		}
	}
	return cut
}

// isActive reports whether a device is started and not scaled away.
func (f *Fleet) isActive(i int) bool { return f.active.IsActive(int(f.places[i])) }

// sharers are the devices on a device's connection, in their order, itself among them: from first to before last.
func (f *Fleet) sharers(i int) (first, last int) {
	g := f.groups[f.groupOf[i]]
	first, last = schedule.Sharers(i-g.at, g.Shared, len(g.IDs))
	return g.at + first, g.at + last
}

// connection is the number of the connection that a device shares with others; 0 for one of its own.
func (d *device) connection() int {
	if d.group.Shared == 1 {
		return 0
	}
	first, _ := d.fleet.sharers(d.place)
	return d.group.First + first - d.group.at + 1
}

// cutAt has a storm cut the connection at a time; false when one cut is on its way to it already.
func (d *device) cutAt(at time.Time) bool {
	d.mu.Lock()
	fits := d.cut.IsZero()
	if fits {
		d.cut = at
	}
	d.mu.Unlock()
	d.tell()
	return fits
}
