package counting

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/audience/audiencetest"
)

// delays are times that would fill pages.
type delays []time.Duration

// String is how many there are, and the longest.
func (d delays) String() string {
	if len(d) == 0 {
		return "none"
	}
	return fmt.Sprintf("%d up to %v", len(d), d[len(d)-1])
}

// closeCall is how near to the end of a connection, or to the end of its time, nobody can tell from outside whether a device has seen a copy.
const closeCall = 300 * time.Millisecond

// Account is what the wire says of the messages of some devices. Each copy that was due is one of InTime to NotSent, or cannot be decided.
type Account struct {
	Messages int // that devices sent
	Acked    int // of them: those that the broker acknowledged

	InTime  int
	Late    int // came when their time was up
	Missing int // never came, though the message was acknowledged
	Silent  int // never came, and nothing was to be acknowledged
	Absent  int // the subscriber was not there
	NotSent int // never acknowledged before the publisher lost its connection

	Duplicates int
	OutOfOrder int
	Strange    int // copies for devices that no filter makes subscribers

	Delays delays // of those in time, in order, from when they were sent

	Edge int // of all of these: those that cannot be decided
}

// Due is how many copies were.
func (a Account) Due() int {
	return a.InTime + a.Late + a.Missing + a.Silent + a.Absent + a.NotSent + a.Edge
}

// Judging is how to sum up.
type Judging struct {
	Publishers func(client string) bool // whose messages
	Timeout    time.Duration            // of their deliveries
	// Anyone is how many subscribers each message is for, whoever they are; with 0 it is for whom MQTT's matching says.
	Anyone int
	// Subscribers are those that are known; nil is all.
	Subscribers func(client string) bool
}

// slot is a copy that is due.
type slot struct {
	members []string // one of whom gets it
	copies  int      // that may come
	group   bool
}

// Judge sums up what the wire saw.
func (w *Wire) Judge(j Judging) (a Account) {
	w.mu.Lock()
	defer w.mu.Unlock()
	type pair struct{ client, publisher string }
	firsts := make(map[pair][]arrival)
	turns := make(map[int]int64)
	for _, m := range w.sorted() {
		if !j.Publishers(m.client) {
			continue
		}
		a.Messages++
		if !m.acked.IsZero() {
			a.Acked++
		}
		slots := w.slots(m, j)
		got, surplus, strange := m.deal(slots)
		a.Strange += strange
		for _, c := range surplus {
			if w.unseen(c) {
				a.Edge++
			} else {
				a.Duplicates++
			}
		}
		dropped, unsure := w.short(m, slots, j.Anyone)
		for i, s := range slots {
			switch {
			case unsure:
				a.Edge++
			case dropped:
				a.Absent++
			default:
				*w.place(&a, m, s, got[i], j)++
			}
			if got[i] != nil {
				p := pair{got[i].client, m.mark.Publisher()}
				firsts[p], turns[got[i].number] = append(firsts[p], *got[i]), m.mark.Turn
			}
		}
	}
	for _, all := range firsts {
		slices.SortFunc(all, func(a, b arrival) int { return a.number - b.number })
		highest := int64(-1)
		for _, c := range all {
			turn := turns[c.number]
			if turn < highest {
				a.OutOfOrder++
			}
			highest = max(highest, turn)
		}
	}
	slices.Sort(a.Delays)
	return a
}

// slots are the copies that are due of a message. For anyone, each subscriber that was ever seen has one.
func (w *Wire) slots(m *message, j Judging) (all []slot) {
	groups := make(map[string][]string)
	for _, id := range slices.Sorted(maps.Keys(w.clients)) {
		if j.Subscribers != nil && !j.Subscribers(id) {
			continue
		}
		own := slot{members: []string{id}}
		for f, o := range w.clients[id].filters {
			name, filter, shared := "", f, false
			if rest, ok := strings.CutPrefix(f, "$share/"); ok {
				name, filter, shared = strings.Cut(rest, "/")
			}
			switch {
			case !audiencetest.Matches(filter, m.topic):
			case shared:
				groups[name+"/"+filter] = append(groups[name+"/"+filter], id)
			case !o.noLocal || id != m.client:
				own.copies++
			}
		}
		if own.copies > 0 {
			all = append(all, own)
		}
	}
	if j.Anyone > 0 {
		for i := range all {
			all[i].copies = 1
		}
		return all
	}
	for _, g := range slices.Sorted(maps.Keys(groups)) {
		all = append(all, slot{groups[g], 1, true})
	}
	return all
}

// deal gives each slot its first copy, and says which copies are too many. A copy of somebody who has a slot of his own and is in a group
// is his own, if it is the first.
func (m *message) deal(slots []slot) (got []*arrival, surplus []arrival, strange int) {
	got = make([]*arrival, len(slots))
	further := make([]int, len(slots))
	for _, c := range m.copies {
		mine := -1
		room := slices.IndexFunc(slots, func(s slot) bool { return slices.Contains(s.members, c.client) })
		if room < 0 {
			strange++
			continue
		}
		for i, s := range slots {
			if got[i] == nil && slices.Contains(s.members, c.client) {
				mine = i
				break
			}
		}
		switch {
		case mine >= 0:
			got[mine] = &c
		case !slots[room].group && further[room] < slots[room].copies-1:
			further[room]++
		default:
			surplus = append(surplus, c)
		}
	}
	return got, surplus, strange
}

// short reports whether, of a message for so many subscribers, too few were there, and whether that cannot be told.
func (w *Wire) short(m *message, slots []slot, anyone int) (short, unsure bool) {
	if anyone == 0 {
		return false, false
	}
	there, away := 0, 0
	for _, s := range slots {
		switch c, kept := w.clients[s.members[0]], w.keeps(s.members[0], m); {
		case c.there(kept, m.sent.Add(-closeCall), m.sent.Add(closeCall)):
			there++
		case c.away(kept, m.sent.Add(-closeCall), m.sent.Add(closeCall)):
			away++
		}
	}
	return len(slots)-away < anyone, there < anyone && len(slots)-away >= anyone
}

// keeps reports whether the broker keeps a message for a subscriber that has no connection: its session, and no QoS 0.
func (w *Wire) keeps(id string, m *message) bool {
	c, most := w.clients[id], byte(0)
	for f, o := range c.filters {
		if rest, ok := strings.CutPrefix(f, "$share/"); ok {
			_, f, _ = strings.Cut(rest, "/")
		}
		if audiencetest.Matches(f, m.topic) {
			most = max(most, o.qos)
		}
	}
	return c.kept && min(m.qos, most) > 0
}

// expects reports whether somebody listened for a message when it was sent, as far as devices know.
func (w *Wire) expects(m *message, s slot) bool {
	return slices.ContainsFunc(s.members, func(id string) bool {
		return w.clients[id].there(w.keeps(id, m), m.sent.Add(-closeCall), m.sent)
	})
}

// unseen reports whether a device may not have seen a copy: its connection ended, and it said nothing of it.
func (w *Wire) unseen(c arrival) bool {
	if c.qos > 0 && *c.taken {
		return false
	}
	end, ok := w.clients[c.client].cut(c.at)
	return ok && (c.qos > 0 || end.Sub(c.at) < closeCall)
}

// place is the count that a copy belongs to; got is nil when it did not come.
func (w *Wire) place(a *Account, m *message, s slot, got *arrival, j Judging) *int {
	deadline := m.sent.Add(j.Timeout)
	if m.qos > 0 && m.acked.IsZero() {
		if end, ok := w.clients[m.client].gave(m.sent); ok && end.Before(deadline) {
			switch {
			case got == nil, got.at.After(end.Add(closeCall)):
				return &a.NotSent
			case got.at.After(end.Add(-closeCall)):
				return &a.Edge
			}
		}
	}
	if m.qos == 0 && got == nil { // it may not have gone further than the device's own socket
		if end, ok := w.clients[m.client].cut(m.sent); ok && end.Sub(m.sent) < closeCall {
			return &a.Edge
		}
	}
	if got != nil {
		switch d := got.at.Sub(deadline); {
		case w.unseen(*got), d > -closeCall && d < closeCall, j.Anyone == 0 && !w.expects(m, s):
			return &a.Edge
		case d < 0:
			a.Delays = append(a.Delays, got.at.Sub(m.sent))
			return &a.InTime
		}
		return &a.Late
	}
	lost := &a.Missing
	if m.acked.IsZero() { // when does not matter: the broker has it
		lost = &a.Silent
	}
	if j.Anyone > 0 {
		return lost
	}
	there, away := true, true
	for _, id := range s.members {
		c, kept := w.clients[id], w.keeps(id, m)
		there = there && c.stayed(kept, m.sent.Add(-closeCall), deadline)
		away = away && c.away(kept, m.sent.Add(-closeCall), m.sent.Add(closeCall))
	}
	switch {
	case there:
		return lost
	case away:
		return &a.Absent
	}
	return &a.Edge
}

// Answers are what the wire says of the requests of some devices.
type Answers struct {
	InTime, Not int // answered in time, and not
	Edge        int // that cannot be decided
}

// Answers sums up requests whose time-out is given.
func (w *Wire) Answers(who func(client string) bool, timeout time.Duration) (a Answers) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for x, r := range w.requests {
		if !who(x.client) {
			continue
		}
		late := r.answered.Sub(r.sent) - timeout
		end, cut := w.clients[x.client].cut(r.sent)
		switch {
		case r.answered.IsZero() && cut && end.Before(r.sent.Add(timeout+closeCall)) && end.After(r.sent.Add(timeout-closeCall)):
			a.Edge++
		case r.answered.IsZero():
			a.Not++
		case late > -closeCall && late < closeCall, cut && end.Sub(r.answered) < closeCall && !(r.qos > 0 && *r.taken):
			a.Edge++
		case late < 0:
			a.InTime++
		default:
			a.Not++
		}
	}
	return a
}
