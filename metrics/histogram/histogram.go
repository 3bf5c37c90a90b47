// Package histogram keeps distributions of times: HDR histograms of microseconds with three significant digits, from
// 1 µs to ten minutes.
//
// A Live counts what many goroutines record; its Snapshot is a Histogram, a value that is never changed. Histograms merge
// and subtract exactly, so that a quantile of the whole is never made of quantiles of its parts.
package histogram

import (
	"math/bits"
	"time"
)

// The layout is that of an HDR histogram of microseconds with three significant digits: rows of
// 1,024 counters, each row twice as coarse as the one before. Values above maxMicros count as it.
const (
	rowBits   = 10
	rowSize   = 1 << rowBits
	rowMask   = 2*rowSize - 1
	rowCount  = 21
	maxMicros = 600_000_000 // ten minutes
)

// indexOf is the counter of a value in microseconds.
func indexOf(micros int64) int {
	row := bits.Len64(uint64(micros)|rowMask) - (rowBits + 1)
	return row<<rowBits + int(micros>>row)
}

// highestOf is the largest value, in microseconds, that shares a counter with the smallest of it.
func highestOf(index int) int64 {
	row := max(0, index>>rowBits-1)
	sub := int64(index - row<<rowBits)
	return (sub+1)<<row - 1
}

// Bucket is one counter of a Histogram that is not zero.
type Bucket struct {
	Index uint32 // which values it counts: the higher, the longer
	Count uint64 // how many were recorded; never 0
}

// Highest is the largest value that the bucket counts, in microseconds.
func (b Bucket) Highest() int64 { return highestOf(int(b.Index)) }

// Histogram is a distribution of times. It is immutable, also what Buckets points to. The zero value is empty.
type Histogram struct {
	Buckets []Bucket // ascending by index
	Count   uint64   // the sum of what the buckets hold
	Sum     int64    // of all values, in microseconds
	Max     int64    // the largest value, in microseconds; of a window: the upper edge of its highest bucket
}

// combine walks two histograms side by side.
func combine(a, b []Bucket, op func(x, y uint64) uint64) ([]Bucket, uint64) {
	out := make([]Bucket, 0, max(len(a), len(b)))
	var total uint64
	add := func(index uint32, n uint64) {
		if n > 0 {
			out = append(out, Bucket{index, n})
			total += n
		}
	}
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || (len(a) > 0 && a[0].Index < b[0].Index):
			add(a[0].Index, op(a[0].Count, 0))
			a = a[1:]
		case len(a) == 0 || b[0].Index < a[0].Index:
			add(b[0].Index, op(0, b[0].Count))
			b = b[1:]
		default:
			add(a[0].Index, op(a[0].Count, b[0].Count))
			a, b = a[1:], b[1:]
		}
	}
	return out, total
}

// Merge adds another histogram, exactly.
func (h Histogram) Merge(o Histogram) Histogram {
	if o.Count == 0 {
		return h
	}
	if h.Count == 0 {
		return o
	}
	m := Histogram{Sum: h.Sum + o.Sum, Max: max(h.Max, o.Max)}
	m.Buckets, m.Count = combine(h.Buckets, o.Buckets, func(x, y uint64) uint64 { return x + y })
	return m
}

// MergeAll adds up histograms, exactly.
func MergeAll(all []Histogram) Histogram {
	var h Histogram
	for _, x := range all {
		h = h.Merge(x)
	}
	return h
}

// Sub is what came since an earlier state of the same histogram.
func (h Histogram) Sub(earlier Histogram) Histogram {
	if earlier.Count == 0 {
		return h
	}
	d := Histogram{Sum: h.Sum - earlier.Sum}
	d.Buckets, d.Count = combine(h.Buckets, earlier.Buckets, func(x, y uint64) uint64 { return x - min(x, y) })
	if n := len(d.Buckets); n > 0 {
		d.Max = min(highestOf(int(d.Buckets[n-1].Index)), h.Max)
	}
	return d
}

// Quantile is the value below which a share q of 0 to 1 lies; 0 when the histogram is empty.
func (h Histogram) Quantile(q float64) time.Duration {
	if h.Count == 0 {
		return 0
	}
	want := h.Rank(q)
	var seen uint64
	for _, b := range h.Buckets {
		seen += b.Count
		if seen >= want {
			return time.Duration(min(highestOf(int(b.Index)), h.Max)) * time.Microsecond
		}
	}
	return h.Maximum()
}

// Rank is which of the values, from 1 in their order, a quantile is: the one that the HDR library takes.
func (h Histogram) Rank(q float64) uint64 {
	return max(1, uint64(min(max(q, 0), 1)*float64(h.Count)+0.5))
}

// Mean is the average; 0 when the histogram is empty.
func (h Histogram) Mean() time.Duration {
	if h.Count == 0 {
		return 0
	}
	return time.Duration(float64(h.Sum) / float64(h.Count) * float64(time.Microsecond))
}

// Minimum is the smallest value, to the histogram's precision; 0 when there is none.
func (h Histogram) Minimum() time.Duration {
	if h.Count == 0 {
		return 0
	}
	first := int(h.Buckets[0].Index)
	row := max(0, first>>rowBits-1)
	return time.Duration(int64(first-row<<rowBits)<<row) * time.Microsecond
}

// Maximum is the largest value; 0 when there is none.
func (h Histogram) Maximum() time.Duration { return time.Duration(h.Max) * time.Microsecond }

// Below counts the values up to d, to the histogram's precision.
func (h Histogram) Below(d time.Duration) uint64 {
	limit := uint32(indexOf(min(max(int64(d/time.Microsecond), 0), maxMicros)))
	var n uint64
	for _, b := range h.Buckets {
		if b.Index > limit {
			break
		}
		n += b.Count
	}
	return n
}
