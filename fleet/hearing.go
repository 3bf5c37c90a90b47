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
}

// missed reports whether the subscriber may have missed what was sent at a time and was to come by another: it was not there throughout.
func (e *ear) missed(sent, by time.Time) bool {
	open, closed := e.open.Load(), e.closed.Load()
	if closed > by.UnixNano() {
		return false
	}
	return !open || closed >= sent.UnixNano()
}

// listening reports whether a subscriber is there, as far as this fleet knows: those of other fleets are taken to be where these do not tell.
func (f *Fleet) listening(index int) bool {
	x, ok := f.ears.Load(index)
	if !ok {
		return f.cfg.Others == nil
	}
	return x.(*ear).open.Load()
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
	if d.ear == nil || d.subscribed {
		return
	}
	d.subscribed = true
	d.fleet.subscribers.Add(1)
	d.ear.open.Store(true)
	d.fleet.tellOthers(d.index, true, time.Now())
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
