package book

import (
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/internal/audience"
)

// message is one that is waited for, or of which copies may come that nobody waits for.
type message[T any] struct {
	value    T
	deadline time.Time
	slots    int       // copies that are to come
	left     int       // of which so many are waited for; while it is open
	filled   int       // and so many have come
	gone     int       // and so many were missed and have not come
	acked    time.Time // when the target acknowledged it; zero while it has not
	late     bool      // its time is up
	lost     bool      // and what has not come counts as missing

	seen []int // of one for anyone: subscribers that have it

	audience *audience.Audience // of any other
	had      bits               // slots that have a copy
	missed   bits               // slots whose subscriber was not there; nil for none
	holders  []int              // of groups: the member that has the group's copy, by group; nil for none
	further  map[int]int        // copies beyond the first that overlapping filters brought, by slot
}

// placing is where a copy belongs.
type placing uint8

const (
	surplus   placing = iota // nowhere: all that it may be have come
	awaited                  // it fills a slot
	unawaited                // it fills one that was missed
	further                  // overlapping filters brought it
	stranger                 // its subscriber has no slot
)

// place finds out where a copy belongs, and puts it there. A slot has one copy, the first that may be its; which one that is of several that
// a subscriber gets, for itself and as a member of groups, cannot be told: as many slots as can be have one.
func (m *message[T]) place(subscriber int) placing {
	if m.audience == nil {
		if slices.Contains(m.seen, subscriber) {
			return surplus
		}
		m.seen = append(m.seen, subscriber)
		if m.filled++; m.filled+m.gone > m.slots { // what was waited for is there
			m.gone--
			return unawaited
		}
		return awaited
	}
	if !m.audience.Has(subscriber) {
		return stranger
	}
	groups := m.groups(subscriber)
	for _, how := range []placing{awaited, unawaited, further} {
		if m.put(subscriber, groups, how, make(map[int]bool)) {
			return how
		}
	}
	return surplus
}

// groups are the slots of the groups that a subscriber is a member of.
func (m *message[T]) groups(subscriber int) (slots []int) {
	for i, g := range m.audience.Groups {
		if g.Has(subscriber) {
			slots = append(slots, len(m.audience.Own)+i)
		}
	}
	return slots
}

// put puts a copy where it is, or where the copy of another member of a group is, if there is room of a kind for that one. tried are the
// slots of groups that need no other look.
func (m *message[T]) put(subscriber int, groups []int, how placing, tried map[int]bool) bool {
	if slot, ok := m.audience.Of(subscriber); ok {
		switch {
		case how != further && m.room(slot, how):
			m.fill(slot)
			return true
		case how == further && m.had.has(slot) && m.further[slot] < m.audience.Copies(slot)-1:
			if m.further == nil {
				m.further = make(map[int]int)
			}
			m.further[slot]++
			return true
		}
	}
	for _, slot := range groups {
		if how != further && m.room(slot, how) {
			m.fill(slot)
			m.hold(slot, subscriber)
			return true
		}
	}
	for _, slot := range groups {
		if tried[slot] || !m.had.has(slot) {
			continue
		}
		tried[slot] = true
		if other := m.holders[slot-len(m.audience.Own)]; m.put(other, m.groups(other), how, tried) {
			m.hold(slot, subscriber)
			return true
		}
	}
	return false
}

// room reports whether a slot has no copy and is of a kind.
func (m *message[T]) room(slot int, how placing) bool {
	return !m.had.has(slot) && m.missed.has(slot) == (how == unawaited)
}

func (m *message[T]) fill(slot int) {
	m.had.set(slot)
	m.filled++
	if m.missed.has(slot) {
		m.gone--
	}
}

func (m *message[T]) hold(slot, member int) {
	if m.holders == nil {
		m.holders = make([]int, len(m.audience.Groups))
	}
	m.holders[slot-len(m.audience.Own)] = member
}

// whole reports whether all copies have come that may, so that any other is a duplicate.
func (m *message[T]) whole() bool {
	if m.filled < m.slots {
		return false
	}
	if m.audience == nil || !m.audience.Overlap() {
		return true
	}
	for slot := range m.audience.Own {
		if m.further[slot] < m.audience.Copies(slot)-1 {
			return false
		}
	}
	return true
}

// lacking is how many copies have not come that may, and whose subscribers were there.
func (m *message[T]) lacking() int { return m.slots - m.filled - m.gone }

// miss notes that nobody is there for a slot; n is how many copies are waited for no more.
func (m *message[T]) miss(slot int) (n int) {
	if m.had.has(slot) || m.missed.has(slot) {
		return 0
	}
	if m.missed == nil {
		m.missed = newBits(m.slots)
	}
	m.missed.set(slot)
	m.gone++
	return 1
}

// missing notes which of those that have no copy were away: subscribers, groups of which nobody was there, and groups of which a member left, who
// may have been the one that was sent it. A member that was gone before was not.
func (m *message[T]) missing(presence func(subscriber int) Presence) (n int) {
	for slot, o := range m.audience.Own {
		if !m.had.has(slot) && presence(o.Subscriber) != There {
			n += m.miss(slot)
		}
	}
	for i, g := range m.audience.Groups {
		slot := len(m.audience.Own) + i
		if m.had.has(slot) {
			continue
		}
		if away(g, presence) {
			n += m.miss(slot)
		}
	}
	return n
}

// away reports whether a group was.
func away(g *audience.Group, presence func(subscriber int) Presence) bool {
	left := slices.ContainsFunc(g.Members, func(s int) bool { return presence(s) == Left })
	return left || !slices.ContainsFunc(g.Members, func(s int) bool { return presence(s) != Gone })
}

// excuse notes, of a message for anyone, how many copies may not have come because who was to get them was away: no more are missing than subscribers, and
// groups, of its audience were there and have none. An audience that is smaller than the message is for is not all who listen.
func (m *message[T]) excuse(all *audience.Audience, presence func(subscriber int) Presence) (n int) {
	if all == nil || all.Slots() < m.slots {
		return 0
	}
	has := func(s int) bool { return slices.Contains(m.seen, s) }
	there := all.Slots() - m.filled
	for _, o := range all.Own {
		if !has(o.Subscriber) && presence(o.Subscriber) != There {
			there--
		}
	}
	for _, g := range all.Groups {
		if !slices.ContainsFunc(g.Members, has) && away(g, presence) {
			there--
		}
	}
	n = max(0, m.left-max(0, there))
	m.gone += n
	return n
}

// bits are small numbers, in as little space as they need.
type bits []uint64

func newBits(n int) bits { return make(bits, (n+63)/64) }

func (b bits) has(n int) bool { return n/64 < len(b) && b[n/64]>>(n%64)&1 == 1 }

func (b bits) set(n int) { b[n/64] |= 1 << (n % 64) }
