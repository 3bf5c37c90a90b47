package schedule

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const s = time.Second

func TestCurve(t *testing.T) {
	ramp := Curve{{Duration: 10 * s, From: 0, To: 100}, {Duration: 5 * s, From: 100, To: 100}, {Duration: 10 * s, From: 100, To: 50}}
	for _, tt := range []struct {
		at              time.Duration
		value, integral float64
	}{
		{-s, 0, 0}, {0, 0, 0}, {5 * s, 50, 125}, {10 * s, 100, 500}, {12 * s, 100, 700}, {20 * s, 75, 1000 + 437.5}, {25 * s, 50, 1750}, {99 * s, 50, 1750},
	} {
		if got := ramp.At(tt.at); got != tt.value {
			t.Errorf("At(%v) = %v; want %v", tt.at, got, tt.value)
		}
		if got := ramp.Integral(tt.at); math.Abs(got-tt.integral) > 1e-9 {
			t.Errorf("Integral(%v) = %v; want %v", tt.at, got, tt.integral)
		}
	}
	if at, ok := (Curve{{Duration: 10 * s, From: 50, To: 50}}).TimeOf(501); ok {
		t.Errorf("TimeOf past the end = %v; want none", at)
	}
}

func curves() *rapid.Generator[Curve] {
	segment := rapid.Custom(func(t *rapid.T) Segment {
		return Segment{
			Duration: time.Duration(rapid.Int64Range(1, 60_000).Draw(t, "ms")) * time.Millisecond,
			From:     rapid.Float64Range(0, 10_000).Draw(t, "from"), To: rapid.Float64Range(0, 10_000).Draw(t, "to"),
		}
	})
	return rapid.Custom(func(t *rapid.T) Curve { return rapid.SliceOfN(segment, 1, 6).Draw(t, "segments") })
}

// The n-th event is due when n events are due: TimeOf is the inverse of Integral.
func TestTimeOfInvertsIntegral(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := curves().Draw(t, "curve")
		n := rapid.Float64Range(0, 1).Draw(t, "share") * c.Integral(c.Total())
		at, ok := c.TimeOf(n)
		if !ok {
			if n > c.Integral(c.Total())*(1-1e-9) {
				return
			}
			t.Fatalf("TimeOf(%v) found nothing in a curve with %v", n, c.Integral(c.Total()))
		}
		if at < 0 || at > c.Total() {
			t.Fatalf("TimeOf(%v) = %v; the curve is %v long", n, at, c.Total())
		}
		// A nanosecond of rounding at 10,000 a second is 1e-5 events.
		if got := c.Integral(at); math.Abs(got-n) > 1e-4+1e-9*n {
			t.Fatalf("Integral(TimeOf(%v)) = %v", n, got)
		}
	})
}

// Events come in order, whatever the curve.
func TestTimeOfIsMonotonic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := curves().Draw(t, "curve")
		whole := c.Integral(c.Total())
		a, b := rapid.Float64Range(0, whole).Draw(t, "a"), rapid.Float64Range(0, whole).Draw(t, "b")
		first, ok1 := c.TimeOf(min(a, b))
		second, ok2 := c.TimeOf(max(a, b))
		if ok1 && ok2 && first > second {
			t.Fatalf("event %v is due at %v, event %v at %v", min(a, b), first, max(a, b), second)
		}
	})
}

// Events of a rate are in the middle of their units: none at the start, none at the end.
func TestNth(t *testing.T) {
	for _, tt := range []struct {
		name        string
		c           Curve
		n           int64
		first, last time.Duration
	}{
		{"constant", Curve{{Duration: 2 * s, From: 100, To: 100}}, 200, 5 * ms, 1995 * ms},
		{"one", Curve{{Duration: 2 * s, From: 0.5, To: 0.5}}, 1, s, s},
		{"a half comes at the end: not any more", Curve{{Duration: 2 * s, From: 0.25, To: 0.25}}, 0, 0, 0},
		{"a little more than a half", Curve{{Duration: 2 * s, From: 0.3, To: 0.3}}, 1, 1666666667, 1666666667},
		{"up", Curve{{Duration: 2 * s, From: 0, To: 4}}, 4, 707106781, 1870828693}, // t² = n − 1/2
		{"down", Curve{{Duration: 2 * s, From: 4, To: 0}}, 4, 129171307, 1292893219},
		{"in parts", Curve{{Duration: s, From: 2, To: 2}, {Duration: s, From: 0, To: 0}, {Duration: s, From: 2, To: 2}}, 4, 250 * ms, 2750 * ms},
		{"nothing", nil, 0, 0, 0},
	} {
		if got := tt.c.Events(tt.c.Total()); got != tt.n {
			t.Errorf("%s: %d events; want %d", tt.name, got, tt.n)
		}
		first, _ := tt.c.Nth(1)
		last, ok := tt.c.Nth(tt.n)
		if _, more := tt.c.Nth(tt.n + 1); more {
			t.Errorf("%s: there is an event %d", tt.name, tt.n+1)
		}
		if tt.n > 0 && (!ok || (first-tt.first).Abs() > 1 || (last-tt.last).Abs() > 1) {
			t.Errorf("%s: from %v to %v; want %v to %v", tt.name, first, last, tt.first, tt.last)
		}
	}
}

// However a curve is cut in two, its parts have the events of the whole, give or take a half at the cut; and
// counting events is counting those that Nth tells of.
func TestEventsCountNth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := curves().Draw(t, "curve")
		at := time.Duration(rapid.Float64Range(0, 1.1).Draw(t, "share") * float64(c.Total()))
		n := c.Events(at)
		if last, ok := c.Nth(n); n > 0 && (!ok || last >= at) {
			t.Fatalf("%d events before %v, the last of them at %v, %t", n, at, last, ok)
		}
		if next, ok := c.Nth(n + 1); ok && next < at {
			t.Fatalf("%d events before %v, but there is one at %v", n, at, next)
		}
		if whole := c.Integral(at); math.Abs(float64(n)-whole) > 0.5+1e-4 {
			t.Fatalf("%d events before %v; the integral is %v", n, at, whole)
		}
	})
}

func TestArrivals(t *testing.T) {
	constant := Curve{{Duration: 2 * s, From: 2, To: 2}}
	for _, tt := range []struct {
		name     string
		from, to int
		want     []Step
	}{
		{"up", 0, 3, []Step{{250 * ms, 1}, {750 * ms, 2}, {1250 * ms, 3}}},
		{"down", 5, 3, []Step{{250 * ms, 4}, {750 * ms, 3}}},
		{"nowhere", 3, 3, nil},
		{"not all", 0, 9, []Step{{250 * ms, 1}, {750 * ms, 2}, {1250 * ms, 3}, {1750 * ms, 4}}},
	} {
		if got := slices.Collect(constant.Arrivals(tt.from, tt.to)); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v; want %v", tt.name, got, tt.want)
		}
	}
	for range constant.Arrivals(0, 3) {
		break // whoever stops is not asked any more
	}
}

func TestEvery(t *testing.T) {
	e := Every{10 * s, 3 * s}
	for _, tt := range []struct {
		t, due time.Duration
		n      int64
	}{{-s, 3 * s, 0}, {0, 3 * s, 0}, {3 * s, 13 * s, 1}, {12 * s, 13 * s, 1}, {13 * s, 23 * s, 2}} {
		if due, n := e.After(tt.t); due != tt.due || n != tt.n {
			t.Errorf("After(%v) = %v, %d; want %v, %d", tt.t, due, n, tt.due, tt.n)
		}
	}
}

// A fleet's phases cover the period evenly: no tenth of it holds more than a share and a half.
func TestSpread(t *testing.T) {
	var tenths [10]int
	const devices = 10_000
	for i := range devices {
		tenths[Spread(42, i, 10*s)/s]++
	}
	for i, n := range tenths {
		if n < devices/20 || n > devices*3/20 {
			t.Errorf("tenth %d holds %d of %d devices", i, n, devices)
		}
	}
	if first, repeated, other := Spread(42, 7, s), Spread(42, 7, s), Spread(43, 7, s); first != repeated || first == other {
		t.Error("a phase must follow from the seed and nothing else")
	}
}
