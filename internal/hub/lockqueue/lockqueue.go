// Package lockqueue is a queue whose entries are taken under a lock: what its taker does not complete in time comes back to its place,
// until that has happened too often or the entry has expired (iot-hub-devguide-messages-c2d, the message life cycle).
package lockqueue

import (
	"errors"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/internal/uuid"
)

// Token names a lock: a random one, which over AMQP is the delivery tag.
type Token = uuid.UUID

// ErrLost is returned for a token whose lock is over, or never was.
var ErrLost = errors.New("the lock is lost")

// Outcome is what a taker says of an entry.
type Outcome uint8

// The outcomes.
const (
	Complete Outcome = iota // it is done
	Reject                  // it cannot be done by anybody
	Abandon                 // somebody may take it now
)

// Cause is why an entry has left its queue.
type Cause uint8

// The causes.
const (
	Completed Cause = iota
	Rejected
	Expired
	Exhausted // it was taken in vain too often
	Purged
	Withdrawn // by who had added it
)

// Entry is what waits in a queue. A taker must not change it.
type Entry[T any] struct {
	Value T
	// Number is greater than those of the entries before it.
	Number uint64
	// Enqueued is when it was added, Until when it expires: the zero time for never.
	Enqueued, Until time.Time
	// Deliveries is how often it was taken, the current time included.
	Deliveries int
	// Token names the lock, LockedUntil when it ends by itself: the zero time for never. They mean nothing while it is not locked.
	Token       Token
	LockedUntil time.Time

	locked bool
	holder any
}

// Locked reports whether the entry is taken, and is a given holder's.
func (e *Entry[T]) Locked(holder any) bool { return e.locked && e.holder == holder }

// Ended is an entry that has left its queue.
type Ended[T any] struct {
	*Entry[T]
	Cause Cause
}

// Queue holds entries, oldest first. The zero Queue is empty. It has no lock and no timer: whoever owns it sweeps it when something is
// due, and asks what has ended after every call.
type Queue[T any] struct {
	entries []*Entry[T]
	ended   []Ended[T]
}

// Len is how many entries there are, also those that are taken.
func (q *Queue[T]) Len() int { return len(q.entries) }

// Add puts an entry behind the others.
func (q *Queue[T]) Add(e Entry[T]) { q.entries = append(q.entries, &e) }

// First is the oldest entry that satisfies a condition, or nil.
func (q *Queue[T]) First(which func(*Entry[T]) bool) *Entry[T] {
	if i := slices.IndexFunc(q.entries, which); i >= 0 {
		return q.entries[i]
	}
	return nil
}

// Take locks up to so many of the oldest entries that are free and that their taker wants, each until a time that begins now; with none
// until they are settled or released. The holder is what Release names; nil for nobody.
func (q *Queue[T]) Take(now time.Time, most int, lock time.Duration, holder any, wants func(*Entry[T]) bool) (taken []*Entry[T]) {
	for _, e := range q.entries {
		if len(taken) >= most {
			break
		}
		if e.locked || !wants(e) {
			continue
		}
		e.locked, e.holder, e.Token, e.LockedUntil = true, holder, uuid.New(), time.Time{}
		if lock > 0 {
			e.LockedUntil = now.Add(lock)
		}
		e.Deliveries++
		taken = append(taken, e)
	}
	return taken
}

// Settle ends a lock with an outcome. most is how often an entry is delivered at most. Errors: ErrLost.
func (q *Queue[T]) Settle(t Token, o Outcome, most int) error {
	i := slices.IndexFunc(q.entries, func(e *Entry[T]) bool { return e.locked && e.Token == t })
	if i < 0 {
		return ErrLost
	}
	settled := q.entries[i]
	switch o {
	case Complete:
		q.end(Completed, func(e *Entry[T]) bool { return e == settled })
	case Reject:
		q.end(Rejected, func(e *Entry[T]) bool { return e == settled })
	default:
		q.free(settled)
		q.exhaust(most)
	}
	return nil
}

// Release ends the locks of a holder that is gone; what it held is free, in its place.
func (q *Queue[T]) Release(holder any, most int) {
	for _, e := range q.entries {
		if e.Locked(holder) {
			q.free(e)
		}
	}
	q.exhaust(most)
}

// Sweep ends the locks whose time is over, and the entries that have expired, taken or not. It reports whether an entry became free.
func (q *Queue[T]) Sweep(now time.Time, most int) (freed bool) {
	q.end(Expired, func(e *Entry[T]) bool { return due(e.Until, now) })
	for _, e := range q.entries {
		if e.locked && due(e.LockedUntil, now) {
			q.free(e)
			freed = freed || e.Deliveries < most
		}
	}
	q.exhaust(most)
	return freed
}

// Due is when Sweep next has something to do; the zero time for never.
func (q *Queue[T]) Due() (at time.Time) {
	for _, e := range q.entries {
		times := [2]time.Time{e.Until, e.LockedUntil}
		if !e.locked {
			times[1] = time.Time{}
		}
		for _, t := range times {
			if !t.IsZero() && (at.IsZero() || t.Before(at)) {
				at = t
			}
		}
	}
	return at
}

// Purge ends all entries and returns how many there were.
func (q *Queue[T]) Purge() int {
	n := len(q.entries)
	q.end(Purged, func(*Entry[T]) bool { return true })
	return n
}

// Withdraw takes an entry back by its number, if it is there.
func (q *Queue[T]) Withdraw(number uint64) {
	q.end(Withdrawn, func(e *Entry[T]) bool { return e.Number == number })
}

// Ended returns the entries that have left the queue since it was called last, in the order in which they did.
func (q *Queue[T]) Ended() []Ended[T] {
	all := q.ended
	q.ended = nil
	return all
}

// due reports whether a time has come; the zero time never does.
func due(at, now time.Time) bool { return !at.IsZero() && !now.Before(at) }

func (q *Queue[T]) free(e *Entry[T]) { e.locked, e.holder = false, nil }

// exhaust ends what was delivered in vain too often.
func (q *Queue[T]) exhaust(most int) {
	q.end(Exhausted, func(e *Entry[T]) bool { return !e.locked && e.Deliveries >= most })
}

func (q *Queue[T]) end(why Cause, which func(*Entry[T]) bool) {
	q.entries = slices.DeleteFunc(q.entries, func(e *Entry[T]) bool {
		if !which(e) {
			return false
		}
		q.ended = append(q.ended, Ended[T]{e, why})
		return true
	})
}
