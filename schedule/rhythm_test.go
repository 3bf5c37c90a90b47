package schedule

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/schedule/chance"
)

// dues are the due times up to a time.
func dues(r Rhythm, until time.Duration) (all []time.Duration) {
	var c Cursor
	for at := r.After(&c, -1); at <= until; at = r.After(&c, at) {
		all = append(all, at)
	}
	return all
}

// However somebody goes through a rhythm, forward, it is the same: nothing is due twice, and nothing is passed over.
func TestRhythmWhateverTheSteps(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		gaps := rapid.SampledFrom([]chance.Distribution{
			{},
			chance.Uniform(time.Second, 3*time.Second), chance.Uniform(0, time.Second),
			chance.Exponential(2 * time.Second),
		}).Draw(rt, "gaps")
		calendar := NewCalendar(rapid.Uint64().Draw(rt, "seed"))
		r := calendar.Reports(rapid.IntRange(0, 1000).Draw(rt, "index"), 2*time.Second, gaps, rapid.Bool().Draw(rt, "sync"))
		all := dues(r, time.Hour)
		var stepping, counting Cursor
		at := time.Duration(0)
		for range 50 {
			next := at + time.Duration(rapid.Int64Range(0, int64(20*time.Second)).Draw(rt, "step"))
			want := int64(0)
			first := time.Duration(-1)
			for _, x := range all {
				if x > at && x <= next {
					want++
				}
				if x > at && first < 0 {
					first = x
				}
			}
			if got := r.After(&stepping, at); got != first {
				rt.Fatalf("after %s: %s; want %s", at, got, first)
			}
			if got := r.Count(&counting, at, next); got != want {
				rt.Fatalf("from %s to %s: %d; want %d", at, next, got, want)
			}
			at = next
		}
	})
}

// Gaps are those that were asked for: between two times, or exponential with a mean, and each device has its own
// unless all keep step.
func TestRandomGaps(t *testing.T) {
	calendar := NewCalendar(1)
	independent := chance.Exponential(15 * time.Second)
	var lengths []float64
	for index := range 200 {
		previous := time.Duration(0)
		for i, at := range dues(calendar.Messages(index, 0, chance.Uniform(10*time.Second, 20*time.Second), false), time.Hour) {
			if gap := at - previous; i > 0 && gap < 10*time.Second || gap > 20*time.Second {
				t.Fatalf("a gap of %s", gap)
			}
			previous = at
		}
		previous = 0
		for _, at := range dues(calendar.Messages(index, 0, independent, false), time.Hour) {
			lengths = append(lengths, (at - previous).Seconds())
			previous = at
		}
	}
	var sum, squares float64
	for _, x := range lengths {
		sum, squares = sum+x, squares+x*x
	}
	n := float64(len(lengths))
	mean := sum / n
	if deviation := math.Sqrt(squares/n - mean*mean); math.Abs(mean-15) > 0.3 || math.Abs(deviation-15) > 0.6 {
		t.Errorf("gaps of %.2f s with a deviation of %.2f; want 15 and 15", mean, deviation)
	}
	own := dues(calendar.Messages(1, 0, independent, false), time.Minute)
	if slices.Equal(own, dues(calendar.Messages(2, 0, independent, false), time.Minute)) || slices.Equal(own, dues(calendar.Reports(1, 0, independent, false),
		time.Minute)) {
		t.Error("two devices, or reports and messages, have the same times")
	}
	if !slices.Equal(dues(calendar.Messages(1, 0, independent, true), time.Hour), dues(calendar.Messages(2, 0, independent, true), time.Hour)) {
		t.Error("devices that keep step do not")
	}
}
