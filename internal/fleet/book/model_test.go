package book_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/internal/audience"
	"github.com/twinfleet/twinfleet/internal/fleet/book"
)

// model is the account by its definition: it keeps all that happened to a message, and reckons anew from that each time.
type model struct {
	anyone, listeners int
	messages          map[int64]*history
	known             bool // who hears what is for anyone: the listeners
	varies            bool // the audience, from message to message
	counts            book.Counts
}

// history is all that happened to a message.
type history struct {
	slots    []place
	deadline int
	acked    bool
	why      book.Why // how the account ended of what had not come; 0 while it is open
	lost     bool
	copies   []int // subscribers, as they came
}

// place is a copy that is to come.
type place struct {
	who    []int // may get it; nil for anyone
	own    bool
	copies int // that may come
	missed bool
}

// score is what copies fill at best: as many slots that are waited for as can be, then as many as can be of others, then what overlaps.
type score [3]int

func (a score) less(b score) bool { return slices.Compare(a[:], b[:]) < 0 }

// best tries all ways to put copies.
func (h *history) best(copies []int, used []int) score {
	if len(copies) == 0 {
		return score{}
	}
	best := h.best(copies[1:], used)
	for i, s := range h.slots {
		if s.who != nil && !slices.Contains(s.who, copies[0]) || used[i] == s.copies {
			continue
		}
		used[i]++
		got := h.best(copies[1:], used)
		used[i]--
		switch {
		case used[i] > 0:
			got[2]++
		case s.missed:
			got[1]++
		default:
			got[0]++
		}
		if best.less(got) {
			best = got
		}
	}
	return best
}

func (h *history) filled() score {
	copies := h.copies
	if h.anyone() { // of one subscriber one counts
		copies = slices.Compact(slices.Sorted(slices.Values(copies)))
	}
	return h.best(copies, make([]int, len(h.slots)))
}

func (h *history) anyone() bool { return len(h.slots) > 0 && h.slots[0].who == nil }

// forgotten reports whether all copies have come that may.
func (h *history) forgotten() bool {
	n, most := h.filled(), 0
	for _, s := range h.slots {
		most += s.copies
	}
	return most > 0 && n[0]+n[1]+n[2] == most
}

// left is how many slots are waited for and empty.
func (h *history) left() int {
	n := 0
	for _, s := range h.slots {
		if !s.missed {
			n++
		}
	}
	return n - h.filled()[0]
}

func (h *history) open() bool { return h.why == 0 && h.left() > 0 }

// had are the turns of which a subscriber has a copy.
func (m *model) had(subscriber int) (turns []int64) {
	for turn, h := range m.messages {
		if slices.Contains(h.copies, subscriber) {
			turns = append(turns, turn)
		}
	}
	return turns
}

func (m *model) arrived(turn int64, subscriber, at int) (a book.Arrival[int]) {
	h := m.messages[turn]
	if !h.anyone() && !slices.ContainsFunc(h.slots, func(p place) bool { return slices.Contains(p.who, subscriber) }) {
		if a.Verdict = book.Stranger; m.varies && h.forgotten() {
			a.Verdict = book.Duplicate
			m.counts.Duplicates++
		}
		return a
	}
	had, before, open := m.had(subscriber), h.filled(), h.open()
	full := h.anyone() && before[0]+before[1] == len(h.slots)
	h.copies = append(h.copies, subscriber)
	after := h.filled()
	first := false
	switch {
	case full && m.listeners != m.anyone:
		h.copies = h.copies[:len(h.copies)-1]
		return a
	case after == before:
		a.Verdict = book.Duplicate
		m.counts.Duplicates++
	case after[2] > before[2]:
		a.Verdict = book.Further
	default:
		first = true
		a.Verdict = book.Unawaited
		if after[0] == before[0] {
			break
		}
		if open {
			a.Verdict, a.Ends, a.Value = book.First, true, int(turn)
		}
		if open && at > h.deadline || h.why == book.TimedOut {
			a.Verdict = book.Late
			m.counts.Late++
		}
		if h.lost {
			m.counts.Missing--
		}
	}
	if !first {
		h.copies = h.copies[:len(h.copies)-1]
		if a.Verdict == book.Further {
			h.copies = append(h.copies, subscriber)
		}
		return a
	}
	if len(had) > 0 && turn < slices.Max(had) {
		a.OutOfOrder = true
		m.counts.OutOfOrder++
	}
	return a
}

func (m *model) end(turn int64, why book.Why) []book.Ended[int] {
	h := m.messages[turn]
	if !h.open() {
		return nil
	}
	n := h.left()
	h.why = why
	return []book.Ended[int]{{Turn: turn, Value: int(turn), Copies: n, Why: why, Missing: h.lost}}
}

// miss is for slots of one's own.
func (m *model) miss(turn int64, subscriber int) []book.Ended[int] {
	h := m.messages[turn]
	open, n := h.open(), 0
	for i := range h.slots {
		if s := &h.slots[i]; s.own && s.who[0] == subscriber && !s.missed && !slices.Contains(h.copies, subscriber) {
			s.missed = true
			n++
		}
	}
	if n == 0 {
		return nil
	}
	if !open {
		if h.lost {
			m.counts.Missing -= int64(n)
		}
		return nil
	}
	return []book.Ended[int]{{Turn: turn, Value: int(turn), Copies: n, Why: book.Absent}}
}

// excuse is for messages for anyone: copies that those who are away, and have none, may lack.
func (m *model) excuse(h *history, away []int) (n int) {
	if !m.known {
		return 0
	}
	there := 0
	for s := range m.listeners {
		if !slices.Contains(h.copies, s) && !slices.Contains(away, s) {
			there++
		}
	}
	n = max(0, h.left()-there)
	for i := range n { // whichever: they are alike
		h.slots[len(h.slots)-1-i].missed = true
	}
	return n
}

func (m *model) turns() []int64 {
	var all []int64
	for turn := range m.messages {
		all = append(all, turn)
	}
	slices.Sort(all)
	return all
}

func (m *model) sweep(now int, away []int) (all []book.Ended[int]) {
	for _, turn := range m.turns() {
		h := m.messages[turn]
		if !h.open() || h.deadline > now {
			continue
		}
		n := 0
		if h.anyone() {
			n = m.excuse(h, away)
		}
		for _, s := range away {
			for _, e := range m.miss(turn, s) {
				n += e.Copies
			}
		}
		if n > 0 {
			all = append(all, book.Ended[int]{Turn: turn, Value: int(turn), Copies: n, Why: book.Absent})
		}
		if h.open() {
			h.lost = h.acked
			if h.lost {
				m.counts.Missing += int64(h.left())
			}
			all = append(all, m.end(turn, book.TimedOut)...)
		}
	}
	return all
}

const subscribers = 4

// audiences draws one: of subscribers of its own, or of groups too.
func audiences(t *rapid.T, groups bool) *audience.Audience {
	var all []audience.Subscriber
	for i := range subscribers {
		s := audience.Subscriber{Index: i, Filters: rapid.SliceOfN(rapid.SampledFrom([]string{"t", "#", "+"}), 0, 2).Draw(t, "filters")}
		if groups {
			for _, g := range rapid.SliceOfN(rapid.SampledFrom([]string{"f", "g", "h"}), 0, 2).Draw(t, "groups") {
				s.Filters = append(s.Filters, "$share/"+g+"/t")
			}
		}
		all = append(all, s)
	}
	return audience.New(all).Of("t", -1)
}

func places(a *audience.Audience, absent []int) (all []place) {
	for i, o := range a.Own {
		all = append(all, place{who: []int{o.Subscriber}, own: true, copies: o.Copies, missed: slices.Contains(absent, i)})
	}
	for i, g := range a.Groups {
		all = append(all, place{who: g.Members, copies: 1, missed: slices.Contains(absent, len(a.Own)+i)})
	}
	return all
}

// Whatever happens, the book says what the definition does.
func TestBookIsByDefinition(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(n int) time.Time { return begin.Add(time.Duration(n) * time.Second) }
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom([]string{"anyone", "own", "groups"}).Draw(t, "audiences")
		b, m := &book.Book[int]{}, &model{messages: make(map[int64]*history)}
		if kind == "anyone" {
			b.Anyone = rapid.IntRange(1, 3).Draw(t, "for")
			m.anyone, m.listeners = b.Anyone, rapid.IntRange(b.Anyone, subscribers).Draw(t, "listeners")
		}
		m.known = rapid.Bool().Draw(t, "known")
		hearers := func() *audience.Audience {
			if !m.known {
				return nil
			}
			return first(slices.Repeat([][]string{{"t"}}, m.listeners)...)
		}
		var first *audience.Audience
		varies := rapid.Bool().Draw(t, "varies")
		now, next := 0, int64(0)
		var sum book.Counts
		some := func() int64 { return rapid.Int64Range(0, max(0, next-1)).Draw(t, "turn") }
		who := func() int {
			most := subscribers
			if kind == "anyone" {
				most = m.listeners - 1
			}
			return rapid.IntRange(0, most).Draw(t, "subscriber")
		}
		same := func(what string, got, want any) {
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("%s: %+v, want %+v", what, got, want)
			}
		}
		expect := func(t *rapid.T) {
			h := &history{deadline: now + 10}
			switch {
			case kind == "anyone" && rapid.IntRange(0, 5).Draw(t, "nobody") == 0:
				b.Nobody(next)
				h.slots = slices.Repeat([]place{{copies: 1, missed: true}}, b.Anyone)
			case kind == "anyone":
				b.Expect(book.Message[int]{Turn: next, Deadline: at(h.deadline), Value: int(next)})
				h.slots = slices.Repeat([]place{{copies: 1}}, b.Anyone)
			default:
				a := first
				if a == nil || varies {
					a = audiences(t, kind == "groups")
					m.varies = m.varies || first != nil && first != a
					first = a
				}
				gone := rapid.SliceOfN(rapid.IntRange(0, subscribers-1), 0, 2).Draw(t, "gone")
				absent := a.Absent(func(s int) bool { return !slices.Contains(gone, s) })
				b.Expect(book.Message[int]{Turn: next, Audience: a, Absent: absent, Deadline: at(h.deadline), Value: int(next)})
				h.slots = places(a, absent)
			}
			m.messages[next] = h
			next++
		}
		expect(t)
		t.Repeat(map[string]func(*rapid.T){
			"expect": expect,
			"time":   func(t *rapid.T) { now += rapid.IntRange(1, 6).Draw(t, "passes") },
			"arrive": func(t *rapid.T) {
				turn, s := some(), who()
				if len(m.messages[turn].copies) < 7 { // all ways are tried
					same("arrived", b.Arrived(turn, s, at(now), m.listeners), m.arrived(turn, s, now))
				}
			},
			"ack": func(t *rapid.T) {
				turn := some()
				b.Acked(turn, at(now))
				switch h := m.messages[turn]; {
				case h.open():
					h.acked = true
				case h.why == book.TimedOut && !h.lost: // the target has it all the same
					h.lost = true
					m.counts.Missing += int64(h.left())
				}
			},
			"not sent": func(t *rapid.T) {
				turn := some()
				same("not sent", b.NotSent(turn), m.end(turn, book.NotSent))
			},
			"give up": func(t *rapid.T) {
				if rapid.IntRange(0, 5).Draw(t, "does") > 0 {
					return
				}
				var want []book.Ended[int]
				for _, turn := range m.turns() {
					want = append(want, m.end(turn, book.GivenUp)...)
				}
				same("given up", b.GiveUp(), want)
			},
			"sweep": func(t *rapid.T) {
				var away []int
				if kind != "groups" {
					away = rapid.SliceOfNDistinct(rapid.IntRange(0, subscribers-1), 0, 2, rapid.ID).Draw(t, "away")
				}
				same("swept", b.Sweep(at(now), func(s int, _ int, _ time.Time) book.Presence {
					if slices.Contains(away, s) {
						return book.Left
					}
					return book.There
				}, hearers), m.sweep(now, away))
			},
			"": func(t *rapid.T) {
				c := b.Take()
				sum.Duplicates, sum.Late, sum.Missing, sum.OutOfOrder = sum.Duplicates+c.Duplicates, sum.Late+c.Late, sum.Missing+c.Missing, sum.OutOfOrder+c.OutOfOrder
				same("counts", sum, m.counts)
				open, due := 0, time.Time{}
				for _, h := range m.messages {
					if h.open() {
						if open++; due.IsZero() || at(h.deadline).Before(due) {
							due = at(h.deadline)
						}
					}
				}
				same("open and due", []any{b.Open(), b.Due(), b.Sent(next - 1), b.Sent(next), b.Sent(-1)}, []any{open, due, true, false, false})
			},
		})
	})
}
