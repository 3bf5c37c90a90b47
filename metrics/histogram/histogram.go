// Package histogram keeps distributions of times: HDR histograms of microseconds with three significant digits, from
// 1 µs to ten minutes.
//
// A Live counts what many goroutines record; its Snapshot is a Histogram, a value that is never changed. Histograms merge
// and subtract exactly, so that a quantile of the whole is never made of quantiles of its parts.
package histogram

import (
	"iter"
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

// Histogram is a distribution of times. It is a value that is never changed. The zero value is empty.
type Histogram struct {
	Count uint64 // how many values there are
	Sum   int64  // of all values, in microseconds
	Max   int64  // the largest value, in microseconds; of a window: the upper edge of its highest bucket

	rows []*row // ascending; histograms share those that are the same
}

// row is the buckets of one row of the layout. It is never changed.
type row struct {
	number  uint32
	count   uint64   // the sum of what the buckets hold
	buckets []Bucket // ascending, at least one
}

// rowOf makes a row of buckets; nil when there are none.
func rowOf(number uint32, buckets []Bucket) *row {
	if len(buckets) == 0 {
		return nil
	}
	r := &row{number: number, buckets: buckets}
	for _, b := range buckets {
		r.count += b.Count
	}
	return r
}

// Of makes a histogram of buckets, ascending by index, of which none is empty. Its sum and its largest value are those of their upper
// edges.
func Of(buckets ...Bucket) Histogram {
	var h Histogram
	for len(buckets) > 0 {
		number, n := buckets[0].Index>>rowBits, 1
		for n < len(buckets) && buckets[n].Index>>rowBits == number {
			n++
		}
		h.add(rowOf(number, buckets[:n:n]))
		buckets = buckets[n:]
	}
	for b := range h.Buckets() {
		h.Sum += int64(b.Count) * b.Highest()
		h.Max = min(b.Highest(), maxMicros)
	}
	return h
}

// add adds a row above all that the histogram has; it may be nil. Only its maker does.
func (h *Histogram) add(r *row) {
	if r != nil {
		h.rows = append(h.rows, r)
		h.Count += r.count
	}
}

// Buckets are the counters that are not zero, ascending.
func (h Histogram) Buckets() iter.Seq[Bucket] {
	return func(yield func(Bucket) bool) {
		for _, r := range h.rows {
			for _, b := range r.buckets {
				if !yield(b) {
					return
				}
			}
		}
	}
}

// size is how many buckets there are.
func (h Histogram) size() int {
	n := 0
	for _, r := range h.rows {
		n += len(r.buckets)
	}
	return n
}

// combine walks two histograms side by side. What only one has is kept; of what both have op makes the new row.
func (h *Histogram) combine(a, b []*row, op func(a, b *row) *row) {
	h.rows = make([]*row, 0, max(len(a), len(b)))
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || (len(a) > 0 && a[0].number < b[0].number):
			h.add(op(a[0], nil))
			a = a[1:]
		case len(a) == 0 || b[0].number < a[0].number:
			h.add(op(nil, b[0]))
			b = b[1:]
		default:
			h.add(op(a[0], b[0]))
			a, b = a[1:], b[1:]
		}
	}
}

// plus is the sum of two rows, of which one may be nil.
func plus(a, b *row) *row {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	both := 0
	for i, j := 0, 0; i < len(a.buckets) && j < len(b.buckets); {
		x, y := a.buckets[i].Index, b.buckets[j].Index
		if x == y {
			both++
		}
		if x <= y {
			i++
		}
		if y <= x {
			j++
		}
	}
	out := make([]Bucket, 0, len(a.buckets)+len(b.buckets)-both)
	x, y := a.buckets, b.buckets
	for len(x) > 0 && len(y) > 0 {
		switch {
		case x[0].Index < y[0].Index:
			out, x = append(out, x[0]), x[1:]
		case y[0].Index < x[0].Index:
			out, y = append(out, y[0]), y[1:]
		default:
			out = append(out, Bucket{x[0].Index, x[0].Count + y[0].Count})
			x, y = x[1:], y[1:]
		}
	}
	return rowOf(a.number, append(append(out, x...), y...))
}

// minus is what a row has more than an earlier one of the same histogram; either may be nil.
func minus(now, earlier *row) *row {
	switch {
	case now == nil || now == earlier:
		return nil
	case earlier == nil:
		return now
	}
	// What is new is often little of what there is.
	var out []Bucket
	for pass := range 2 {
		n, old := 0, earlier.buckets
		for _, b := range now.buckets {
			for len(old) > 0 && old[0].Index < b.Index {
				old = old[1:]
			}
			if len(old) > 0 && old[0].Index == b.Index {
				b.Count -= min(b.Count, old[0].Count)
			}
			if b.Count == 0 {
				continue
			}
			n++
			if pass == 1 {
				out = append(out, b)
			}
		}
		if pass == 0 {
			out = make([]Bucket, 0, n)
		}
	}
	return rowOf(now.number, out)
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
	m.combine(h.rows, o.rows, plus)
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
	d.combine(h.rows, earlier.rows, minus)
	if n := len(d.rows); n > 0 {
		last := d.rows[n-1].buckets
		d.Max = min(last[len(last)-1].Highest(), h.Max)
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
	for _, r := range h.rows {
		if seen+r.count < want {
			seen += r.count
			continue
		}
		for _, b := range r.buckets {
			seen += b.Count
			if seen >= want {
				return time.Duration(min(b.Highest(), h.Max)) * time.Microsecond
			}
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
	first := int(h.rows[0].buckets[0].Index)
	row := max(0, first>>rowBits-1)
	return time.Duration(int64(first-row<<rowBits)<<row) * time.Microsecond
}

// Maximum is the largest value; 0 when there is none.
func (h Histogram) Maximum() time.Duration { return time.Duration(h.Max) * time.Microsecond }

// Below counts the values up to d, to the histogram's precision.
func (h Histogram) Below(d time.Duration) uint64 {
	limit := uint32(indexOf(min(max(int64(d/time.Microsecond), 0), maxMicros)))
	var n uint64
	for b := range h.Buckets() {
		if b.Index > limit {
			break
		}
		n += b.Count
	}
	return n
}
