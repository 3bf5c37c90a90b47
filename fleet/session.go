package fleet

import (
	"errors"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
)

// never is later than any run.
const never = 1 << 62

// agenda is what a connected device has before it, beside its tasks: the next time of each thing.
type agenda struct {
	answers []delayedAnswer // to direct methods

	end, renew, timeout time.Time
	cut                 time.Time

	retired bool // nothing of its own is left on it
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
	a.end, a.renew, a.retired = far, far, true
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
func (d *device) plan(now time.Time) {
	d.closeGap(now)
	far := now.Add(never)
	a := &d.plans
	*a = agenda{end: far, renew: far, timeout: far, cut: far}
	d.retire(a)
	if d.fleet.finished() || d.fleet.due(now).Before(now) {
		return
	}
	a.retired = false
	for i, x := range d.group.activities {
		t := &d.tasks[i]
		switch r := x.rhythm(d.index); {
		case x.AtOnce:
			t.next = now
		case !r.IsZero():
			t.next = d.nextOf(r, &t.cursor, now)
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
		a.renew = d.nextRenewal(t, now)
	}
}

// nextRenewal is when a token that the device gets now is renewed.
func (d *device) nextRenewal(t Tokens, now time.Time) time.Time {
	at := now.Add(d.fleet.calendar.Renewal(d.index, d.turns.renewals, t.Life, t.Margin, t.Spread))
	d.turns.renewals++
	return at
}

// follow is the connected device: it starts what is due and acts on what has arrived.
func (d *device) follow(session *opened, now time.Time) {
	a := &d.plans
	if session.over {
		d.noteLoss(session.lost, now)
		d.depart(errors.Join(link.ErrLost, session.lost), now)
		return
	}
	d.mu.Lock()
	events, at, soon := d.events, d.cut, d.soon
	d.events, d.cut, d.soon = nil, time.Time{}, false
	d.mu.Unlock()
	if again := now.Add(renewOnceMore); soon && !a.retired && again.Before(a.renew) {
		a.renew = again
	}
	if !at.IsZero() {
		a.cut = at
	}
	for _, e := range events {
		d.react(d.conn, a, e)
	}
	d.startWaiting(d.conn)
	if !d.first(a).After(now) {
		if err := d.fire(d.conn, a, now); err != nil {
			d.depart(err, now)
			return
		}
	}
	if d.halted() {
		d.depart(errStopped, now)
		return
	}
	if d.fleet.finished() && !a.retired {
		d.retire(a)
	}
	a.timeout = d.nextTimeout(a.timeout)
}

// fire starts everything whose time has come, and says why the session is over when it is.
func (d *device) fire(conn link.Conn, a *agenda, now time.Time) error {
	due := d.fleet.due(now) // it may have been held up since before the end
	if due.Before(now) {
		defer d.retire(a)
	}
	for i, x := range d.group.activities {
		for t := &d.tasks[i]; !t.next.After(due); {
			d.due(conn, command{x, t.next})
			if r := x.rhythm(d.index); r.IsZero() {
				t.next = now.Add(never)
			} else {
				t.next = d.nextOf(r, &t.cursor, t.next)
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
		renewer, ok := conn.(link.Renewer)
		if !ok {
			d.openGap(now)
			return errRenew
		}
		d.renew(renewer, a, now)
	}
	return nil
}

// renewOnceMore is how long after a renewal that failed the device tries once more (azure-iot-sdk-java does so after 5 s).
const renewOnceMore = 5 * time.Second

// renew renews the device's token on its connection. One that fails costs the connection when the old token ends, and not before.
func (d *device) renew(conn link.Renewer, a *agenda, now time.Time) {
	op := d.newOperation()
	op.renews = true
	series := d.fleet.cfg.Recorder.Series(metrics.OpRenew, d.group.Name) // there is none of groups that connect anew
	rid, _ := d.started(series, op, a.renew, a.renew)
	a.renew = d.nextRenewal(d.group.Tokens, now)
	conn.Renew(d.sending(sending{rid: rid}))
}

// errCut is a connection that a storm cut.
var errCut = errors.New("the connection was cut")

// strangersTick is how often a subscriber that leaves polls for what others have yet to hear of it.
const strangersTick = 20 * time.Millisecond

// drain waits, before a polite farewell, until the operations under way are answered or their time is up. What waits for
// them is still started, until it would have run out of time had it been sent at once.
func (d *device) drain(session *opened, now time.Time) {
	a := &d.plans
	switch {
	case session.over && errors.Is(d.why, errStopped) && d.fetches(now):
		d.abandon(errors.Join(link.ErrLost, session.lost))
		return
	case session.over:
		d.abandon(d.why)
		return
	case d.fleet.killed.Load():
		d.leaves()
		return
	}
	d.mu.Lock()
	events := d.events
	d.events = nil
	d.mu.Unlock()
	if !errors.Is(d.why, errStopped) {
		for _, e := range events {
			d.react(d.conn, a, e)
		}
	}
	d.sweep(now)
	if d.worksOff(d.why) && now.Before(d.patient) {
		d.startWaiting(d.conn)
	}
	if d.halted() && d.silent() { // also when it listens itself, and waits for what others send
		d.hushes()
	}
	// What others publish while the fleet goes on has no end: it is listened to for the time of one message.
	if d.underWay(now.Before(d.deaf)) == 0 {
		d.leaves()
		return
	}
	a.timeout = d.nextTimeout(now)
	if d.halted() && d.group.Listens && a.timeout.After(now.Add(strangersTick)) {
		a.timeout = now.Add(strangersTick)
	}
}

// fetchingTick is how often a device that is to stop, and is away, looks whether anything is under way yet.
const fetchingTick = 100 * time.Millisecond

// fetches reports whether a device that is to stop, and is away, comes back when that is due, as the target keeps for it what may be waited for.
func (d *device) fetches(now time.Time) bool {
	if d.fetching.IsZero() {
		d.fetching = now.Add(d.fleet.longest)
	}
	return d.kept && d.subscribed && !d.fleet.killed.Load() && now.Before(d.fetching) && d.fleet.mayCome(d.fetching)
}

// silent reports whether nothing that the device has sent, or has yet to send, waits.
func (d *device) silent() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.pending) == 0 && d.waiting.len() == 0
}

// leave notes that the device waits for its last answers, each of which wakes it.
func (d *device) leave(is bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leaving = is
}
