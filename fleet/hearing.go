package fleet

import (
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/internal/fleet/book"
	"github.com/twinfleet/twinfleet/metrics"
)

// ear is whether a subscriber gets what the target sends. Any goroutine may ask it.
type ear struct {
	open   atomic.Bool
	closed instant // when it was so last, or is since; zero for never
	until  instant // of one that is away: when the target forgets its session; zero for never, and while it is connected
}

// instant is a time that one sets and others read. It keeps the reading of the monotonic clock: a wall clock that is set back hides no loss.
type instant struct{ at atomic.Pointer[time.Time] }

func (i *instant) set(t time.Time) { i.at.Store(&t) }

func (i *instant) get() (t time.Time) {
	if p := i.at.Load(); p != nil {
		t = *p
	}
	return t
}

// presence is whether the subscriber was there for what was sent at a time and was to come by another.
func (e *ear) presence(sent, by time.Time) book.Presence {
	closed := e.closed.get()
	if until := e.until.get(); !until.IsZero() && !until.After(time.Now()) && until.After(closed) {
		closed = until
	}
	switch {
	case closed.After(by):
		return book.There
	case !closed.Before(sent):
		return book.Left
	case !e.hears():
		return book.Gone
	}
	return book.There
}

// hears reports whether the subscriber is there, or the target keeps for it what comes.
func (e *ear) hears() bool {
	until := e.until.get()
	return e.open.Load() && (until.IsZero() || time.Now().Before(until))
}

// listening reports whether a subscriber is there for messages of a QoS, as far as this fleet knows: those of other fleets are taken to be where these do not tell.
func (f *Fleet) listening(index int, qos byte) bool {
	if l := f.line(index, qos); l != nil {
		return l.open.Load()
	}
	x, ok := f.ears.Load(index)
	if !ok {
		return f.cfg.Others == nil
	}
	return x.(*ear).hears()
}

// presence is whether a subscriber was there for a message of a QoS, until its time was up.
func (f *Fleet) presence(index int, message metrics.Started, qos byte, by time.Time) book.Presence {
	if l := f.line(index, qos); l != nil {
		return l.presence(message.Sent, by)
	}
	x, ok := f.ears.Load(index)
	switch {
	case ok:
		return x.(*ear).presence(message.Sent, by)
	case f.cfg.Others != nil:
		return book.Gone
	}
	return book.There
}

// hears notes that the device is a subscriber from now on: it has subscribed, or the target has its subscriptions.
func (d *device) hears() {
	d.everSubscribed = true
	returns := d.line != nil && !d.line.open.Swap(true)
	if returns {
		d.fleet.connected.Add(1)
	}
	if d.ear == nil {
		return
	}
	if d.subscribed && !d.ear.hears() { // the target has forgotten what it kept
		d.ear.closed.set(time.Now())
	}
	d.ear.until.set(time.Time{})
	if d.subscribed {
		if returns {
			d.tellOthers(time.Now())
		}
		return
	}
	d.subscribed = true
	d.fleet.subscribers.Add(1)
	if d.line == nil {
		d.fleet.connected.Add(1)
	}
	d.ear.open.Store(true)
	d.tellOthers(time.Now())
}

// leavesFor notes that the device is away, and until when the target keeps what comes for it; the zero time is for ever.
func (d *device) leavesFor(until, now time.Time) {
	if d.ear == nil {
		return
	}
	if !until.IsZero() {
		d.ear.until.set(until)
	}
	d.tellOthers(now)
}

// deafens notes that the device gets no more of what is sent, and that nothing is kept for it.
func (d *device) deafens(now time.Time) {
	if !d.subscribed {
		return
	}
	d.subscribed = false
	d.ear.closed.set(now)
	d.ear.open.Store(false)
	d.fleet.subscribers.Add(-1)
	if d.line == nil {
		d.fleet.connected.Add(-1)
	}
	d.tellOthers(now)
}

// line is whether a subscriber whose session is kept has a connection: without one it misses messages with QoS 0, which are kept for nobody.
type line struct {
	ear
	qos byte // of its subscriptions
}

func (f *Fleet) newLine(g *group, index int, id string) *line {
	l := new(line)
	for _, filter := range f.filtersOf(g, index, id) {
		l.qos = max(l.qos, filter.QoS)
	}
	return l
}

// line is that of a subscriber whose session is kept, if it says whether it gets messages of a QoS; nil when its ear does.
func (f *Fleet) line(index int, qos byte) *line {
	if x, ok := f.lines.Load(index); ok && min(qos, x.(*line).qos) == 0 {
		return x.(*line)
	}
	return nil
}

// hangsUp notes that a subscriber has no connection any more.
func (d *device) hangsUp(now time.Time) {
	if d.line == nil || !d.line.open.Load() {
		return
	}
	d.line.closed.set(now)
	d.line.open.Store(false)
	d.fleet.connected.Add(-1)
}

// there is how many subscribers are there for messages of a QoS.
func (f *Fleet) there(qos byte) int {
	if qos == 0 {
		return int(f.connected.Load())
	}
	return int(f.subscribers.Load())
}
