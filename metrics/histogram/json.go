package histogram

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
)

// histogramJSON is a histogram in a record: its buckets as base64 of uvarints, a pair each: the distance
// from the last index, and the count. That is some three bytes a bucket.
type histogramJSON struct {
	Count   uint64 `json:"n"`
	Sum     int64  `json:"sum"` // microseconds
	Max     int64  `json:"max"` // microseconds
	Buckets string `json:"b"`
}

// MarshalJSON writes the whole distribution, so that what reads it can merge it exactly. An empty one is null.
func (h Histogram) MarshalJSON() ([]byte, error) {
	if h.Count == 0 {
		return []byte("null"), nil
	}
	b := make([]byte, 0, 3*h.size())
	last := uint32(0)
	for x := range h.Buckets() {
		b = binary.AppendUvarint(b, uint64(x.Index-last))
		b = binary.AppendUvarint(b, x.Count)
		last = x.Index
	}
	return json.Marshal(histogramJSON{h.Count, h.Sum, h.Max, base64.RawStdEncoding.EncodeToString(b)})
}

// ErrFormat is returned for text that is no histogram.
var ErrFormat = errors.New("not a histogram")

// UnmarshalJSON reads what MarshalJSON wrote.
func (h *Histogram) UnmarshalJSON(text []byte) error {
	*h = Histogram{}
	if string(text) == "null" {
		return nil
	}
	var in histogramJSON
	if err := json.Unmarshal(text, &in); err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	b, err := base64.RawStdEncoding.DecodeString(in.Buckets)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	var buckets []Bucket
	index := uint64(0)
	for len(b) > 0 {
		step, n := binary.Uvarint(b)
		if n <= 0 {
			return fmt.Errorf("%w: an index is cut", ErrFormat)
		}
		count, m := binary.Uvarint(b[n:])
		if m <= 0 || count == 0 || step > highestIndex || (len(buckets) > 0 && step == 0) {
			return fmt.Errorf("%w: a bucket is wrong", ErrFormat)
		}
		if index += step; index > highestIndex {
			return fmt.Errorf("%w: index %d is out of range", ErrFormat, index)
		}
		buckets = append(buckets, Bucket{uint32(index), count})
		b = b[n+m:]
	}
	out := Of(buckets...)
	out.Sum, out.Max = in.Sum, in.Max
	if out.Count != in.Count {
		return fmt.Errorf("%w: the buckets hold %d, not %d", ErrFormat, out.Count, in.Count)
	}
	*h = out
	return nil
}

// highestIndex is the last bucket that there is.
const highestIndex = (rowCount+1)*rowSize - 1
