package schedule

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/schedule/chance"
)

const ms = time.Millisecond

func TestBackoff(t *testing.T) {
	for _, tt := range []struct {
		name string
		b    Backoff
		n    int
		u    float64
		want time.Duration
	}{
		{"node", ExponentialBackoff(), 0, 0.9, 100 * ms},
		{"node", ExponentialBackoff(), 1, 0.4, 110 * ms},
		{"node", ExponentialBackoff(), 4, 0.4, 250 * ms},
		{"node", ExponentialBackoff(), 12, 0.4, 10 * s},
		{"node", ExponentialBackoff(), 12, 0, 100 * ms},
		{"node", ExponentialBackoff(), 1 << 30, 0.001, 10 * s},
		{"node", ExponentialBackoff(), 1 << 30, 0, 100 * ms},
		{"steep", SteepBackoff(), 0, 0.9, 100 * ms},
		{"steep", SteepBackoff(), 1, 0, 180 * ms},
		{"steep", SteepBackoff(), 3, 0.5, 800 * ms},
		{"steep", SteepBackoff(), 9, 0, 10 * s},
		{"throttled", ThrottledBackoff(), 0, 0.5, 10 * s},
		{"throttled", ThrottledBackoff(), 3, 0.8, 17 * s},
		{"throttled", ThrottledBackoff(), 20, 0.8, time.Minute},
		{"fixed", FixedBackoff(), 0, 0.5, 10 * s},
		{"fixed", FixedBackoff(), 99, 0.5, 10 * s},
		{"none", NoBackoff(), 5, 0.5, 0},
		{"nothing said", Backoff{}, 0, 0.4, 100 * ms},
		{"nothing said", Backoff{}, 4, 0.4, 250 * ms},
		{"nothing said", Backoff{}, 99, 0.4, 10 * s},
		{"only a base", Backoff{Base: s}, 3, 0.4, s},
		{"only a maximum", Backoff{Max: 5 * s}, 99, 0.4, 5 * s},
		{"only a small maximum", Backoff{Max: 5 * ms}, 99, 0.4, 5 * ms},
	} {
		if got := tt.b.Delay(tt.n, tt.u).Round(ms); got != tt.want {
			t.Errorf("%s: Delay(%d, %v) = %v; want %v", tt.name, tt.n, tt.u, got, tt.want)
		}
	}
}

// No wait leaves its bounds, whatever the numbers.
func TestBackoffStaysWithinBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		span := func(name string) time.Duration {
			return time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, name))
		}
		b := Backoff{Base: 1 + span("base"), StepLow: span("low")}
		b.Max, b.StepHigh = b.Base+span("max"), b.StepLow+span("high")
		n, u := rapid.IntRange(0, math.MaxInt).Draw(t, "n"), rapid.Float64Range(0, 0.999999).Draw(t, "u")
		if d := b.Delay(n, u); d < b.Base || d > b.Max {
			t.Fatalf("%+v.Delay(%d, %v) = %v", b, n, u, d)
		}
	})
}

// The parts of any split make up the whole.
func TestShardsSumToTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, of := rapid.IntRange(0, 1_000_000).Draw(t, "n"), rapid.IntRange(1, 100).Draw(t, "of")
		next := 0
		for i := range of {
			first, end := (Shard{i, of}).Range(n)
			if first != next || end < first || end-first > n/of+1 || end-first < n/of {
				t.Fatalf("part %d of %d of %d is %d..%d; the one before ended at %d", i, of, n, first, end, next)
			}
			next = end
		}
		if next != n {
			t.Fatalf("%d parts of %d end at %d", of, n, next)
		}
	})
	if first, end := (Shard{}).Range(7); first != 0 || end != 7 {
		t.Errorf("the zero shard has %d..%d of 7; want all", first, end)
	}
}

// Events dealt to the parts of a rate are the events of the rate.
func TestShardsDealEveryEventOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		of, events := rapid.IntRange(1, 20).Draw(t, "of"), rapid.Int64Range(1, 500).Draw(t, "events")
		seen := make(map[int64]int)
		for i := range of {
			part := Shard{i, of}
			for n := int64(0); part.Nth(n) < events; n++ {
				seen[part.Nth(n)]++
			}
		}
		for n := range events {
			if seen[n] != 1 {
				t.Fatalf("event %d of %d goes to %d of %d parts", n, events, seen[n], of)
			}
		}
	})
}

func TestSteps(t *testing.T) {
	for _, tt := range []struct {
		name string
		c    Curve
		from int
		want []Step
	}{
		{"up", Curve{{Duration: 10 * s, From: 0, To: 2}}, 0, []Step{{2500 * ms, 1}, {7500 * ms, 2}}},
		{"one", Curve{{Duration: 2 * s, From: 0, To: 1}}, 0, []Step{{s, 1}}},
		{"down", Curve{{Duration: 10 * s, From: 2, To: 0}}, 2, []Step{{2500 * ms, 1}, {7500 * ms, 0}}},
		{"hold", Curve{{Duration: 10 * s, From: 2, To: 2}}, 2, nil},
		{"at once", Curve{{Duration: 0, From: 0, To: 2}}, 0, []Step{{0, 1}, {0, 2}}},
		{"up, hold and down", Curve{{Duration: 2 * s, From: 0, To: 2}, {Duration: s, From: 2, To: 2}, {Duration: 4 * s, From: 2, To: 1}}, 0, []Step{{500 * ms, 1}, {1500 * ms, 2}, {5 * s, 1}}},
		{"a staircase", Curve{{Duration: 2 * s, From: 0, To: 1}, {Duration: 2 * s, From: 1, To: 2}}, 0, []Step{{s, 1}, {3 * s, 2}}},
		{"a jump", Curve{{Duration: 2 * s, From: 0, To: 1}, {Duration: 2 * s, From: 3, To: 3}}, 0, []Step{{s, 1}, {2 * s, 2}, {2 * s, 3}}},
		{"from elsewhere", Curve{{Duration: 2 * s, From: 1, To: 2}}, 4, []Step{{0, 3}, {0, 2}, {0, 1}, {s, 2}}},
		{"no curve", nil, 3, nil},
	} {
		var got []Step
		for step := range tt.c.Steps(tt.from) {
			got = append(got, step)
		}
		if len(got) != len(tt.want) {
			t.Errorf("%s: %v; want %v", tt.name, got, tt.want)
			continue
		}
		for i := range got {
			if got[i] != tt.want[i] {
				t.Errorf("%s: step %d is %v; want %v", tt.name, i, got[i], tt.want[i])
			}
		}
	}
	for range (Curve{{Duration: s, From: 0, To: 9}}).Steps(0) {
		break // whoever stops is not asked any more
	}
}

// Steps come in order, change the count by one, keep it the number nearest to the curve, and are over before
// the curve's end unless it jumps there.
func TestStepsFollowTheCurve(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		segment := rapid.Custom(func(t *rapid.T) Segment {
			quarters := rapid.IntRange(0, 1200)
			return Segment{
				Duration: time.Duration(rapid.Int64Range(0, 5000).Draw(t, "ms")) * ms, From: float64(quarters.Draw(t, "from")) / 4, To: float64(quarters.Draw(t, "to")) / 4,
			}
		})
		c := Curve(rapid.SliceOfN(segment, 1, 5).Draw(t, "curve"))
		count, at := rapid.IntRange(0, 300).Draw(t, "from"), time.Duration(0)
		for step := range c.Steps(count) {
			if step.At < at || step.At > c.Total() || (step.Count != count+1 && step.Count != count-1) {
				t.Fatalf("%v follows %d at %v", step, count, at)
			}
			count, at = step.Count, step.At
			if last := len(c) - 1; c[last].Duration > 0 && at >= c.Total() {
				t.Fatalf("%v is due at the end of the curve", step)
			}
		}
		if end := c[len(c)-1].To; math.Abs(float64(count)-end) > 0.5 {
			t.Fatalf("%d at the end of a curve that ends at %v", count, end)
		}
	})
}

// Due counts what Nth lists.
func TestDueCountsNth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := Every{time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "period")), time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "phase"))}
		at := time.Duration(rapid.Int64Range(0, int64(100*time.Hour)).Draw(t, "t"))
		n := e.Due(at)
		if e.Nth(n) <= at || (n > 0 && e.Nth(n-1) > at) {
			t.Fatalf("%+v: %d due by %v; those around are at %v and %v", e, n, at, e.Nth(n-1), e.Nth(n))
		}
	})
}

func TestChurn(t *testing.T) {
	c, x := Churn{chance.Uniform(s, 3*s), chance.Fixed(500 * ms)}, chance.NewStream(3, "churn")
	seen := make(map[time.Duration]bool)
	for n := range int64(50) {
		online, offline := c.Session(x, 5, n)
		repeated, _ := c.Session(x, 5, n)
		if online < s || online > 3*s || offline != 500*ms || repeated != online || seen[online] {
			t.Fatalf("session %d: %v online, %v offline, then %v", n, online, offline, repeated)
		}
		seen[online] = true
	}
}

func BenchmarkTimeOf(b *testing.B) {
	c := Curve{{Duration: 10 * s, From: 0, To: 5000}, {Duration: 60 * s, From: 5000, To: 5000}, {Duration: 10 * s, From: 5000, To: 0}}
	for i := 0; b.Loop(); i++ {
		c.TimeOf(float64(i % 350_000))
	}
}
