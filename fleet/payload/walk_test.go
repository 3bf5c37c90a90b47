package payload_test

import (
	"math"
	"testing"

	"github.com/twinfleet/twinfleet/fleet/payload"
)

func walk(t testing.TB, text string) func(device uint64, seq int64) float64 {
	t.Helper()
	p, err := payload.Compile(text)
	if err != nil {
		t.Fatal(err)
	}
	c := newContext(1)
	return func(device uint64, seq int64) float64 {
		c.Chance, c.Seq = device, seq
		return number(t, p, c)
	}
}

// Steps of a walk are those of a random walk wherever one looks: normally distributed with the deviation that was asked for, and
// independent of the one before; the way of n steps has n times their variance.
func TestWalkIsARandomWalk(t *testing.T) {
	at := walk(t, "{{ walk 0 1000 }}") // three decimals of a thousand are six
	for _, from := range []int64{1, 1000, 1 << 20, 1<<40 + 12345} {
		var steps, products []float64
		fourth := 0.0
		for device := range uint64(200) {
			before, last := at(device, from), 0.0
			for i := range int64(200) {
				next := at(device, from+i+1)
				step := (next - before) / 1000
				steps = append(steps, step)
				fourth += step * step * step * step / (200 * 200)
				if i > 0 {
					products = append(products, step*last)
				}
				before, last = next, step
			}
		}
		mean, deviation := moments(steps)
		together, _ := moments(products)
		if math.Abs(mean) > 0.025 || math.Abs(deviation-1) > 0.02 || math.Abs(together) > 0.025 || math.Abs(fourth-3) > 0.2 {
			t.Errorf("from %d: steps have mean %.3f, deviation %.3f, fourth moment %.3f, and %.3f with the one before; want 0, 1, 3, 0",
				from, mean, deviation, fourth, together)
		}
	}
	for _, n := range []int64{1, 2, 3, 5, 7, 8, 100, 1023, 1024, 1025, 1 << 30} {
		var ways []float64
		for device := range uint64(4000) {
			ways = append(ways, (at(device, n+1)-at(device, 1))/1000)
		}
		if mean, deviation := moments(ways); math.Abs(mean)/math.Sqrt(float64(n)) > 0.07 || math.Abs(deviation/math.Sqrt(float64(n))-1) > 0.05 {
			t.Errorf("after %d steps: mean %.2f, deviation %.2f; want 0 and %.2f", n, mean, deviation, math.Sqrt(float64(n)))
		}
	}
}

// A walk begins where it was told, stays within its bounds, and takes no longer steps because of them.
func TestWalkWithinBounds(t *testing.T) {
	free, bound := walk(t, "{{ walk 20 3 }}"), walk(t, "{{ walk 20 3 15 30 }}")
	low, high := math.Inf(1), math.Inf(-1)
	for device := range uint64(20) {
		if free(device, 1) != 20 || bound(device, 1) != 20 {
			t.Fatalf("device %d begins at %v and %v; want 20", device, free(device, 1), bound(device, 1))
		}
		for n := int64(1); n < 500; n++ {
			x := bound(device, n+1)
			low, high = min(low, x), max(high, x)
			if step, most := math.Abs(x-bound(device, n)), math.Abs(free(device, n+1)-free(device, n)); step > most+0.003 {
				t.Fatalf("device %d steps by %v at %d; without bounds by %v", device, step, n, most)
			}
		}
	}
	if low < 15 || low > 15.1 || high > 30 || high < 29.9 {
		t.Errorf("it went from %v to %v; want 15 to 30", low, high)
	}
}

// A walk depends on seed, device, turn and its place among the walks of the payload, and on nothing else: two processes with parts of a
// fleet have the same one, whichever message they begin with.
func TestWalkIsAddressed(t *testing.T) {
	p, err := payload.Compile([]any{"{{ walk 20 0.5 }}", "{{ walk 20 0.5 }}", "x {{ walk 20 0.5 }}"})
	if err != nil {
		t.Fatal(err)
	}
	c := newContext(1)
	for _, tt := range []struct {
		chance uint64
		seq    int64
		want   string
	}{
		{1, 1, `[20,20,"x 20"]`},
		{1, 2, `[19.832,19.959,"x 20.195"]`},
		{1, 1000, `[36.74,62.173,"x 9.724"]`},
		{2, 1000, `[13.02,13.174,"x 18.071"]`},
		{1, 2, `[19.832,19.959,"x 20.195"]`},
		{1, 1 << 40, `[-312764.041,566267.284,"x -85672.317"]`},
	} {
		c.Chance, c.Seq = tt.chance, tt.seq
		if got := string(p.Append(nil, c)); got != tt.want {
			t.Errorf("message %d by %d is %s; want %s", tt.seq, tt.chance, got, tt.want)
		}
	}
}

// Numbers that are too large for a walk end nothing.
func TestWalkOfLargeNumbers(t *testing.T) {
	for _, text := range []string{"{{ walk 0 1e308 }}", "{{ walk 0 1e308 -1e308 1e308 }}", "{{ walk 0 1e308 0 1 }}", "{{ walk 1e308 1e-308 -1e308 1e308 }}"} {
		at := walk(t, text)
		for n := int64(1); n < 1000; n++ {
			if x := at(1, n); math.IsNaN(x) || math.IsInf(x, 0) {
				t.Fatalf("%s is %v at %d", text, x, n)
			}
		}
	}
}
