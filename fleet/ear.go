package fleet

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/internal/fleet/book"
)

// ear is whether a subscriber gets what the target sends. Any goroutine may ask it; one at a time tells it.
type ear struct {
	open  atomic.Bool
	until instant // of one that is away: when the target forgets its session; zero for never, and while it is connected

	mu   sync.Mutex // protects the following field
	away []absence  // the last ones, in their order
}

// absence is a time in which a subscriber gets nothing.
type absence struct {
	from time.Time
	to   time.Time // zero while it lasts
}

// mostAbsences is how many a subscriber has in mind: those of one time-out, unless it comes and goes all the while.
const mostAbsences = 16

// instant is a time that one sets and others read. It keeps the reading of the monotonic clock: a wall clock that is set back hides no loss.
type instant struct{ at atomic.Pointer[time.Time] }

func (i *instant) set(t time.Time) { i.at.Store(&t) }

func (i *instant) get() (t time.Time) {
	if p := i.at.Load(); p != nil {
		t = *p
	}
	return t
}

// turns has an ear be open, or not, from a time on. It is by how much the number of open ones grows.
func (e *ear) turns(open bool, at time.Time) int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	last := len(e.away) - 1
	switch {
	case open == e.open.Load():
		return 0
	case !open:
		e.away = append(e.away, absence{from: at})
		if len(e.away) > mostAbsences { // the first two are one: what is forgotten between them is not held against the target
			e.away[1].from = e.away[0].from
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

// presence is whether the subscriber was there for what was sent at a time and was to come by another. Absences count, not how it stands: who learns
// late that it left may learn that it is back, too.
func (e *ear) presence(sent, by time.Time) book.Presence {
	e.mu.Lock()
	defer e.mu.Unlock()
	how := book.There
	was := func(x absence) {
		switch {
		case x.from.After(by), !x.to.IsZero() && !x.to.After(sent):
		case !x.from.Before(sent):
			how = book.Left
		case how == book.There:
			how = book.Gone
		}
	}
	for _, x := range e.away {
		was(x)
	}
	switch now := time.Now(); {
	case e.forgotten(now):
		was(absence{from: e.until.get()})
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
