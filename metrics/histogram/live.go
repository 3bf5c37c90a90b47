package histogram

import (
	"sync/atomic"
	"time"
)

// Live counts values for many goroutines at once, without a lock. The zero value is empty; its rows are made when they are
// first needed. It must not be copied.
type Live struct {
	rows [rowCount + 1]atomic.Pointer[[rowSize]atomic.Uint64]
	sum  atomic.Int64 // microseconds
	max  atomic.Int64 // microseconds
}

// Record counts one value. Values below 0 count as 0, those above ten minutes as ten minutes.
func (h *Live) Record(d time.Duration) { h.RecordMany(d, 1) }

// RecordMany is Record for n equal values.
func (h *Live) RecordMany(d time.Duration, n uint64) {
	micros := min(max(int64(d/time.Microsecond), 0), maxMicros)
	index := indexOf(micros)
	row := h.rows[index>>rowBits].Load()
	if row == nil {
		h.rows[index>>rowBits].CompareAndSwap(nil, new([rowSize]atomic.Uint64))
		row = h.rows[index>>rowBits].Load()
	}
	row[index&(rowSize-1)].Add(n)
	h.sum.Add(micros * int64(n))
	for {
		old := h.max.Load()
		if micros <= old || h.max.CompareAndSwap(old, micros) {
			return
		}
	}
}

// Snapshot copies the histogram. Values recorded meanwhile may be in it or not.
func (h *Live) Snapshot() Histogram {
	s := Histogram{Sum: h.sum.Load(), Max: h.max.Load()}
	for r := range h.rows {
		row := h.rows[r].Load()
		if row == nil {
			continue
		}
		for i := range row {
			if n := row[i].Load(); n > 0 {
				s.Buckets = append(s.Buckets, Bucket{uint32(r<<rowBits + i), n})
				s.Count += n
			}
		}
	}
	return s
}
