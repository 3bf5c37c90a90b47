// Package roster is which devices of a fleet are there: who comes next, who goes, of a group or of all.
package roster

import (
	"cmp"
	"iter"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/schedule"
)

// Everyone is the group of a Move of whoever is next.
const Everyone = -1

// Move is a device that comes or goes.
type Move struct {
	At    time.Duration // from the start of the moves
	Group int           // whose device; Everyone for whoever is next in the order of all
	Up    bool          // one starts; otherwise one stops
}

// Toward are the moves, of whoever is next, that the steps of a number of devices take, which begins as from.
func Toward(from int, steps iter.Seq[schedule.Step]) iter.Seq[Move] {
	return func(yield func(Move) bool) {
		count := from
		for step := range steps {
			m := Move{step.At, Everyone, step.Count > count}
			if count = step.Count; !yield(m) {
				return
			}
		}
	}
}

// Roster is which devices of a fleet are active. They start in the order of the fleet and stop the other way round:
// whoever comes next is the first in it that is not active, of a group or of all, and whoever goes is the last that is.
// So the active devices of a group are always its first. Places are those in the order, from 0.
type Roster struct {
	*line
	active []int // of a group: so many of its first places are
	count  int
}

// line is the order of a fleet, which its rosters share: it is never changed.
type line struct {
	groups []int32   // of a place
	places [][]int32 // of a group, ascending
	ranks  []int32   // of a place in its group
}

// New is a fleet of which no device is active: order has the indexes of the devices in their order, and groups the group,
// from 0, of each device by its index.
func New(order, groups []int) *Roster {
	l := &line{groups: make([]int32, len(order)), ranks: make([]int32, len(order))}
	for place, index := range order {
		g := groups[index]
		l.groups[place] = int32(g)
		for len(l.places) <= g {
			l.places = append(l.places, nil)
		}
		l.ranks[place] = int32(len(l.places[g]))
		l.places[g] = append(l.places[g], int32(place))
	}
	return &Roster{line: l, active: make([]int, len(l.places))}
}

// Clone is a roster of the same fleet with the same devices active, which changes by itself.
func (r *Roster) Clone() *Roster {
	return &Roster{line: r.line, active: slices.Clone(r.active), count: r.count}
}

// Place is where the n-th device of a group, counted from 0, stands in the order.
func (r *Roster) Place(group, n int) int { return int(r.places[group][n]) }

// Active is how many devices are active.
func (r *Roster) Active() int { return r.count }

// ActiveOf is how many of a group are.
func (r *Roster) ActiveOf(group int) int {
	if group >= len(r.active) {
		return 0 // a group without devices
	}
	return r.active[group]
}

// IsActive reports whether the device of a place is active.
func (r *Roster) IsActive(place int) bool { return int(r.ranks[place]) < r.active[r.groups[place]] }

// Move lets a device come or go and returns its place; ok is false when there is none.
func (r *Roster) Move(group int, up bool) (place int, ok bool) {
	place = -1
	for g := range r.places {
		if group != Everyone && g != group {
			continue
		}
		switch n := r.active[g]; {
		case up && n < len(r.places[g]) && (place < 0 || r.Place(g, n) < place):
			place = r.Place(g, n)
		case !up && n > 0 && r.Place(g, n-1) > place:
			place = r.Place(g, n-1)
		}
	}
	if place < 0 {
		return 0, false
	}
	change := -1
	if up {
		change = 1
	}
	r.active[r.groups[place]] += change
	r.count += change
	return place, true
}

// Bring brings the whole fleet to a number of active devices, as far as there are so many.
func (r *Roster) Bring(n int) {
	for ok := true; ok && r.count != n; {
		_, ok = r.Move(Everyone, r.count < n)
	}
}

// BringGroups brings groups to numbers of active devices; those below 0 stay as they are.
func (r *Roster) BringGroups(goals []int) {
	for _, m := range r.Moves(goals, 0) {
		r.Move(m.Group, m.Up)
	}
}

// Moves are when devices come and go so that each group goes to a number of its own, evenly over a time, as Curve.Steps
// says. goals has the number of each group; those below 0 stay as they are.
func (r *Roster) Moves(goals []int, over time.Duration) []Move {
	var all []Move
	for g, goal := range goals {
		if goal < 0 {
			continue
		}
		from := r.ActiveOf(g)
		for step := range (schedule.Curve{{Duration: over, From: float64(from), To: float64(goal)}}).Steps(from) {
			all = append(all, Move{step.At, g, goal > from})
		}
	}
	slices.SortStableFunc(all, func(a, b Move) int { return cmp.Compare(a.At, b.At) })
	return all
}
