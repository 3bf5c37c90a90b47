package effect_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/metrics/histogram"
	"github.com/twinfleet/twinfleet/report/compare/effect"
)

// blocks are so many distributions of a hundred times each, from a time to twice of it; every other block is a little slower.
func blocks(n int, from time.Duration) []histogram.Histogram {
	out := make([]histogram.Histogram, n)
	for i := range out {
		var live histogram.Live
		for k := range 100 {
			live.Record(from + from*time.Duration(k+5*(i%2))/100)
		}
		out[i] = live.Snapshot()
	}
	return out
}

func same(n int, x float64) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = x
	}
	return out
}

func ExampleQuantile() {
	before, after := blocks(20, 10*time.Millisecond), blocks(20, 13*time.Millisecond)
	e := effect.Quantile(before, after, 0.5, 3)
	low, high := e.Interval(0.025)
	fmt.Printf("the p50 grew by %.0f %%, from %.0f to %.0f\n", 100*math.Expm1(e.Estimate), 100*math.Expm1(low), 100*math.Expm1(high))
	// Output: the p50 grew by 30 %, from 22 to 39
}

// The interval around no change holds it, and becomes narrower with more blocks.
func TestMoreBlocksTellMore(t *testing.T) {
	width := math.Inf(1)
	for _, n := range []int{2, 5, 20, 100} {
		x := blocks(n, 10*time.Millisecond)
		e := effect.Quantile(x, x, 0.95, 1)
		low, high := e.Interval(0.025)
		if e.Estimate != 0 || low >= 0 || high <= 0 || high-low >= width {
			t.Errorf("%d blocks: %v, from %v to %v; the interval before was %v wide", n, e.Estimate, low, high, width)
		}
		width = high - low
		if surelyLow, surelyHigh := e.Sure(0.025); surelyLow > low || surelyHigh < high {
			t.Errorf("%d blocks: sure from %v to %v, which is less than from %v to %v", n, surelyLow, surelyHigh, low, high)
		}
	}
}

func TestShareAndRate(t *testing.T) {
	e := effect.Share(same(10, 1), same(10, 3), same(10, 100), same(10, 100), 1)
	if low, _ := e.Interval(0.025); math.Abs(e.Estimate-0.02) > 1e-9 || low <= 0 {
		t.Errorf("one and three of a hundred: %v, from %v", e.Estimate, low)
	}
	minute := [2]time.Duration{time.Minute, time.Minute}
	e = effect.Rate(1000, 500, same(10, 100), same(10, 50), minute)
	if _, high := e.Interval(0.025); math.Abs(e.Estimate+math.Ln2) > 1e-9 || high >= 0 {
		t.Errorf("half of what was done: %v, to %v", e.Estimate, high)
	}
}

func TestApart(t *testing.T) {
	f := func(n int, times, estimate float64, want bool) {
		t.Helper()
		gap, ok := effect.Apart(blocks(n, time.Millisecond), blocks(n, time.Duration(times*float64(time.Millisecond))), 0.5, estimate)
		if ok != want || ok && gap <= 0 {
			t.Errorf("%d blocks, ×%.1f: %v, %v", n, times, gap, ok)
		}
	}
	f(1, 4, math.Log(4), false) // one block takes five times
	f(1, 6, math.Log(6), true)
	f(8, 1.4, math.Log(1.4), false)
	f(8, 1.6, math.Log(1.6), true)
	f(0, 9, math.Log(9), false)
}
