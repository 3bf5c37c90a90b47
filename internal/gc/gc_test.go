package gc_test

import (
	"testing"

	"github.com/twinfleet/twinfleet/internal/gc"
)

// A small heap grows by much, a large one by little, and one that is larger never by less bytes.
func TestGrowth(t *testing.T) {
	for live, want := range map[float64]float64{0: 4, 1e6: 4, 8e6: 4, 16e6: 2, 32e6: 1, 64e6: 1, 5e9: 1} {
		if got := gc.Sparing.Growth(live, 0); got != want {
			t.Errorf("%g bytes may grow by %g times; want %g", live, got, want)
		}
	}
	for live := 1e6; live < 1e10; live *= 1.1 {
		if a, b := live*gc.Sparing.Growth(live, 0), live*1.1*gc.Sparing.Growth(live*1.1, 0); b < a*0.999 {
			t.Errorf("%g bytes may grow by %g, %g by %g", live, a, live*1.1, b)
		}
		if got := gc.Generous.Growth(live, 0); got != 4 {
			t.Errorf("%g bytes may grow by %g times; want 4", live, got)
		}
	}
}

// A large heap that is filled fast grows by more, within bounds; a small one grows by much anyway.
func TestGrowthByRate(t *testing.T) {
	for rate, want := range map[float64]float64{0: 1, 20e6: 1, 60e6: 1.5, 100e6: 2.5, 1e9: 2.5} {
		if got := gc.Sparing.Growth(500e6, rate); got != want {
			t.Errorf("%g bytes a second: %g; want %g", rate, got, want)
		}
		if got := gc.Sparing.Growth(4e6, rate); got != 4 {
			t.Errorf("a small heap, %g bytes a second: %g; want 4", rate, got)
		}
	}
}

// Stop waits for what Tune began, and may be called once more.
func TestTune(t *testing.T) {
	stop := gc.For("lean").Tune()
	stop()
	stop()
}
