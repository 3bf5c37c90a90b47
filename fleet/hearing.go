package fleet

import (
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/internal/fleet/book"
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

// fair is for how long a subscriber must have been there behind a message that it has not got, for that to be the target's doing: so long, or its
// time-out if that is shorter.
const fair = time.Second

// passing is when a message passed the target.
type passing struct {
	sent, acked time.Time // acked is zero for never
	timeout     time.Duration
}

// owed is from when on a subscriber that leaves, and has not got the message, has lost it; the zero time for never. Until it has acknowledged a message,
// nobody knows whether the target has it; one with QoS 0 has it, as far as anyone knows, when it is sent.
func (p *passing) owed(qos byte) time.Time {
	from := p.acked
	if qos == 0 {
		from = p.sent
	}
	if from.IsZero() {
		return from
	}
	return from.Add(min(p.timeout, fair))
}

// presence is whether a subscriber was there for a message of a QoS.
func (f *Fleet) presence(index int, qos byte, p passing) book.Presence {
	by, owed := p.sent.Add(p.timeout), p.owed(qos)
	if l := f.line(index, qos); l != nil {
		return l.presence(p.sent, by, owed)
	}
	x, ok := f.ears.Load(index)
	switch {
	case ok:
		return x.(*ear).presence(p.sent, by, owed)
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
	d.ear.keeps(time.Time{}, now)
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
		d.ear.keeps(until, now)
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
	d.ear.keeps(time.Time{}, now)
	d.fleet.subscribers.Add(-1)
	if d.line == nil {
		d.fleet.connected.Add(-1)
	}
	d.tellOthers(now)
}

// line is whether a subscriber whose session is kept has a connection: without one it misses messages with QoS 0, which are kept for nobody.
type line struct {
	ear
	asked byte         // the highest QoS of its subscriptions
	qos   atomic.Int32 // that the target granted, as far as is known: what comes with less than 1 is kept for nobody
}

// grants notes the highest QoS that the target granted.
func (l *line) grants(qos byte) { l.qos.Store(int32(qos)) }

// keepsNone reports whether the target keeps nothing for the subscriber while it is away, though it was asked to.
func (l *line) keepsNone() bool { return l.asked > 0 && l.qos.Load() == 0 }

func (f *Fleet) newLine(g *group, index int, id string) *line {
	l := &line{ear: ear{mind: f.mind()}}
	for _, filter := range f.filtersOf(g, index, id) {
		l.asked = max(l.asked, filter.QoS)
	}
	l.grants(l.asked)
	return l
}

// line is that of a subscriber whose session is kept, if it says whether it gets messages of a QoS; nil when its ear does.
func (f *Fleet) line(index int, qos byte) *line {
	if x, ok := f.lines.Load(index); ok && min(int32(qos), x.(*line).qos.Load()) == 0 {
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
