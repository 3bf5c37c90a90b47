package fleet

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/internal/fleet/book"
)

// ear is whether a subscriber gets what the target sends. Any goroutine may ask it; one at a time tells it.
type ear struct {
	open   atomic.Bool
	until  instant       // of one that is away: when the target forgets its session; zero for never, and while it is connected
	mind   time.Duration // for how long absences are kept in mind that are over; it is not changed
	unsure time.Duration // by how much their times may be wrong; it is not changed

	mu   sync.Mutex // protects the following fields
	hung time.Time  // with until: since when it is away
	away []absence  // the last ones, in their order
}

// absence is a time in which a subscriber gets nothing.
type absence struct {
	from time.Time // nothing is kept for it, either
	to   time.Time // zero while it lasts
	hung time.Time // when it left: before from, if something was kept for it and is no more
}

// mostAbsences is how many a subscriber has in mind: those of one time-out, unless it comes and goes all the while.
const mostAbsences = 256

// instant is a time that one sets and others read. It keeps the reading of the monotonic clock: a wall clock that is set back hides no loss.
type instant struct{ at atomic.Pointer[time.Time] }

func (i *instant) set(t time.Time) { i.at.Store(&t) }

func (i *instant) get() (t time.Time) {
	if p := i.at.Load(); p != nil {
		t = *p
	}
	return t
}

// keeps notes until when the target keeps what comes for a subscriber that left at a time; the zero time for ever, or when it is there.
func (e *ear) keeps(until, at time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.until.set(until)
	e.hung = at
}

// vanishes notes that a subscriber that is not there from a time on may have got nothing since another.
func (e *ear) vanishes(since, at time.Time) { e.keeps(at, since) }

// turns has an ear be open, or not, from a time on. It is by how much the number of open ones grows.
func (e *ear) turns(open bool, at time.Time) int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	last := len(e.away) - 1
	switch {
	case open == e.open.Load():
		return 0
	case !open:
		e.away = slices.DeleteFunc(e.away, func(x absence) bool { return x.to.Before(at.Add(-e.mind)) })
		e.away = append(e.away, e.leaves(at))
		if len(e.away) > mostAbsences { // the first two are one: what is forgotten between them is not held against the target
			e.away[1].from, e.away[1].hung = e.away[0].from, e.away[0].hung
			e.away = e.away[:copy(e.away, e.away[1:])]
		}
		e.open.Store(false)
		return -1
	case last < 0:
		e.away = append(e.away, absence{to: at}) // it has never been there
	default:
		e.away[last].to = at
	}
	e.open.Store(true)
	return 1
}

// leaves is an absence from a time on: of one whose session the target has forgotten by then, since it left. The caller holds the lock.
func (e *ear) leaves(at time.Time) absence {
	if until := e.until.get(); !until.IsZero() && !at.Before(until) {
		return absence{from: at, hung: e.hung}
	}
	return absence{from: at, hung: at}
}

// presence is whether the subscriber was there for what was sent at a time and was to come by another; who left at owed, or later, was there for
// long enough. That is never when it is zero. Absences count, not how it stands: who learns late that it left may learn that it is back, too.
func (e *ear) presence(sent, by, owed time.Time) book.Presence {
	e.mu.Lock()
	defer e.mu.Unlock()
	how := book.There
	was := func(x absence) {
		switch {
		case x.from.After(by), !x.to.IsZero() && !x.to.After(sent):
		case x.from.Before(sent):
			if how == book.There {
				how = book.Gone
			}
		case owed.IsZero(), x.hung.Before(owed.Add(e.unsure)):
			how = book.Left
		}
	}
	for _, x := range e.away {
		was(x)
	}
	switch now := time.Now(); {
	case e.forgotten(now):
		was(e.leaves(e.until.get()))
	case !e.open.Load() && len(e.away) == 0: // it has never been there
		return book.Gone
	}
	return how
}

// forgotten reports whether the target has forgotten the session of a subscriber that is away.
func (e *ear) forgotten(now time.Time) bool {
	until := e.until.get()
	return !until.IsZero() && !now.Before(until)
}

// hears reports whether the subscriber is there, or the target keeps for it what comes. It is asked of each subscriber of each message.
func (e *ear) hears() bool {
	until := e.until.get()
	return e.open.Load() && (until.IsZero() || time.Now().Before(until))
}
