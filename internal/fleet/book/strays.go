package book

import (
	"maps"
	"slices"
	"time"
)

// strays are messages of which copies may come that nobody waits for: their time was up, or nobody waited from the beginning. Without them a
// copy that comes late looks like one that comes twice.
type strays[T any] struct {
	kept  map[int64]*message[T] // by turn
	slots int                   // of all of them
	floor int64                 // of the turns below nothing else is known but
	lost  tally                 // how many copies count as missing
}

const (
	mostStrays = 1024   // that are kept, as a rule
	slotsEach  = 1 << 9 // and how many slots these have in the middle at most, unless one alone has more
)

// keep keeps a message; the older half of those that were kept is forgotten where they are too many.
func (s *strays[T]) keep(turn int64, m *message[T], most int) {
	var none T
	m.value, m.deadline = none, time.Time{} // it may hold much
	if s.kept == nil {
		s.kept = make(map[int64]*message[T])
	}
	if len(s.kept) >= most || len(s.kept) > 0 && s.slots+m.slots > most*slotsEach {
		s.forget(most/2, most*slotsEach/2-m.slots)
	}
	s.kept[turn] = m
	s.slots += m.slots
}

// forget forgets the oldest, until no more are left than there may be, nor have more slots.
func (s *strays[T]) forget(most, slots int) {
	for _, turn := range slices.Sorted(maps.Keys(s.kept)) {
		if len(s.kept) <= most && s.slots <= slots {
			return
		}
		if m := s.kept[turn]; m.lost {
			s.lost.add(turn, m.lacking())
		}
		s.drop(turn)
		s.floor = max(s.floor, turn+1)
	}
}

// drop takes a message away, as when all its copies have come.
func (s *strays[T]) drop(turn int64) {
	s.slots -= s.kept[turn].slots
	delete(s.kept, turn)
}

// tally counts by turn. It has a page for each 64 turns, which has a word for each binary digit of the greatest count: of a count of one, a bit
// a turn.
type tally map[int64][]uint64

// add adds to the count of a turn.
func (t *tally) add(turn int64, n int) {
	if n <= 0 {
		return
	}
	if *t == nil {
		*t = make(tally)
	}
	page, bit := (*t)[turn/64], uint64(1)<<(turn%64)
	for digit := 0; n > 0; digit++ {
		if digit == len(page) {
			page = append(page, 0)
		}
		if page[digit]&bit != 0 {
			n++
		}
		page[digit] &^= bit
		if n&1 == 1 {
			page[digit] |= bit
		}
		n >>= 1
	}
	(*t)[turn/64] = page
}

// take takes one from the count of a turn; it is false when there is none.
func (t tally) take(turn int64) bool {
	page, bit := t[turn/64], uint64(1)<<(turn%64)
	for digit := range page {
		if page[digit]&bit == 0 {
			continue
		}
		page[digit] &^= bit
		for lower := range digit {
			page[lower] |= bit
		}
		for _, word := range page {
			if word != 0 {
				return true
			}
		}
		delete(t, turn/64)
		return true
	}
	return false
}
