package fleet

import (
	"time"

	"github.com/twinfleet/twinfleet/internal/fleet/book"
	"github.com/twinfleet/twinfleet/metrics"
)

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
	now := time.Now()
	d.everSubscribed = true
	returns := d.line != nil && d.line.turns(true, now) > 0
	if returns {
		d.fleet.connected.Add(1)
	}
	if d.ear == nil {
		return
	}
	d.lapses(now)
	d.ear.until.set(time.Time{})
	if d.subscribed {
		if returns {
			d.tellOthers(now)
		}
		return
	}
	d.subscribed = true
	d.fleet.subscribers.Add(1)
	if d.line == nil {
		d.fleet.connected.Add(1)
	}
	d.ear.turns(true, now)
	d.tellOthers(now)
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

// lapses notes that the target has forgotten the session of a device that was away for too long, if it has.
func (d *device) lapses(now time.Time) {
	if d.subscribed && d.ear.forgotten(now) {
		d.deafens(now)
	}
}

// forgets is when the target forgets the session of a device that is away; the zero time for never.
func (d *device) forgets() time.Time {
	if !d.subscribed {
		return time.Time{}
	}
	return d.ear.until.get()
}

// deafens notes that the device gets no more of what is sent, and that nothing is kept for it.
func (d *device) deafens(now time.Time) {
	if !d.subscribed {
		return
	}
	d.subscribed = false
	if d.ear.forgotten(now) { // since then already
		now = d.ear.until.get()
	}
	d.ear.turns(false, now)
	d.ear.until.set(time.Time{})
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
	if d.line != nil {
		d.fleet.connected.Add(d.line.turns(false, now))
	}
}

// there is how many subscribers are there for messages of a QoS.
func (f *Fleet) there(qos byte) int {
	if min(qos, f.queued) == 0 {
		return int(f.connected.Load())
	}
	return int(f.subscribers.Load())
}
