package fleet

import (
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/metrics"
)

// ear is whether a subscriber gets what the target sends. Any goroutine may ask it.
type ear struct {
	open   atomic.Bool
	closed atomic.Int64 // when it was so last, or is since, as time.Time.UnixNano has it; 0 for never
}

// missed reports whether the subscriber may have missed what was sent at a time: it was not there throughout.
func (e *ear) missed(sent time.Time) bool {
	return !e.open.Load() || e.closed.Load() >= sent.UnixNano()
}

// listening reports whether a subscriber is there for messages of a QoS, as far as this fleet knows: those of other fleets are taken to be.
func (f *Fleet) listening(index int, qos byte) bool {
	if x, ok := f.lines.Load(index); ok && x.(*line).unkept(qos, f.steady(time.Now())) {
		return x.(*line).open.Load()
	}
	x, ok := f.ears.Load(index)
	return !ok || x.(*ear).open.Load()
}

// there is how many subscribers are there for messages of a QoS.
func (f *Fleet) there(qos byte) int {
	if qos == 0 {
		return int(f.connected.Load())
	}
	return int(f.subscribers.Load())
}

// away reports whether a subscriber may have missed a message of a QoS for not being there.
func (f *Fleet) away(index int, message metrics.Started, qos byte) bool {
	if x, ok := f.lines.Load(index); ok && x.(*line).unkept(qos, f.steady(time.Now())) {
		return x.(*line).missed(f.steady(message.Sent))
	}
	x, ok := f.ears.Load(index)
	return ok && x.(*ear).missed(f.steady(message.Sent))
}

// hears notes that the device is a subscriber from now on: it has subscribed, or the target has its subscriptions.
func (d *device) hears() {
	d.everSubscribed = true
	if d.line != nil && !d.line.open.Swap(true) {
		d.fleet.connected.Add(1)
	}
	if d.ear == nil || d.subscribed {
		return
	}
	d.subscribed = true
	d.fleet.subscribers.Add(1)
	if d.line == nil {
		d.fleet.connected.Add(1)
	}
	d.ear.open.Store(true)
}

// deafens notes that the device gets no more of what is sent, and that nothing is kept for it.
func (d *device) deafens(now time.Time) {
	if !d.subscribed {
		return
	}
	d.subscribed = false
	d.ear.closed.Store(d.fleet.steady(now).UnixNano())
	d.ear.open.Store(false)
	d.fleet.subscribers.Add(-1)
	if d.line == nil {
		d.fleet.connected.Add(-1)
	}
}

// line is whether a subscriber whose session is kept has a connection: between connections the target keeps no messages with QoS 0 for it, and
// none once the session has expired.
type line struct {
	ear
	qos    byte         // of its subscriptions
	expiry atomic.Int64 // how long the session is kept, as a time.Duration; 0 for ever
}

// unkept reports whether only a subscriber that has a connection gets messages of a QoS.
func (l *line) unkept(qos byte, now time.Time) bool {
	if min(qos, l.qos) == 0 {
		return true
	}
	expiry := l.expiry.Load()
	return expiry > 0 && !l.open.Load() && l.closed.Load() > 0 && now.UnixNano()-l.closed.Load() >= expiry
}

// expires says how long the session is kept, as link.Greeting has it.
func (l *line) expires(after time.Duration) {
	if after >= link.MaxExpiry {
		after = 0
	}
	l.expiry.Store(int64(after))
}

// hangsUp notes that a subscriber has no connection any more.
func (d *device) hangsUp(now time.Time) {
	if d.line == nil || !d.line.open.Load() {
		return
	}
	d.line.closed.Store(d.fleet.steady(now).UnixNano())
	d.line.open.Store(false)
	d.fleet.connected.Add(-1)
}

// expired notes that the target has no session of a subscriber any more. When that was to be, the subscriber has missed what came since its
// connection ended; else the target has lost what it was to keep.
func (d *device) expired(now time.Time) {
	if d.line != nil && d.line.unkept(2, d.fleet.steady(now)) {
		d.deafens(now)
	}
}

// steady is a time as it would be had nobody set the clock since the fleet began.
func (f *Fleet) steady(t time.Time) time.Time { return f.start.Add(t.Sub(f.start)) }
