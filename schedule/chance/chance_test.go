package chance

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

const (
	ms = time.Millisecond
	s  = time.Second
)

func TestStreamsAreIndependent(t *testing.T) {
	seen := make(map[uint64]string)
	for _, name := range []string{"a", "b", "a\x001"} {
		for i := range 1000 {
			v := Rand(1, name, i).Uint64()
			if other, twice := seen[v]; twice {
				t.Fatalf("streams %q %d and %s begin alike", name, i, other)
			}
			seen[v] = name
		}
	}
}

func TestWeighted(t *testing.T) {
	w, err := NewWeighted([]string{"cellular", "wifi", "never"}, []float64{60, 40, 0})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		u    float64
		want string
	}{{0, "cellular"}, {0.599, "cellular"}, {0.6, "wifi"}, {0.9999999, "wifi"}} {
		if got := w.Pick(tt.u); got != tt.want {
			t.Errorf("Pick(%v) = %s; want %s", tt.u, got, tt.want)
		}
	}
	for _, bad := range [][]float64{{}, {0, 0}, {1, -1}, {1, math.NaN()}, {math.Inf(1)}} {
		if _, err := NewWeighted(make([]int, len(bad)), bad); err == nil {
			t.Errorf("weights %v were accepted", bad)
		}
	}
}

func TestDistributions(t *testing.T) {
	for _, tt := range []struct {
		text      string
		mean      time.Duration
		low, high time.Duration
	}{
		{"250ms", 250 * time.Millisecond, 250 * time.Millisecond, 250 * time.Millisecond},
		{"1s..3s", 2 * s, s, 3 * s},
		{"exp(2s)", 2 * s, 0, 20 * s},
		{"normal(2s, 500ms)", 2 * s, 0, 5 * s},
	} {
		d, err := ParseDistribution(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		if d.String() != tt.text && tt.text != "normal(2s, 500ms)" {
			t.Errorf("%q prints as %q", tt.text, d)
		}
		repeated, err := ParseDistribution(d.String())
		if err != nil || repeated != d {
			t.Errorf("%q does not read back: %v, %v", d, repeated, err)
		}
		r := Rand(1, "distribution", 0)
		var sum time.Duration
		const draws = 20_000
		for range draws {
			x := d.Draw(r)
			if x < tt.low || x > tt.high {
				t.Fatalf("%s drew %v", tt.text, x)
			}
			sum += x
		}
		if mean := sum / draws; mean < tt.mean*95/100 || mean > tt.mean*105/100 {
			t.Errorf("%s has mean %v over %d draws; want about %v", tt.text, mean, draws, tt.mean)
		}
	}
	for _, bad := range []string{"", "3", "3s..1s", "exp(x)", "normal(1s)", "-1s", "exp(1s"} {
		if d, err := ParseDistribution(bad); err == nil {
			t.Errorf("ParseDistribution(%q) = %v; want an error", bad, d)
		}
	}
}

// What a stream gives at one turn does not depend on what was asked before, and is like nothing else.
func TestStreamsAreAddressed(t *testing.T) {
	seen := make(map[float64]bool)
	for _, name := range []string{"reports", "telemetry"} {
		for _, seed := range []uint64{0, 1, 42} {
			for index := range 30 {
				for turn := range int64(30) {
					x := NewStream(seed, name)
					u := x.Unit(index, turn)
					if u < 0 || u >= 1 || seen[u] || u != NewStream(seed, name).Unit(index, turn) {
						t.Fatalf("%s, seed %d, index %d, turn %d: %v", name, seed, index, turn, u)
					}
					seen[u] = true
					var p, repeated rand.PCG
					x.Seed(&p, index, turn)
					p.Uint64()
					x.Seed(&repeated, index, turn)
					x.Seed(&p, index, turn)
					if a, b := p.Uint64(), repeated.Uint64(); a != b {
						t.Fatalf("%s, seed %d, index %d, turn %d: %d, then %d", name, seed, index, turn, a, b)
					}
				}
			}
		}
	}
}

// A number of an index is its own: that of another index, name or seed is another.
func TestOwnNumbers(t *testing.T) {
	seen := make(map[uint64]bool)
	for _, name := range []string{"reports", "telemetry"} {
		for _, seed := range []uint64{0, 1, 42} {
			for index := range 1000 {
				x := NewStream(seed, name).Own(index)
				if seen[x] || x != NewStream(seed, name).Own(index) {
					t.Fatalf("%s, seed %d, index %d: %d", name, seed, index, x)
				}
				seen[x] = true
			}
		}
	}
}

// A stream's numbers are even over indexes as over turns.
func TestStreamsAreEven(t *testing.T) {
	const draws = 100_000
	x := NewStream(7, "even")
	for name, draw := range map[string]func(i int) float64{
		"indexes": func(i int) float64 { return x.Unit(i, 3) },
		"turns":   func(i int) float64 { return x.Unit(3, int64(i)) },
		"generators": func(i int) float64 {
			var p rand.PCG
			x.Seed(&p, i, int64(i))
			return rand.New(&p).Float64()
		},
	} {
		var tenths [10]int
		for i := range draws {
			tenths[int(draw(i)*10)]++
		}
		for i, n := range tenths {
			if math.Abs(float64(n)-draws/10) > 500 { // five standard deviations
				t.Errorf("%s: tenth %d holds %d of %d", name, i, n, draws)
			}
		}
	}
}

func weights(t *testing.T, names string, w ...float64) Weighted[byte] {
	t.Helper()
	x, err := NewWeighted([]byte(names), w)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestChain(t *testing.T) {
	start := weights(t, "cw", 1, 1)
	c := NewChain(start, map[byte]Weighted[byte]{'c': weights(t, "cw", 9, 1), 'w': weights(t, "cw", 3, 7)})
	if c.Empty() || !(Chain[byte]{}).Empty() {
		t.Error("a chain is empty when it has nothing to start with")
	}
	for _, tt := range []struct {
		from byte
		u    float64
		want byte
	}{{'c', 0.89, 'c'}, {'c', 0.9, 'w'}, {'w', 0.29, 'c'}, {'w', 0.3, 'w'}, {'e', 0.5, 'e'}} {
		if got := c.Next(tt.from, tt.u); got != tt.want {
			t.Errorf("Next(%c, %v) = %c; want %c", tt.from, tt.u, got, tt.want)
		}
	}
	// The share of time in a state solves c·0.1 = w·0.3: three quarters on c.
	x, state, on := NewStream(1, "chain"), c.First(0), 0
	const steps = 100_000
	for n := range int64(steps) {
		state = c.Next(state, x.Unit(0, n))
		if state == 'c' {
			on++
		}
	}
	if share := float64(on) / steps; math.Abs(share-0.75) > 0.02 {
		t.Errorf("%.3f of the time on c; want 0.75", share)
	}
	if memoryless := NewChain(start, nil); memoryless.Next('w', 0.1) != 'c' || memoryless.Next('w', 0.9) != 'w' {
		t.Error("without a map every step draws from the start")
	}
}

func BenchmarkStreamUnit(b *testing.B) {
	x := NewStream(42, "bench")
	for i := 0; b.Loop(); i++ {
		x.Unit(i, 7)
	}
}
