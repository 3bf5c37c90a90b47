package steady_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity/steady"
)

// fill makes a series of n seconds.
func fill(s *steady.Series, n int, value func(i int) float64) *steady.Series {
	for i := range n {
		s.Add(time.Second, 1, value(i))
	}
	return s
}

func TestSteady(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	noise := func(share float64) float64 { return 1 + share*r.NormFloat64() }
	for _, x := range []struct {
		name   string
		value  func(i int) float64
		steady bool
		rises  bool
	}{
		{"constant", func(int) float64 { return 0.1 }, true, false},
		{"noise", func(int) float64 { return 0.1 * noise(0.3) }, true, false},
		{"a queue that grows", func(i int) float64 { return 0.1 + 0.05*float64(i) }, false, true},
		{"a queue that grows, with noise", func(i int) float64 { return (0.1 + 0.05*float64(i)) * noise(0.1) }, false, true},
		{"a start that comes to rest", func(i int) float64 { return 0.1 + math.Exp(-float64(i)/2) }, false, false},
		{"less than what means anything", func(i int) float64 { return 0.001 + 0.0003*float64(i) }, true, false},
	} {
		s := fill(&steady.Series{Options: steady.Options{Floor: 0.01}}, 10, x.value)
		if got := s.Steady(); got != x.steady {
			t.Errorf("%s: steady %t; want %t", x.name, got, x.steady)
		}
		if trend := s.Of(0); trend.Rises(0.01) != x.rises {
			t.Errorf("%s: rises %t; want %t (%+v)", x.name, trend.Rises(0.01), x.rises, trend)
		}
	}
	if s := fill(&steady.Series{}, steady.Window-1, func(int) float64 { return 1 }); s.Steady() {
		t.Error("steady before there are enough values")
	}
}

// Figures without a trend are taken for rising about as seldom as the test says: one time in a hundred, in either direction.
func TestFalseAlarms(t *testing.T) {
	const runs = 5000
	r := rand.New(rand.NewPCG(2, 2))
	alarms := 0
	for range runs {
		s := fill(&steady.Series{}, 20, func(int) float64 { return r.ExpFloat64() })
		if s.Of(0).Significant {
			alarms++
		}
	}
	if share := float64(alarms) / runs; share > 0.015 {
		t.Errorf("%.2f %% of series without a trend have one", 100*share)
	}
}

// A queue whose arrivals are two in a hundred more than it serves is noticed.
func TestSlowGrowth(t *testing.T) {
	missed := 0
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 3))
		s := fill(&steady.Series{Options: steady.Options{Floor: 0.025}}, 40, func(i int) float64 { return 0.02*float64(i) + 0.02*r.ExpFloat64() })
		if !s.Of(0).Rises(0.025) {
			missed++
		}
	}
	if missed > 0 {
		t.Errorf("%d of 200 were not noticed", missed)
	}
}

// A bin has as many operations as are wanted, and one in which nothing ended stays open.
func TestBins(t *testing.T) {
	s := &steady.Series{Options: steady.Options{Bin: 2 * time.Second, Fewest: 3}}
	for i, n := range []uint64{1, 1, 1, 0, 0, 0, 6} {
		s.Add(time.Second, n, float64(n)*float64(i+1))
	}
	if v := s.Values(); len(v) != 2 || math.Abs(v[0]-2) > 1e-9 || math.Abs(v[1]-7) > 1e-9 {
		t.Errorf("%v; want 2 and 7", v)
	}
	s.Add(time.Second, 0, 0)
	if s.Waiting() != time.Second {
		t.Errorf("waits for %v; want 1s", s.Waiting())
	}
}

// A queue near its limit has values that are like their neighbours: taken one by one they have trends that are none, in parts they have not.
func TestBatchesOfAQueue(t *testing.T) {
	const runs, batches = 1000, 8
	single, parts := 0, 0
	for seed := range uint64(runs) {
		r := rand.New(rand.NewPCG(seed, 4))
		x := 0.0
		s := fill(&steady.Series{}, 80, func(int) float64 { x = 0.8*x + r.ExpFloat64(); return x })
		if s.Of(0).Significant {
			single++
		}
		if s.Batches(batches).Of(0).Significant {
			parts++
		}
	}
	t.Logf("one by one %d, in parts %d of %d have a trend", single, parts, runs)
	if parts > runs*3/100 || parts >= single/2 {
		t.Errorf("%d of %d series without a trend have one in parts; one by one it is %d", parts, runs, single)
	}
	rising := fill(&steady.Series{}, 40, func(i int) float64 { return float64(i) })
	if b := rising.Batches(batches); len(b.Values()) != batches || b.Values()[0] != 2 || !b.Of(0).Significant {
		t.Errorf("%v", b.Values())
	}
	if b := rising.Batches(30); b != rising {
		t.Error("too few values were put together")
	}
}

// What was before counts with what is judged: six values that rise are a trend that three do not tell.
func TestAfter(t *testing.T) {
	before := fill(&steady.Series{}, 3, func(i int) float64 { return float64(i) })
	s := fill(&steady.Series{}, 3, func(i int) float64 { return float64(3 + i) })
	if s.Of(0).Known || !s.After(before, steady.Window).Of(0).Rises(1) {
		t.Errorf("%+v and %+v", s.Of(0), s.After(before, steady.Window).Of(0))
	}
	if n := len(s.After(before, 2).Values()); n != 5 {
		t.Errorf("%d values; want the last two and three", n)
	}
	if s.After(nil, 2) != s || s.After(&steady.Series{}, 2) != s {
		t.Error("nothing was before")
	}
}
