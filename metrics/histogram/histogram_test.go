package histogram

import (
	"slices"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"pgregory.net/rapid"
)

// Percentiles are those of the HDR library over the same values.
func TestHistogramIsHDR(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var live Live
		want := hdrhistogram.New(1, maxMicros, 3)
		for _, micros := range rapid.SliceOfN(rapid.Int64Range(0, maxMicros), 1, 300).Draw(t, "micros") {
			live.Record(time.Duration(micros) * time.Microsecond)
			if err := want.RecordValue(micros); err != nil {
				t.Fatal(err)
			}
		}
		got := live.Snapshot()
		if int64(got.Count) != want.TotalCount() {
			t.Fatalf("count = %d; want %d", got.Count, want.TotalCount())
		}
		for _, q := range []float64{1, 25, 50, 90, 95, 99, 99.9} {
			g, w := got.Quantile(q/100).Microseconds(), min(want.ValueAtQuantile(q), got.Max)
			if g != w {
				t.Fatalf("p(%v) = %d; want %d", q, g, w)
			}
		}
		if exported := got.Export(); exported.TotalCount() != want.TotalCount() || exported.ValueAtQuantile(50) != want.ValueAtQuantile(50) {
			t.Fatal("the exported histogram differs")
		}
	})
}

// Merging is exact: two halves together are the whole, and the whole less one half is the other.
func TestMergeAndSubAreExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Int64Range(0, maxMicros), 0, 200)
		var first, second, both Live
		for _, v := range values.Draw(t, "first") {
			first.Record(time.Duration(v) * time.Microsecond)
			both.Record(time.Duration(v) * time.Microsecond)
		}
		for _, v := range values.Draw(t, "second") {
			second.Record(time.Duration(v) * time.Microsecond)
			both.Record(time.Duration(v) * time.Microsecond)
		}
		a, b, whole := first.Snapshot(), second.Snapshot(), both.Snapshot()
		same := func(what string, x, y Histogram) {
			got, want := slices.Collect(x.Buckets()), slices.Collect(y.Buckets())
			if x.Count != y.Count || x.Sum != y.Sum || !slices.Equal(got, want) {
				t.Fatalf("%s: %+v %v; want %+v %v", what, x, got, y, want)
			}
		}
		same("merge", a.Merge(b), whole)
		same("merge the other way round", b.Merge(a), whole)
		same("sub", whole.Sub(a), b)
	})
}
