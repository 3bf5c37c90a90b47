// Package book keeps the account of the messages of one publisher and one kind: which copies are waited for, and what became of them. It has
// no time, no lock and no measurements of its own: who keeps it tells it what happens, and is told what has ended.
package book

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/internal/audience"
)

// Book is an account. T is what its keeper wants back with what ends. The zero value is for messages that name their audience.
type Book[T any] struct {
	// Anyone is how many subscribers each message is for, whoever they are; 0 when each message names its audience. It is set
	// before the first message.
	Anyone int
	// Most is how many messages are kept in mind of which copies may come that nobody waits for, before the older half of them is forgotten; 1024 when 0.
	// It is set before the first message.
	Most int

	marked  int64 // turns whose messages were sent
	open    map[int64]*message[T]
	strays  strays[T]
	usual   *audience.Audience // of the first message
	varies  bool               // others have another
	highest map[int]int64      // turn that a subscriber has had, by subscriber
	counts  Counts             // since they were taken
}

// Message is one that is being sent.
type Message[T any] struct {
	Turn     int64              // they ascend
	Audience *audience.Audience // nil where the book is for anyone
	Absent   []int              // slots of the audience that get no copy, as Audience.Absent has them: they are not waited for
	Deadline time.Time          // what comes later is late
	Value    T                  // what is given back with what ends
}

// Counts are what the keeper adds up. Missing falls when a copy comes after all.
type Counts struct {
	Duplicates int64 // copies that a subscriber, or its group, had before
	Late       int64 // copies that came after their time was up
	Missing    int64 // copies that have not come, though their time is up and the target has acknowledged the message
	OutOfOrder int64 // first copies of a message before one that the subscriber has had
}

// Why says how a copy's account ended without it.
type Why uint8

// The ways.
const (
	TimedOut Why = iota + 1 // its time was up
	Absent                  // the subscriber was not there: it is not the target's doing
	NotSent                 // the message did not reach the target, as far as anyone knows
	GivenUp                 // nobody waits any more
)

// Ended are copies of a message that nobody waits for any more.
type Ended[T any] struct {
	Turn   int64
	Value  T
	Copies int
	Why    Why
	// Missing reports whether they count as missing, as the target has acknowledged the message; of those that timed out.
	Missing bool
}

// Verdict says what a copy is.
type Verdict uint8

// The verdicts.
const (
	Unknown   Verdict = iota // nobody knows whose copy it is: a first one, or one more
	First                    // it was waited for, and came in time
	Late                     // it was waited for, and came too late
	Unawaited                // the first of its subscriber, who was not there, or of a message that nobody waited for
	Further                  // one more, which the target may send where filters overlap
	Duplicate                // one more than there may be
	Stranger                 // its subscriber is not of the audience; where audiences vary that is known only while copies may come
)

// Arrival is what became of a copy.
type Arrival[T any] struct {
	Verdict    Verdict
	Ends       bool // it ends what was waited for: in time, unless its verdict is Late
	Value      T    // of the message, if it ends that
	OutOfOrder bool
}

// Expect opens the account of a message that is being sent.
func (b *Book[T]) Expect(m Message[T]) {
	b.marked = m.Turn + 1
	if b.usual == nil {
		b.usual = m.Audience
	}
	b.varies = b.varies || b.usual != m.Audience
	x := &message[T]{audience: m.Audience, slots: b.Anyone, deadline: m.Deadline, value: m.Value}
	if m.Audience != nil {
		x.slots = m.Audience.Slots()
		x.had = newBits(x.slots)
		for _, slot := range m.Absent {
			x.miss(slot)
		}
	}
	x.left = x.slots - x.gone
	if x.left == 0 {
		b.keep(m.Turn, x)
		return
	}
	if b.open == nil {
		b.open = make(map[int64]*message[T])
	}
	b.open[m.Turn] = x
}

// Nobody notes that a message for anyone is being sent and nobody waits for it: there are fewer subscribers than it is for.
func (b *Book[T]) Nobody(turn int64) {
	b.marked = turn + 1
	b.keep(turn, &message[T]{slots: b.Anyone})
}

// keep keeps a message in mind that nobody waits for any more.
func (b *Book[T]) keep(turn int64, x *message[T]) { b.strays.keep(turn, x, cmp.Or(b.Most, mostStrays)) }

// Sent reports whether the message of a turn was sent, or is about to be.
func (b *Book[T]) Sent(turn int64) bool { return turn >= 0 && turn < b.marked }

// Open is how many messages are waited for.
func (b *Book[T]) Open() int { return len(b.open) }

// Due is when the first of them runs out of time; the zero time when there is none.
func (b *Book[T]) Due() (first time.Time) {
	for _, x := range b.open {
		if first.IsZero() || x.deadline.Before(first) {
			first = x.deadline
		}
	}
	return first
}

// Take is what has been counted since it was last called.
func (b *Book[T]) Take() Counts {
	c := b.counts
	b.counts = Counts{}
	return c
}

// Arrived takes a copy of a message that was sent. listeners is how many subscribers the fleet has: where they are more than a message for
// anyone is for, nobody knows of a message that has ended whether a copy is one more.
func (b *Book[T]) Arrived(turn int64, subscriber int, at time.Time, listeners int) (a Arrival[T]) {
	x, open := b.open[turn]
	if !open {
		x = b.strays.kept[turn]
	}
	switch {
	case x != nil:
		a = b.arrived(x, subscriber, open, at)
	case b.usual != nil && !b.varies && !b.usual.Has(subscriber):
		return Arrival[T]{Verdict: Stranger}
	case turn < b.strays.floor:
		if !b.strays.lost.take(turn) {
			return Arrival[T]{}
		}
		b.counts.Late++
		b.counts.Missing--
		b.saw(turn, subscriber) // whether it is the first that this one has of it, nobody knows
		return Arrival[T]{Verdict: Late}
	case b.Anyone > 0 && listeners != b.Anyone:
		return Arrival[T]{}
	default: // all have had theirs
		a.Verdict = Duplicate
	}
	switch a.Verdict {
	case Duplicate:
		b.counts.Duplicates++
	case First, Late, Unawaited:
		if a.OutOfOrder = b.saw(turn, subscriber); a.OutOfOrder {
			b.counts.OutOfOrder++
		}
	}
	switch {
	case x == nil:
	case open && x.left == 0:
		delete(b.open, turn)
		if !x.whole() {
			b.keep(turn, x)
		}
	case !open && a.Verdict != Stranger && x.whole():
		b.strays.drop(turn)
	}
	return a
}

// arrived is what a copy of a message is that the book knows.
func (b *Book[T]) arrived(x *message[T], subscriber int, open bool, at time.Time) (a Arrival[T]) {
	how := x.place(subscriber)
	switch {
	case how == stranger:
		a.Verdict = Stranger
	case how == surplus:
		a.Verdict = Duplicate
	case how == further:
		a.Verdict = Further
	case how == unawaited || !open && !x.late:
		a.Verdict = Unawaited
	case open:
		x.left--
		a = Arrival[T]{Verdict: First, Ends: true, Value: x.value}
		if at.After(x.deadline) {
			a.Verdict = Late
			b.counts.Late++
		}
	default:
		a.Verdict = Late
		b.counts.Late++
		if x.lost {
			b.counts.Missing--
		}
	}
	return a
}

// saw notes that a subscriber has the message of a turn, and reports whether it had a later one before.
func (b *Book[T]) saw(turn int64, subscriber int) (outOfOrder bool) {
	last, ok := b.highest[subscriber]
	if ok && turn <= last {
		return turn < last
	}
	if b.highest == nil {
		b.highest = make(map[int]int64)
	}
	b.highest[subscriber] = turn
	return false
}

// Acked notes that the target has acknowledged the message of a turn, and when. What has not come of one whose time was up before is missing
// from now on.
func (b *Book[T]) Acked(turn int64, at time.Time) {
	if x := b.open[turn]; x != nil {
		if x.acked.IsZero() {
			x.acked = at
		}
		return
	}
	if x := b.strays.kept[turn]; x != nil && x.late && !x.lost {
		x.lost = true
		b.counts.Missing += int64(x.lacking())
	}
}

// NotSent ends the account of a message that never reached the target, as far as anyone knows. Copies that come all the same are neither late nor
// duplicates.
func (b *Book[T]) NotSent(turn int64) []Ended[T] { return b.end(turn, NotSent) }

// GiveUp ends what is waited for: nobody does any more.
func (b *Book[T]) GiveUp() (all []Ended[T]) {
	for _, turn := range slices.Sorted(maps.Keys(b.open)) {
		all = append(all, b.end(turn, GivenUp)...)
	}
	return all
}

// end ends the account of an open message, whatever is left of it.
func (b *Book[T]) end(turn int64, why Why) []Ended[T] {
	x := b.open[turn]
	if x == nil {
		return nil
	}
	delete(b.open, turn)
	e := Ended[T]{Turn: turn, Value: x.value, Copies: x.left, Why: why, Missing: x.lost}
	b.keep(turn, x)
	return []Ended[T]{e}
}

// absent ends copies of an open message whose slots were just missed.
func (b *Book[T]) absent(turn int64, x *message[T], n int) []Ended[T] {
	if n == 0 {
		return nil
	}
	e := Ended[T]{Turn: turn, Value: x.value, Copies: n, Why: Absent}
	if x.left -= n; x.left == 0 {
		delete(b.open, turn)
		b.keep(turn, x)
	}
	return []Ended[T]{e}
}

// Presence is whether a subscriber was there for a message.
type Presence uint8

// The ways.
const (
	There Presence = iota // since it was sent, for long enough
	Left                  // at first, and gone before it could be sure to have it
	Gone                  // not since before it was sent
)

// Sweep ends the copies whose time is up. presence says of a subscriber whether it was there for a message for so long that it should have it, by
// when the target acknowledged that; zero for never. If it was not, and nothing was kept for it, it is not the target's doing that a copy of its
// own, or of its group, has not come. It may be nil. hearers is asked for the audience of messages for anyone; where that is nil, or hearers is, nobody knows
// whose absence it may be.
func (b *Book[T]) Sweep(now time.Time, presence func(subscriber int, message T, acked time.Time) Presence, hearers func() *audience.Audience) (all []Ended[T]) {
	var due []int64
	for turn, x := range b.open {
		if !x.deadline.After(now) {
			due = append(due, turn)
		}
	}
	slices.Sort(due)
	for _, turn := range due {
		x := b.open[turn]
		how := func(s int) Presence { return presence(s, x.value, x.acked) }
		switch {
		case presence == nil:
		case x.audience != nil:
			all = append(all, b.absent(turn, x, x.missing(how))...)
		case hearers != nil:
			all = append(all, b.absent(turn, x, x.excuse(hearers(), how))...)
		}
		if x.left == 0 {
			continue
		}
		x.late, x.lost = true, !x.acked.IsZero()
		if x.lost {
			b.counts.Missing += int64(x.left)
		}
		all = append(all, b.end(turn, TimedOut)...)
	}
	return all
}
