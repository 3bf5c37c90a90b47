// Package delivery follows desired properties from the PATCH of a twin to the device's notification and to its answer.
package delivery

import (
	"context"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/worker/call"
	"github.com/twinfleet/twinfleet/metrics"
)

// Options of a Book.
type Options struct {
	Told     *metrics.Series // from the PATCH to the device's notification; required
	Answered *metrics.Series // from the PATCH to its answer; nil when the devices do not answer
	Timeout  time.Duration   // of both, from the PATCH
}

// Wave counts what became of the devices that are patched together.
type Wave struct {
	Patched  int // twins written
	Told     int // devices that were notified, in this connection or at connecting
	Answered int // devices that answered in reported
}

// Book is the deliveries that are under way, one a device at the most.
//
//	Begin ─────── Patched: version 7 ──── Told of version 7 or later ──── Answered such a version
//	              └ or forgotten          └ or out of time                └ or out of time
//
// News of a device may come before the answer to the PATCH. It is safe for concurrent use.
type Book struct {
	opts Options

	mu   sync.Mutex // protects the following fields, and the counts of the waves
	open map[int]*Delivery
	news chan struct{} // holds a token when a delivery ended
}

// Delivery is desired properties on their way to a device.
type Delivery struct {
	index          int // of the device
	wave           *Wave
	intended, sent time.Time
	version        int64           // of the desired properties; 0 until the PATCH is answered
	early          []news          // that came before the PATCH was answered
	toldOp, reply  metrics.Started // reply only if the devices answer
	told           bool
	answered       bool
}

// news is that a device was told of a version, or answered it.
type news struct {
	answer  bool
	version int64
	at      time.Time
}

// maxEarly bounds the news of one device that wait for the answer to its PATCH: older changes of other writers.
const maxEarly = 16

// New makes an empty Book.
func New(o Options) *Book {
	return &Book{opts: o, open: make(map[int]*Delivery), news: make(chan struct{}, 1)}
}

// Begin notes that the twin of a device, by its index in the fleet, is being patched.
func (b *Book) Begin(index int, wave *Wave, intended, sent time.Time) *Delivery {
	d := &Delivery{index: index, wave: wave, intended: intended, sent: sent}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open[index] = d
	return d
}

// Forget ends a delivery whose PATCH failed.
func (b *Book) Forget(d *Delivery) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, d.index)
}

// Patched notes that the twin was written: from now on the device is waited for.
func (b *Book) Patched(d *Delivery, version int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d.wave.Patched++
	d.version = version
	d.toldOp = b.opts.Told.Start(d.intended, d.sent)
	if b.opts.Answered != nil {
		d.reply = b.opts.Answered.Start(d.intended, d.sent)
	}
	for _, n := range d.early {
		b.apply(d, n)
	}
	d.early = nil
}

// Told notes that a device was told of a version of its desired properties.
func (b *Book) Told(index int, version int64, at time.Time) {
	b.hear(index, news{false, version, at})
}

// Answered notes that a device's answer to a version of its desired properties was acknowledged.
func (b *Book) Answered(index int, version int64, at time.Time) {
	b.hear(index, news{true, version, at})
}

func (b *Book) hear(index int, n news) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := b.open[index]
	switch {
	case d == nil:
	case d.version == 0:
		if len(d.early) < maxEarly {
			d.early = append(d.early, n)
		}
	default:
		b.apply(d, n)
	}
}

// apply ends what news end of a delivery. The caller holds the lock.
func (b *Book) apply(d *Delivery, n news) {
	if n.version < d.version {
		return
	}
	if n.at.Sub(d.sent) >= b.opts.Timeout { // what comes before the sweep is no better than what comes after
		b.expire(d, n.at)
		return
	}
	answers := b.opts.Answered != nil
	if !d.told { // an answer says that the device was told, too
		d.told = true
		d.wave.Told++
		d.toldOp.End(n.at, metrics.OK)
	}
	if n.answer && answers && !d.answered {
		d.answered = true
		d.wave.Answered++
		d.reply.End(n.at, metrics.OK)
	}
	if d.told && (d.answered || !answers) {
		b.close(d)
	}
}

// close forgets a delivery that has ended. The caller holds the lock.
func (b *Book) close(d *Delivery) {
	if b.open[d.index] == d {
		delete(b.open, d.index)
	}
	select {
	case b.news <- struct{}{}:
	default:
	}
}

// expire ends a delivery that took too long. The caller holds the lock.
func (b *Book) expire(d *Delivery, at time.Time) {
	b.end(d, func(op metrics.Started) { op.End(at, metrics.Timeout) })
	b.close(d)
}

// end ends what a delivery still waits for. The caller holds the lock.
func (b *Book) end(d *Delivery, how func(metrics.Started)) {
	if !d.told {
		how(d.toldOp)
	}
	if b.opts.Answered != nil && !d.answered {
		how(d.reply)
	}
}

// sweepEvery is how often Sweep checks for deliveries that ran out of time.
const sweepEvery = 100 * time.Millisecond

// Sweep ends deliveries that ran out of time, until ctx ends.
func (b *Book) Sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			b.mu.Lock()
			for _, d := range b.open {
				if d.version > 0 && now.Sub(d.sent) >= b.opts.Timeout {
					b.expire(d, now)
				}
			}
			b.mu.Unlock()
		case <-ctx.Done():
			return
		}
	}
}

// Settle waits until no delivery of a wave is under way, of no wave when it is nil, or until ctx ends. It needs Sweep.
func (b *Book) Settle(ctx context.Context, wave *Wave) {
	for b.under(wave) {
		select {
		case <-b.news:
		case <-ctx.Done():
			return
		}
	}
}

// under reports whether deliveries of a wave are under way, of any when it is nil.
func (b *Book) under(wave *Wave) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range b.open {
		if wave == nil || d.wave == wave {
			return true
		}
	}
	return false
}

// Count is what became of a wave until now.
func (b *Book) Count(wave *Wave) Wave {
	b.mu.Lock()
	defer b.mu.Unlock()
	return *wave
}

// Close ends the deliveries that nobody waits for any more: they are counted as unanswered.
func (b *Book) Close(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for index, d := range b.open {
		if d.version > 0 {
			b.end(d, func(op metrics.Started) { op.Unanswered(now, call.RunEnded) })
		}
		delete(b.open, index)
	}
}
