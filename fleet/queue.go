package fleet

import (
	"errors"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
)

// maxWaiting bounds what waits in one device: more is dropped, whatever the group says.
const maxWaiting = 10_000

// command is an operation that is due.
type command struct {
	act      *activity
	intended time.Time
}

// queue is commands in the order in which they became due.
type queue struct {
	items []command
	head  int
}

func (q *queue) len() int { return len(q.items) - q.head }

func (q *queue) push(c command) {
	if q.head > 0 && len(q.items) == cap(q.items) {
		q.items, q.head = append(q.items[:0], q.items[q.head:]...), 0
	}
	q.items = append(q.items, c)
}

func (q *queue) pop() command {
	c := q.items[q.head]
	q.head++
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	return c
}

// offer gives the device an operation that is due, from any goroutine.
func (d *device) offer(c command) {
	d.mu.Lock()
	fits := d.waiting.len() < maxWaiting && (d.group.Wait || len(d.pending)+d.waiting.len() < d.group.InFlight)
	if fits {
		d.waiting.push(c)
	}
	d.mu.Unlock()
	if !fits {
		c.act.series.Drop(c.intended, metrics.DropInFlight)
		return
	}
	d.tell()
}

// due starts an operation that is due in the device's own schedule, or lets it wait or drop.
func (d *device) due(conn link.Conn, c command) {
	if d.fleet.paused.Load() {
		c.act.series.Drop(c.intended, metrics.DropPaused)
		return
	}
	d.mu.Lock()
	full := len(d.pending) >= d.group.InFlight
	waits := d.group.Wait && (full || d.waiting.len() > 0)
	if waits && d.waiting.len() < maxWaiting {
		d.waiting.push(c)
		d.mu.Unlock()
		return
	}
	d.mu.Unlock()
	if full || waits {
		c.act.series.Drop(c.intended, metrics.DropInFlight)
		return
	}
	d.do(conn, c, c.intended)
}

// startWaiting starts what waits, in order, as far as the bound on unanswered operations allows.
func (d *device) startWaiting(conn link.Conn) {
	for {
		d.mu.Lock()
		full := len(d.pending) >= d.group.InFlight
		if d.waiting.len() == 0 || (full && d.group.Wait) {
			d.mu.Unlock()
			return // the answer that makes room wakes the device
		}
		c, free := d.waiting.pop(), d.room
		d.mu.Unlock()
		if full {
			c.act.series.Drop(c.intended, metrics.DropInFlight)
			continue
		}
		d.do(conn, c, free)
	}
}

// do starts one operation, which could not start before free.
func (d *device) do(conn link.Conn, c command, free time.Time) {
	t := &d.tasks[c.act.index]
	t.turns++
	c.act.start(d, conn, t.turns-1, c.intended, free)
}

// worksOff reports whether a device that is stopped still does what waits: it was due before, and waits for the target.
func (d *device) worksOff(why error) bool { return d.group.Wait && errors.Is(why, errStopped) }

// dropWaiting drops what waits when a connection ends.
func (d *device) dropWaiting(why error) {
	reason := metrics.DropNotConnected
	if errors.Is(why, errStopped) {
		reason = metrics.DropStopped
	}
	for _, c := range d.takeWaiting() {
		c.act.series.Drop(c.intended, reason)
	}
}

// giveUpWaiting counts what still waits when the device leaves: the target had a whole time-out to get to it, unless
// somebody would not wait, and it took the time until now at least.
func (d *device) giveUpWaiting() {
	outcome, reason := metrics.Timeout, neverItsTurn
	if d.fleet.killed.Load() {
		outcome, reason = metrics.Unanswered, stoppedFirst
	}
	for _, c := range d.takeWaiting() {
		now := time.Now()
		c.act.series.StartAfter(c.intended, now, now).EndBecause(now, outcome, reason)
	}
}

func (d *device) takeWaiting() []command {
	d.mu.Lock()
	defer d.mu.Unlock()
	left := d.waiting
	d.waiting = queue{}
	return left.items[left.head:]
}

// openGap notes that from now on the device cannot do what is due, and did not want that.
func (d *device) openGap(now time.Time) {
	if d.gap.IsZero() {
		d.gap = now
	}
}

// closeGap counts what became due in the gap, which ends now, as dropped.
func (d *device) closeGap(now time.Time) {
	d.countGap(now)
	d.gap = time.Time{}
}

// countGap counts what became due in the gap until now as dropped. What is due after the run's end is not due.
func (d *device) countGap(now time.Time) {
	if d.gap.IsZero() {
		return
	}
	now = d.fleet.due(now)
	reason := metrics.DropNotConnected
	if d.fleet.paused.Load() {
		reason = metrics.DropPaused
	}
	from := d.gap
	d.gap = now // also when the end was before the gap: nothing is due in between
	d.eachSchedule(func(e schedule.Rhythm, c *schedule.Cursor, series *metrics.Series) {
		for at := d.nextOf(e, c, from); !at.After(now); at = d.nextOf(e, c, at) {
			series.Drop(at, reason)
		}
	})
}

// eachSchedule visits what the device does on its own repeatedly.
func (d *device) eachSchedule(visit func(schedule.Rhythm, *schedule.Cursor, *metrics.Series)) {
	for _, a := range d.group.activities {
		if e := a.rhythm(d.index); !e.IsZero() {
			visit(e, &d.tasks[a.index].cursor, a.series)
		}
	}
}

// nextInPause is when a device that waits until a time has something to count: a delivery that runs out of time, or
// something that is due in a gap.
func (d *device) nextInPause(until time.Time) time.Time {
	first := d.firstDelivery(until)
	if d.gap.IsZero() {
		return first
	}
	d.eachSchedule(func(e schedule.Rhythm, c *schedule.Cursor, _ *metrics.Series) {
		if next := d.nextOf(e, c, d.gap); next.Before(first) {
			first = next
		}
	})
	return first
}
