// Package inflight counts operations that are under way, by how long they have been.
package inflight

import (
	"sync/atomic"
	"time"
)

// Times counts the operations under way by the quarter of a second in which they were intended. The zero value counts none.
type Times struct {
	slots [slots]atomic.Int32
}

// An operation that is under way for longer than ten minutes is counted as a younger one.
const (
	step  = 250 * time.Millisecond
	slots = 2400
)

// Add counts n operations more, or fewer, that were intended at a time; start is when the run began.
func (t *Times) Add(start, intended time.Time, n int32) {
	t.slots[max(0, intended.Sub(start)/step)%slots].Add(n)
}

// Age is how many operations have been under way for a time at least.
type Age struct {
	Least time.Duration // to a quarter of a second
	N     uint64        // how many
}

// Ages are the ages of all that is under way and was intended from a time on and before another, the youngest first.
func (t *Times) Ages(start, from, to, now time.Time) []Age {
	var all []Age
	last := int64(max(0, now.Sub(start)) / step)
	for i := range int64(min(slots, last+1)) {
		if n := t.slots[(last-i)%slots].Load(); n > 0 {
			end := start.Add(time.Duration(last-i+1) * step)
			if end.Add(-step).Before(from) || (end.After(to) && to.Before(now)) {
				continue
			}
			least := now.Sub(end)
			all = append(all, Age{max(0, least), uint64(n)})
		}
	}
	return all
}
