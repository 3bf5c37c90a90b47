package fleet

import (
	"errors"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/schedule"
)

// never is later than any run.
const never = 1 << 62

// agenda is what a connected device has before it, beside its tasks: the next time of each thing.
type agenda struct {
	answers []delayedAnswer // to direct methods

	end, renew, timeout time.Time
	cut                 time.Time
}

// first is the earliest of the times of an agenda and of the device's tasks.
func (d *device) first(a *agenda) time.Time {
	first := a.end
	for _, t := range []time.Time{a.renew, a.timeout, a.cut} {
		if t.Before(first) {
			first = t
		}
	}
	for i := range d.tasks {
		if next := d.tasks[i].next; next.Before(first) {
			first = next
		}
	}
	for _, x := range a.answers {
		if x.at.Before(first) {
			first = x.at
		}
	}
	return first
}

// delayedAnswer is an answer to a direct method that is not due yet.
type delayedAnswer struct {
	at      time.Time
	message link.Message
}

// answer sends the answers that are due.
func (a *agenda) answer(conn link.Conn, now time.Time) {
	a.answers = slices.DeleteFunc(a.answers, func(x delayedAnswer) bool {
		if x.at.After(now) {
			return false
		}
		conn.Publish(x.message, func(error) {}) // the caller's time-out tells of a lost answer
		return true
	})
}

// retire takes off the agenda what the device does on its own.
func (d *device) retire(a *agenda) {
	far := time.Now().Add(never)
	a.end, a.renew = far, far
	for i := range d.tasks {
		d.tasks[i].next = far
	}
}

// nextOf is when something is due next after a time.
func (d *device) nextOf(r schedule.Rhythm, c *schedule.Cursor, after time.Time) time.Time {
	return d.fleet.start.Add(r.After(c, after.Sub(d.fleet.start)))
}

// plan makes the agenda of a new connection. What comes at once does; the later ones, and what does not, at the device's own
// phase of the fleet's schedule, whatever happened before.
func (d *device) plan(now time.Time) *agenda {
	d.closeGap(now)
	far := now.Add(never)
	a := &agenda{end: far, renew: far, timeout: far, cut: far}
	d.retire(a)
	if d.fleet.finished() {
		return a
	}
	for i, x := range d.group.activities {
		t := &d.tasks[i]
		switch t.rhythm = x.rhythm(d.index); {
		case x.AtOnce:
			t.next = now
		case !t.rhythm.IsZero():
			t.next = d.nextOf(t.rhythm, &t.cursor, now)
		}
	}
	if !d.group.Session.Online.IsZero() {
		if d.ends.IsZero() {
			online, _ := d.fleet.calendar.Session(d.group.Session, d.index, d.turns.sessions)
			d.ends = now.Add(online)
		}
		a.end = d.ends
	}
	if t := d.group.Tokens; t.Life > 0 {
		a.renew = now.Add(d.fleet.calendar.Renewal(d.index, d.turns.renewals, t.Life, t.Margin, t.Spread))
		d.turns.renewals++
	}
	return a
}

// follow is the connected device: it starts what is due and acts on what arrives, until the
// connection ends; it returns why.
func (d *device) follow(conn link.Conn, lost <-chan error) error {
	a, over := d.plan(time.Now()), d.fleet.over
	timer := time.NewTimer(time.Until(d.first(a)))
	defer timer.Stop()
	for {
		select {
		case <-d.ctx.Done():
			return errStopped
		case <-over:
			over = nil
			d.retire(a)
		case err := <-lost:
			return err
		case e := <-d.events:
			d.act(conn, a, e)
		case <-d.wake:
			d.startWaiting(conn)
		case at := <-d.cut:
			a.cut = at
		case <-timer.C:
			if err := d.fire(conn, a, time.Now()); err != nil {
				return err
			}
		}
		a.timeout = d.nextTimeout(a.timeout)
		timer.Reset(time.Until(d.first(a)))
	}
}

// fire starts everything whose time has come, and says why the session is over when it is.
func (d *device) fire(conn link.Conn, a *agenda, now time.Time) error {
	due := now
	if d.fleet.finished() { // it may have been held up since before the end
		due = d.fleet.end
		defer d.retire(a)
	}
	for i, x := range d.group.activities {
		for t := &d.tasks[i]; !t.next.After(due); {
			d.due(conn, command{x, t.next})
			if t.rhythm.IsZero() {
				t.next = now.Add(never)
			} else {
				t.next = d.nextOf(t.rhythm, &t.cursor, t.next)
			}
		}
	}
	if !a.timeout.After(now) {
		d.sweep(now)
		d.startWaiting(conn)
	}
	a.answer(conn, now)
	switch {
	case !a.cut.After(now):
		return errCut
	case !a.end.After(now):
		return errOffline
	case !a.renew.After(now):
		d.openGap(now)
		return errRenew
	}
	return nil
}

// errCut is a connection that a storm cut.
var errCut = errors.New("the connection was cut")

// strangersTick is how often a subscriber that leaves polls for what others have yet to hear of it.
const strangersTick = 20 * time.Millisecond

// drain waits, before a polite farewell, until the operations under way are answered or their time is up. What waits for
// them is still started, until it would have run out of time had it been sent at once. It is false when the connection was
// lost meanwhile.
func (d *device) drain(conn link.Conn, lost <-chan error, why error) bool {
	d.leave(true)
	defer d.leave(false)
	now := time.Now()
	a, deaf, patient := &agenda{timeout: now}, now.Add(d.fleet.longest), now.Add(d.group.Timeout)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now = time.Now()
		if d.worksOff(why) && now.Before(patient) {
			d.startWaiting(conn)
		}
		// What others publish while the fleet goes on has no end: it is listened to for the time of one message.
		if d.underWay(now.Before(deaf)) == 0 {
			return true
		}
		a.timeout = d.nextTimeout(a.timeout)
		wait := a.timeout.Sub(now)
		if d.halted() && d.group.Listens {
			wait = min(wait, strangersTick)
		}
		timer.Reset(wait)
		select {
		case e := <-d.events:
			if !errors.Is(why, errStopped) {
				d.act(conn, a, e)
			}
		case <-d.wake:
		case <-timer.C:
			d.sweep(time.Now())
		case <-lost:
			return false
		case <-d.fleet.ctx.Done():
			return true
		}
	}
}

// leave notes that the device waits for its last answers, each of which wakes it.
func (d *device) leave(is bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leaving = is
}
