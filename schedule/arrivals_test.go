package schedule

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestEven(t *testing.T) {
	got := slices.Collect(Curve{{Duration: 2 * s, From: 1, To: 1}, {Duration: s, From: 0, To: 4}}.Even())
	want := []time.Duration{s / 2, 3 * s / 2, 5 * s / 2, 2*s + 866025404}
	if !slices.Equal(got, want) {
		t.Errorf("even events at %v; want %v", got, want)
	}
}

// Gaps of a Poisson process are exponential and independent: mean and deviation are the same, neighbours
// do not go together, and the count in a second is spread as much as it is large.
func TestPoisson(t *testing.T) {
	const rate, seconds = 50, 4000
	c := Curve{{Duration: seconds * s, From: rate, To: rate}}
	times := slices.Collect(c.Poisson(7, "test", 1))
	if !slices.Equal(times, slices.Collect(c.Poisson(7, "test", 1))) || slices.Equal(times, slices.Collect(c.Poisson(7, "test", 2))) || slices.Equal(times,
		slices.Collect(c.Poisson(8, "test", 1))) {
		t.Error("the times do not follow from seed, name and index")
	}
	if n := float64(len(times)); math.Abs(n-rate*seconds) > 5*math.Sqrt(rate*seconds) {
		t.Errorf("%v events; want %v", n, rate*seconds)
	}
	gaps := make([]float64, len(times)-1)
	for i := range gaps {
		gaps[i] = (times[i+1] - times[i]).Seconds() * rate
	}
	mean, square, next := 0.0, 0.0, 0.0
	for i, g := range gaps {
		mean += g / float64(len(gaps))
		square += g * g / float64(len(gaps))
		if i > 0 {
			next += g * gaps[i-1] / float64(len(gaps))
		}
	}
	if math.Abs(mean-1) > 0.02 || math.Abs(square-2) > 0.08 || math.Abs(next-1) > 0.03 {
		t.Errorf("gaps have mean %.3f, mean square %.3f and mean product %.3f; want 1, 2 and 1", mean, square, next)
	}
	counts := make([]float64, seconds)
	for _, at := range times {
		counts[min(seconds-1, int(at/s))]++
	}
	spread := 0.0
	for _, n := range counts {
		spread += (n - rate) * (n - rate) / seconds
	}
	if math.Abs(spread/rate-1) > 0.15 {
		t.Errorf("counts a second are spread by %.1f; want %d", spread, rate)
	}
}

// Events come in order, within the curve, and where the rate is 0 there are none.
func TestPoissonFollowsTheCurve(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rapid.Float64Range(0, 50)
		c := Curve{{Duration: 2 * s, From: r.Draw(t, "from"), To: r.Draw(t, "to")}, {Duration: 3 * s, From: 0, To: 0}, {Duration: s, From: r.Draw(t, "last"), To: 0}}
		last := time.Duration(-1)
		for at := range c.Poisson(rapid.Uint64().Draw(t, "seed"), "test", 0) {
			if at < last || at > c.Total() || at > 2*s && at < 5*s {
				t.Fatalf("an event at %v after %v", at, last)
			}
			last = at
		}
	})
}
