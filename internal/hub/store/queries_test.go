package store

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonparse"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/query/plan"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
)

// ids returns the device ids of a bitmap, sorted.
func ids(s *Store, b *roaring.Bitmap) []string {
	out := []string{}
	if b == nil {
		return out
	}
	for it := b.Iterator(); it.HasNext(); {
		if tw := s.At(it.Next()); tw != nil {
			out = append(out, tw.DeviceID)
		}
	}
	slices.Sort(out)
	return out
}

// scan finds ids the plain way: by reading every twin.
func scan(s *Store, path []string, match func(jsonvalue.Value) bool) []string {
	out := []string{}
	for ord := range s.Max() {
		if tw := s.At(ord); tw != nil && match(tw.Field(path...)) {
			out = append(out, tw.DeviceID)
		}
	}
	slices.Sort(out)
	return out
}

func TestViewFollowsTheTruth(t *testing.T) {
	s := open(t, Options{})
	create(t, s, "a", "b", "c")
	if s.Len() != 3 || s.Max() != 3 {
		t.Errorf("Len %d, Max %d; want 3, 3", s.Len(), s.Max())
	}
	ordA, _, ok := s.ByID("a")
	patch(t, s, "a", `{"x":1}`, "")
	if after, tw, stillOK := s.ByID("a"); !ok || !stillOK || after != ordA || tw.Field("tags", "x").Num() != 1 || s.At(ordA) != tw {
		t.Errorf("twin a has number %d, then %d: %v", ordA, after, tw)
	}
	if err := s.DeleteDevice(t.Context(), "a", ""); err != nil {
		t.Fatal(err)
	}
	if _, _, ok := s.ByID("a"); ok || s.At(ordA) != nil || s.Len() != 2 || s.Max() != 3 {
		t.Errorf("after the deletion: ByID %v, At %v, Len %d, Max %d", ok, s.At(ordA), s.Len(), s.Max())
	}
	create(t, s, "d")
	if ord, _, _ := s.ByID("d"); ord != ordA || s.Max() != 3 {
		t.Errorf("the free number %d was not reused, but %d", ordA, ord)
	}
	if s.At(math.MaxUint32) != nil {
		t.Error("a twin where there can be none")
	}
}

func TestLookupCanonicalPaths(t *testing.T) {
	s := open(t, Options{})
	create(t, s, "a", "b")
	patch(t, s, "a", `{"Status":"x"}`, "")
	for _, tt := range []struct {
		path []string
		v    jsonvalue.Value
		want []string
	}{
		{[]string{"STATUS"}, jsonvalue.StringValue("enabled"), []string{"a", "b"}},
		{[]string{"status"}, jsonvalue.StringValue("x"), []string{}},
		{[]string{"Tags", "Status"}, jsonvalue.StringValue("x"), []string{"a"}},
		{[]string{"tags", "status"}, jsonvalue.StringValue("x"), []string{}},
		{[]string{"deviceId"}, jsonvalue.StringValue("b"), []string{"b"}},
		{[]string{"properties", "reported", "$version"}, jsonvalue.NumberValue(1), []string{"a", "b"}},
		{[]string{"capabilities", "iotEdge"}, jsonvalue.BoolValue(false), []string{"a", "b"}},
		{[]string{"tags"}, jsonvalue.ObjectValue(), []string{}},
		{[]string{"x509Thumbprint", "primaryThumbprint"}, jsonvalue.NullValue(), []string{}},
	} {
		if got := ids(s, s.Lookup(tt.path).Equal(tt.v)); !slices.Equal(got, tt.want) {
			t.Errorf("%q equal to %s: %q; want %q", tt.path, tt.v, got, tt.want)
		}
	}
	if s.Lookup([]string{"STATUS"}) != s.Lookup([]string{"status"}) {
		t.Error("two indexes for one path")
	}
	if got := s.Lookup(nil); got != nil {
		t.Errorf("an index over no path: %v", got)
	}
}

// TestReturnedBitmapsBelongToTheCaller: changing one changes nothing else.
func TestReturnedBitmapsBelongToTheCaller(t *testing.T) {
	s := open(t, Options{})
	for n := range 21 {
		create(t, s, fmt.Sprint("d", n))
	}
	patch(t, s, "d0", `{"x":1}`, "")
	for path, v := range map[string]jsonvalue.Value{"status": jsonvalue.StringValue("enabled"), "tags.x": jsonvalue.NumberValue(1)} {
		idx := s.Lookup(splitPath(path))
		for _, find := range []func() *roaring.Bitmap{
			func() *roaring.Bitmap { return idx.Equal(v) },
			func() *roaring.Bitmap {
				found, _ := idx.Range(plan.Bound{Value: v}, plan.Bound{Value: v}, math.MaxInt)
				return found
			},
		} {
			mine := find()
			before := mine.GetCardinality()
			mine.Clear()
			if got := find().GetCardinality(); got != before || before == 0 {
				t.Errorf("%s: %d twins, then %d", path, before, got)
			}
		}
	}
}

func splitPath(path string) []string {
	out := []string{""}
	for _, r := range path {
		if r == '.' {
			out = append(out, "")
			continue
		}
		out[len(out)-1] += string(r)
	}
	return out
}

// TestIndexAgainstScan does random writes and holds what indexes find against a walk over
// all twins. Some indexes exist before the writes, some are built after them.
func TestIndexAgainstScan(t *testing.T) {
	paths := [][]string{{"tags", "v"}, {"properties", "reported", "o", "v"}, {"properties", "desired", "v"}, {"status"}, {"version"}}
	values := []string{`1`, `1.0`, `-0`, `0`, `2.5`, `"a"`, `"b"`, `""`, `true`, `false`, `[1]`, `{"x":1}`, `null`}
	rapid.Check(t, func(rt *rapid.T) {
		s, err := Open(context.Background(), Options{})
		if err != nil {
			rt.Fatal(err)
		}
		early := rapid.IntRange(0, len(paths)).Draw(rt, "early")
		for _, path := range paths[:early] {
			s.Lookup(path)
		}
		id := rapid.Map(rapid.IntRange(0, 40), func(n int) string { return fmt.Sprint("d", n) })
		text := rapid.SampledFrom(values)
		for range rapid.IntRange(0, 120).Draw(rt, "writes") {
			device := id.Draw(rt, "id")
			v := value(t, `{"v":`+text.Draw(rt, "value")+`}`)
			switch rapid.IntRange(0, 6).Draw(rt, "write") {
			case 0, 1:
				_, _ = s.CreateDevice(context.Background(), registry.Identity{DeviceID: device})
			case 2:
				_ = s.DeleteDevice(context.Background(), device, "")
			case 3:
				_, _ = s.PatchTwin(context.Background(), device, v, v, "")
			case 4:
				_, _ = s.Report(context.Background(), device, jsonvalue.ObjectValue(jsonvalue.Member{Key: "o", Value: v}), -1)
			case 5:
				_, _ = s.UpdateDevice(context.Background(), registry.Identity{DeviceID: device, Status: "disabled"}, "")
			case 6:
				_, _ = s.ReplaceTwin(context.Background(), device, v, jsonvalue.Value{}, "")
			}
		}
		for _, path := range paths {
			compareIndex(rt, s, path, append(values, `"enabled"`, `3`))
		}
		if s.Len() != s.Statistics().Total {
			rt.Fatalf("queries see %d twins of %d", s.Len(), s.Statistics().Total)
		}
	})
}

// compareIndex holds Equal and Range of one index against scans.
func compareIndex(rt *rapid.T, s *Store, path, texts []string) {
	rt.Helper()
	idx := s.Lookup(path)
	var values []jsonvalue.Value
	for _, text := range texts {
		v, err := jsonparse.Parse([]byte(text))
		if err != nil {
			rt.Fatal(err)
		}
		values = append(values, v)
		want := []string{}
		if v.IsScalar() {
			want = scan(s, path, v.Equal)
		}
		if got := ids(s, idx.Equal(v)); !slices.Equal(got, want) {
			rt.Fatalf("%q = %s: index %q, scan %q", path, text, got, want)
		}
	}
	for range 8 {
		low, high := boundOf(rt, values), boundOf(rt, values)
		most := rapid.IntRange(0, 40).Draw(rt, "most")
		found, ok := idx.Range(low, high, most)
		got := ids(s, found)
		want := scan(s, path, func(v jsonvalue.Value) bool { return within(v, low, high) })
		if ok != (len(want) <= most) {
			rt.Fatalf("%q from %v to %v gives up over %d twins is %t; there are %d", path, low, high, most, !ok, len(want))
		}
		if ok && !slices.Equal(got, want) {
			rt.Fatalf("%q from %v to %v: index %q, scan %q", path, low, high, got, want)
		}
	}
}

func boundOf(rt *rapid.T, values []jsonvalue.Value) plan.Bound {
	if rapid.IntRange(0, 3).Draw(rt, "none") == 0 {
		return plan.Bound{}
	}
	return plan.Bound{Value: rapid.SampledFrom(values).Draw(rt, "bound"), Open: rapid.Bool().Draw(rt, "open")}
}

// within says the plain way what Range must find.
func within(v jsonvalue.Value, low, high plan.Bound) bool {
	if !v.IsScalar() || !low.Value.IsDefined() && !high.Value.IsDefined() {
		return false
	}
	if low.Value.IsDefined() && (low.Value.Kind() != v.Kind() || order(v, low.Value) < 0 || low.Open && order(v, low.Value) == 0) {
		return false
	}
	return !high.Value.IsDefined() || high.Value.Kind() == v.Kind() && (order(v, high.Value) < 0 || !high.Open && order(v, high.Value) == 0)
}

// order compares two scalars of one kind.
func order(a, b jsonvalue.Value) int {
	switch a.Kind() {
	case jsonvalue.String:
		return strings.Compare(a.Str(), b.Str())
	case jsonvalue.Number:
		return cmp.Compare(a.Num(), b.Num())
	default:
		return cmp.Compare(fmt.Sprint(a.Bool()), fmt.Sprint(b.Bool()))
	}
}

// TestIndexUnderConcurrentWrites builds and reads indexes while twins change, and then
// holds them against a scan.
func TestIndexUnderConcurrentWrites(t *testing.T) {
	s := open(t, Options{})
	const devices, rounds = 300, 20
	for n := range devices {
		create(t, s, fmt.Sprint("d", n))
	}
	var writers, readers sync.WaitGroup
	stop := make(chan struct{})
	for w := range 4 {
		writers.Go(func() {
			for r := range rounds {
				for n := w; n < devices; n += 4 {
					v := jsonvalue.ObjectValue(jsonvalue.Member{Key: "v", Value: jsonvalue.NumberValue(float64((n + r) % 7))})
					if _, err := s.Report(context.Background(), fmt.Sprint("d", n), v, -1); err != nil {
						t.Error(err)
					}
				}
				_ = s.DeleteDevice(context.Background(), fmt.Sprint("extra", w), "")
				_, _ = s.CreateDevice(context.Background(), registry.Identity{DeviceID: fmt.Sprint("extra", w)})
			}
		})
	}
	path := []string{"properties", "reported", "v"}
	for r := range 2 {
		readers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				s.Lookup([]string{"tags", fmt.Sprint(r, n%20)}) // Drives other indexes out.
				for v := range 7 {
					ids(s, s.Lookup(path).Equal(jsonvalue.NumberValue(float64(v))))
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	for v := range 7 {
		want := scan(s, path, jsonvalue.NumberValue(float64(v)).Equal)
		if got := ids(s, s.Lookup(path).Equal(jsonvalue.NumberValue(float64(v)))); !slices.Equal(got, want) {
			t.Errorf("%v: index finds %d twins, a scan %d", v, len(got), len(want))
		}
	}
}
