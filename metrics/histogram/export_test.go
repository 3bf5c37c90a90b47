package histogram

import "github.com/HdrHistogram/hdrhistogram-go"

// Export makes a histogram of the HDR library, for its encodings and tools.
func (h Histogram) Export() *hdrhistogram.Histogram {
	out := hdrhistogram.New(1, maxMicros, 3)
	for b := range h.Buckets() {
		// Within range by construction, so that this cannot fail.
		_ = out.RecordValues(b.Highest(), int64(b.Count))
	}
	return out
}
