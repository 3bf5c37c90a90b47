// Package delay measures how long the acknowledged reports of a device take to be shown by a query.
package delay

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/worker/call"
	"github.com/twinfleet/twinfleet/metrics"
)

// Reports are the acknowledged reports of one device. Every one is an operation that starts with its
// acknowledgement, and ends when a page arrives that shows the device with the $version of that report or a later one.
//
//	ack of version 7           ack of 8      page arrives with version 8
//	├───────────────── freshness of 7 ──────────────┤
//	                           ├── freshness of 8 ──┤
//
// It is safe for concurrent use.
type Reports struct {
	series  *metrics.Series
	timeout time.Duration

	mu      sync.Mutex // protects the following fields
	pending []pending  // acknowledged and not shown yet
	shown   int64      // the highest $version that a result has shown
	shows   []show     // how it rose, the last ones
	forgot  show       // the one before these; zero while they are all
}

// show is a page that showed a higher $version than all before.
type show struct {
	version int64
	at      time.Time // when it arrived
}

// maxShows is how many of them are kept: acknowledgements that are told late are of the last ones.
const maxShows = 64

// pending is an acknowledged report that no result has shown yet.
type pending struct {
	version int64
	op      metrics.Started // from the acknowledgement
}

// maxPending bounds the reports that wait to be shown; further ones are dropped and counted, as are those told too late for shows.
const maxPending = 1024

// New makes the reports of a device, which are counted in a series, and time out when no result shows them for long enough.
func New(series *metrics.Series, timeout time.Duration) *Reports {
	return &Reports{series: series, timeout: timeout}
}

// Acked notes that the target acknowledged a report, at a $version.
func (r *Reports) Acked(version int64, acked time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	shown, known := r.shownAt(version, acked)
	switch {
	case version > r.shown && len(r.pending) >= maxPending, version <= r.shown && !known:
		r.series.Drop(acked, metrics.DropInFlight)
	case version > r.shown:
		r.pending = append(r.pending, pending{version, r.series.Start(acked, acked)})
	default: // by a result that was under way before the device knew, or before that was told
		r.end(r.series.Start(acked, acked), shown)
	}
}

// end ends a report at the time at which it was shown, or ran out of time before that: when that is found out, or told, changes nothing.
func (r *Reports) end(op metrics.Started, shown time.Time) {
	if due := op.Sent.Add(r.timeout); !shown.Before(due) {
		op.End(due, metrics.Timeout)
		return
	}
	op.End(shown, metrics.OK)
}

// shownAt is when a $version was shown first that was acknowledged at a time, and not before that. It is not known of a version that was not shown,
// nor of one that is told too late for shows. The caller holds the lock.
func (r *Reports) shownAt(version int64, acked time.Time) (at time.Time, known bool) {
	if version <= r.forgot.version {
		return acked, !acked.Before(r.forgot.at) // it was there at once, or who knows
	}
	i, _ := slices.BinarySearchFunc(r.shows, version, func(s show, v int64) int { return cmp.Compare(s.version, v) })
	if i == len(r.shows) {
		return time.Time{}, false
	}
	if at = r.shows[i].at; at.Before(acked) {
		at = acked // it was there at once
	}
	return at, true
}

// Shown notes that a page which arrived at a time shows a $version of the device.
func (r *Reports) Shown(version int64, arrived time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if version <= r.shown {
		return
	}
	r.shown = version
	if len(r.shows) == maxShows {
		r.forgot = r.shows[0]
		r.shows = append(r.shows[:0], r.shows[1:]...)
	}
	r.shows = append(r.shows, show{version, arrived})
	r.pending = slices.DeleteFunc(r.pending, func(p pending) bool {
		if p.version > version {
			return false
		}
		done := arrived
		if done.Before(p.op.Sent) {
			done = p.op.Sent
		}
		r.end(p.op, done)
		return true
	})
}

// Sweep ends the reports that were not shown within the time-out.
func (r *Reports) Sweep(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending = slices.DeleteFunc(r.pending, func(p pending) bool {
		if now.Sub(p.op.Sent) < r.timeout {
			return false
		}
		r.end(p.op, now)
		return true
	})
}

// Pending is how many acknowledged reports no result has shown yet.
func (r *Reports) Pending() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.pending)
}

// Close counts the reports that no result has shown and that had time left as unanswered, and returns how many they are.
func (r *Reports) Close(now time.Time) int {
	r.Sweep(now)
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.pending)
	for _, p := range r.pending {
		p.op.Unanswered(now, call.RunEnded)
	}
	r.pending = nil
	return n
}
