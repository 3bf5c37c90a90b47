package fleet

import (
	"context"
	"errors"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/metrics"
)

// begin begins the next run, if there is one.
func (d *device) begin(now time.Time) {
	d.mu.Lock()
	if len(d.runs) == 0 {
		d.mu.Unlock()
		return
	}
	r := d.runs[0]
	d.runs = d.runs[1:]
	d.halt.Store(r.halt)
	d.mu.Unlock()
	if d.group.measures() {
		d.talks = true
		d.fleet.talking.Add(1)
	}
	d.attempt, d.gap, d.ends, d.free, d.hubDue = 0, time.Time{}, time.Time{}, r.intended, time.Time{}
	if r.waits {
		d.free = now // until then the device was the other run's
	}
	d.open(r.intended)
}

// open begins a session, for which a time was intended.
func (d *device) open(intended time.Time) {
	d.openGap(intended) // until it is connected: a connection that hangs keeps it from what is due
	d.dialled = time.Now()
	d.enter(StateConnecting)
	d.phase, d.conn = connecting, nil
	d.mu.Lock()
	d.opened, d.soon = opened{}, false
	d.mu.Unlock()
	if !d.unassigned() {
		d.fleet.running.Go(func() { d.session(intended) })
		return
	}
	d.turns.registrations++
	if d.hubDue.IsZero() {
		d.hubDue = intended
	}
	due := d.hubDue
	ctx, giveUp := context.WithCancel(d.fleet.ctx)
	d.giveUp = giveUp
	d.fleet.running.Go(func() {
		defer giveUp()
		d.register(ctx, due, intended)
	})
}

// register is the goroutine of a device that must be assigned to a hub first. The connection is due when that is done.
func (d *device) register(ctx context.Context, due, intended time.Time) {
	err := d.provision(ctx, due, intended)
	d.mu.Lock()
	d.opened.assigned, d.opened.failed = err == nil, err
	d.mu.Unlock()
	if err == nil {
		d.session(time.Now())
		return
	}
	d.tell()
}

// session is the goroutine of a device that connects.
func (d *device) session(intended time.Time) {
	conn, err := d.connect(intended)
	d.mu.Lock()
	d.opened.conn, d.opened.failed = conn, err
	d.mu.Unlock()
	if err == nil {
		conn.Serve(func(err error) {
			d.mu.Lock()
			d.opened.over, d.opened.lost = true, err
			d.sentAway(err)
			d.mu.Unlock()
			d.tell()
		})
	}
	d.tell()
}

// over goes on when a session has ended.
func (d *device) over(lost error, now time.Time) {
	d.hangsUp(now)
	d.countLoss(lost, now)
	if d.bade && lost == nil {
		d.kept = false
	}
	d.bade = false
	if !d.kept || errors.Is(d.why, errStopped) {
		d.deafens(now)
	} else if d.subscribed {
		d.leavesFor(d.expires(now), now)
	}
	d.next(d.why, now)
}

// next goes on after a session that ended, or was not to be had.
func (d *device) next(why error, now time.Time) {
	var intended time.Time
	switch {
	case errors.Is(why, errStopped):
		d.end(now)
		return
	case errors.Is(why, errRenew):
		d.free = now
		if d.halted() || d.fleet.finished() {
			d.end(now)
			return
		}
		d.open(now)
		return
	case errors.Is(why, errOffline):
		d.enter(StateOffline)
		_, offline := d.fleet.calendar.Session(d.group.Session, d.index, d.turns.sessions)
		d.turns.sessions++
		// Its absence began when the session was to end, not when the last answer was there. If it had no connection then,
		// what was due until it was back has been counted.
		if intended = d.ends.Add(offline); intended.Before(d.back) {
			intended = d.back
		}
		d.free = now
		d.ends = time.Time{}
	default:
		d.openGap(now)
		d.enter(StateBackoff)
		intended = now.Add(d.backoff(why))
		d.free = intended
	}
	d.phase, d.until = pausing, intended
	d.pause(now)
}

// end is the end of the device's sessions: what is left is what it waits for.
func (d *device) end(now time.Time) {
	d.underWayForGood()
	d.endPending(metrics.Unanswered) // of what has an acknowledgement, and waits for a response, the session knows nothing
	d.hangsUp(now)
	d.deafens(now)
	d.closeGap(now)
	d.leave(true)
	d.phase = delivering
	d.hushes()
}

// hushes notes that the device sends no more: who listens has not to wait for it.
func (d *device) hushes() {
	if d.talks {
		d.talks = false
		d.fleet.talking.Add(-1)
	}
}

// stopped is the end of a run. Another may follow at once.
func (d *device) stopped() {
	if d.lost && !d.fleet.finished() {
		d.fleet.left.Add(1)
	}
	d.setLost(false)
	d.regained(false)
	d.enter(StateWaiting)
	d.phase = idle
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.runs) == 0 {
		d.live = false
		d.fleet.running.Done()
	}
}

// pause is the time until the device connects once more.
func (d *device) pause(now time.Time) {
	d.mu.Lock()
	d.cut = time.Time{} // it has no connection to cut
	d.mu.Unlock()
	switch {
	case d.halted(), d.fleet.finished():
		d.end(now)
	case !now.Before(d.until):
		d.open(d.until)
	default:
		d.lapses(now)
		d.sweep(now)
		d.countGap(now)
	}
}

// connected goes on when the device's goroutine has a connection, or has none.
func (d *device) connected(session *opened, now time.Time) {
	d.lapses(now)
	if session.assigned {
		d.noteAssigned()
	}
	if d.giveUp != nil && d.halted() { // a connection is waited for, a registration may take for ever
		d.giveUp()
	}
	if session.conn != nil || session.failed != nil {
		d.giveUp = nil
	}
	if session.failed != nil {
		d.noteTried(session.failed)
		d.unsure = d.unsure || !errors.As(session.failed, new(*link.RefusedError))
	}
	switch {
	case session.failed != nil && d.halted():
		d.next(errStopped, now)
	case session.failed != nil:
		d.fleet.takeovers.Failed(d.index)
		d.disown(session.failed)
		d.next(session.failed, now)
	case session.conn == nil:
	case d.halted():
		d.conn = session.conn
		d.noteArrived()
		d.resumes() // the target has its session
		d.depart(errStopped, now)
	default:
		d.conn = session.conn
		d.setUp(now)
	}
}

// begun is a connected device that begins to do what is due.
func (d *device) begun(now time.Time) {
	d.attempt = 0
	d.noteArrived()
	d.enter(StateConnected)
	d.back = now
	if !d.kept { // else it may be sent once more
		d.said.Store(0)
	}
	d.fleet.returned(d)
	d.regained(true)
	d.setLost(false)
	d.inRotation(true)
	d.phase = following
	d.plan(now)
}

// depart ends a session: politely, after the last answers, when the device wants it, and else at once.
func (d *device) depart(why error, now time.Time) {
	if d.phase == following {
		d.inRotation(false)
		d.setLost(!asked(why))
		if !d.worksOff(why) {
			d.dropWaiting(why)
		}
	}
	if !asked(why) {
		d.abandon(why)
		return
	}
	d.why, d.phase = why, draining
	d.leave(true)
	d.plans = agenda{timeout: now}
	d.deaf, d.patient = now.Add(d.fleet.longest), now.Add(d.group.Timeout)
}

// abandon ends a session whose connection is lost, or of no use.
func (d *device) abandon(why error) {
	d.leave(false)
	if shared, ok := d.conn.(link.Cutter); ok && errors.Is(why, errCut) {
		shared.Cut()
	} else {
		d.conn.Abort()
	}
	d.dropWaiting(link.ErrLost)
	d.endPending(metrics.Failed)
	d.why, d.phase = why, closing
}

// leaves ends a session whose last answers are there, or not to be had.
func (d *device) leaves() {
	d.leave(false)
	d.giveUpWaiting()
	d.endPending(metrics.Unanswered) // before the driver does: it cannot tell an end that was asked for
	d.farewell()
	d.phase = closing
}
