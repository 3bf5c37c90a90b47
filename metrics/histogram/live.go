package histogram

import (
	"sync"
	"sync/atomic"
	"time"
)

// Live counts values for many goroutines at once, without a lock. The zero value is empty; its rows are made when they are
// first needed. It must not be copied.
type Live struct {
	rows [rowCount + 1]liveRow
	sum  atomic.Int64 // microseconds
	max  atomic.Int64 // microseconds

	copying sync.Mutex // protects the copies of rows
}

// liveRow is one row, and what it was when it was copied last.
type liveRow struct {
	counters atomic.Pointer[[rowSize]atomic.Uint64]
	changes  atomic.Uint64 // how often something was counted
	seen     uint64        // changes of the copy, or fewer
	copied   *row
}

// Record counts one value. Values below 0 count as 0, those above ten minutes as ten minutes.
func (h *Live) Record(d time.Duration) { h.RecordMany(d, 1) }

// RecordMany is Record for n equal values.
func (h *Live) RecordMany(d time.Duration, n uint64) {
	micros := min(max(int64(d/time.Microsecond), 0), maxMicros)
	for old := h.max.Load(); micros > old && !h.max.CompareAndSwap(old, micros); {
		old = h.max.Load()
	}
	h.sum.Add(micros * int64(n))
	index := indexOf(micros)
	r := &h.rows[index>>rowBits]
	counters := r.counters.Load()
	if counters == nil {
		r.counters.CompareAndSwap(nil, new([rowSize]atomic.Uint64))
		counters = r.counters.Load()
	}
	counters[index&(rowSize-1)].Add(n)
	r.changes.Add(1)
}

// Snapshot copies the histogram: what has changed since the last one. Values recorded meanwhile may be in it or not.
func (h *Live) Snapshot() Histogram {
	h.copying.Lock()
	defer h.copying.Unlock()
	n := 0
	for i := range h.rows {
		if h.rows[i].copy(i) {
			n++
		}
	}
	s := Histogram{Sum: h.sum.Load(), Max: h.max.Load()} // after the rows: no value in them is above the largest
	if n == 0 {
		return s
	}
	s.rows = make([]*row, 0, n)
	for i := range h.rows {
		s.add(h.rows[i].copied)
	}
	return s
}

// copy copies the row if it has changed, and reports whether it has anything.
func (r *liveRow) copy(number int) bool {
	changes := r.changes.Load() // before the counters: what comes between is copied once more
	if changes == r.seen {
		return r.copied != nil
	}
	counters := r.counters.Load()
	n := 0
	for i := range counters {
		if counters[i].Load() > 0 {
			n++
		}
	}
	buckets := make([]Bucket, 0, n)
	for i := range counters {
		if x := counters[i].Load(); x > 0 {
			buckets = append(buckets, Bucket{uint32(number<<rowBits + i), x})
		}
	}
	r.copied, r.seen = rowOf(uint32(number), buckets), changes
	return r.copied != nil
}
