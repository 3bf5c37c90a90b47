package histogram

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A histogram comes back from JSON as it was.
func TestHistogramJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var live Live
		for _, micros := range rapid.SliceOf(rapid.Int64Range(0, maxMicros)).Draw(t, "micros") {
			live.Record(time.Duration(micros) * time.Microsecond)
		}
		want := live.Snapshot()
		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got Histogram
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v; want %+v", got, want)
		}
	})
}

func FuzzHistogramJSON(f *testing.F) {
	f.Add([]byte(`{"n":1,"sum":5,"max":5,"b":"BQE"}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`{"n":1,"b":"/////wEB"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var h Histogram
		if h.UnmarshalJSON(text) != nil {
			return
		}
		// What is taken is in order and in range, so that nothing that reads it can run astray.
		h.Quantile(0.99)
		var n uint64
		next := uint32(0)
		for b := range h.Buckets() {
			n += b.Count
			if b.Index > highestIndex || b.Index < next {
				t.Fatalf("bucket %+v after %d", b, next)
			}
			next = b.Index + 1
		}
		if n != h.Count {
			t.Fatalf("%d in the buckets of %d", n, h.Count)
		}
	})
}
