package fleet

import (
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
)

// ear is whether a subscriber gets what the target sends. Any goroutine may ask it.
type ear struct {
	open   atomic.Bool
	closed atomic.Int64 // when it was so last, or is since, as time.Time.UnixNano has it; 0 for never
	until  atomic.Int64 // of one that is away: when the target forgets its session, likewise; 0 for never, and while it is connected
}

// missed reports whether the subscriber may have missed what was sent at a time and was to come by another: it was not there throughout.
func (e *ear) missed(sent, by time.Time) bool {
	closed := e.closed.Load()
	if until := e.until.Load(); until != 0 && until <= time.Now().UnixNano() {
		closed = max(closed, until)
	}
	if closed > by.UnixNano() {
		return false
	}
	return !e.hears() || closed >= sent.UnixNano()
}

// hears reports whether the subscriber is there, or the target keeps for it what comes.
func (e *ear) hears() bool {
	until := e.until.Load()
	return e.open.Load() && (until == 0 || time.Now().UnixNano() < until)
}

// listening reports whether a subscriber is there, as far as this fleet knows: those of other fleets are taken to be where these do not tell.
func (f *Fleet) listening(index int) bool {
	x, ok := f.ears.Load(index)
	if !ok {
		return f.cfg.Others == nil
	}
	return x.(*ear).hears()
}

// away reports whether a subscriber may have missed a message by a time for not being there.
func (f *Fleet) away(index int, message metrics.Started, by time.Time) bool {
	x, ok := f.ears.Load(index)
	if !ok {
		return f.cfg.Others != nil
	}
	return x.(*ear).missed(message.Sent, by)
}

// hears notes that the device is a subscriber from now on: it has subscribed, or the target has its subscriptions.
func (d *device) hears() {
	d.everSubscribed = true
	if d.ear == nil {
		return
	}
	if d.subscribed && !d.ear.hears() { // the target has forgotten what it kept
		d.ear.closed.Store(time.Now().UnixNano())
	}
	d.ear.until.Store(0)
	if d.subscribed {
		return
	}
	d.subscribed = true
	d.fleet.subscribers.Add(1)
	d.ear.open.Store(true)
	d.fleet.tellOthers(d.index, true, time.Now())
}

// leavesFor notes that the device is away, and until when the target keeps what comes for it; the zero time is for ever.
func (d *device) leavesFor(until time.Time) {
	if d.ear != nil && !until.IsZero() {
		d.ear.until.Store(until.UnixNano())
	}
}

// deafens notes that the device gets no more of what is sent, and that nothing is kept for it.
func (d *device) deafens(now time.Time) {
	if !d.subscribed {
		return
	}
	d.subscribed = false
	d.ear.closed.Store(now.UnixNano())
	d.ear.open.Store(false)
	d.fleet.subscribers.Add(-1)
	d.fleet.tellOthers(d.index, false, now)
}
