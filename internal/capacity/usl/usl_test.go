package usl_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/internal/capacity/usl"
)

// truth is a system that obeys the law.
type truth struct{ lambda, sigma, kappa float64 }

func (t truth) at(n float64) float64 {
	return t.lambda * n / (1 + t.sigma*(n-1) + t.kappa*n*(n-1))
}

func (t truth) peak() float64 { return math.Sqrt((1 - t.sigma) / t.kappa) }

// measured are points of it, at loads in equal proportion, with noise that is a share.
func (t truth) measured(r *rand.Rand, noise, from, to float64, n int) []usl.Point {
	out := make([]usl.Point, n)
	for i := range out {
		load := from * math.Pow(to/from, float64(i)/float64(n-1))
		out[i] = usl.Point{Load: load, Throughput: t.at(load) * (1 + noise*r.NormFloat64())}
	}
	return out
}

// system draws a truth with a peak, at which σ costs up to so many times what a single unit of load takes, and loads below and beyond it.
func system(most float64, uniform func(low, high float64) float64) (t truth, from, to float64) {
	peak := math.Exp(uniform(math.Log(30), math.Log(1e5)))
	t.lambda = math.Exp(uniform(-7, 7))
	t.sigma = uniform(0, most) / peak
	t.kappa = (1 - t.sigma) / (peak * peak)
	return t, peak * uniform(0.05, 0.15), peak * uniform(2, 3)
}

func uniform(r *rand.Rand) func(low, high float64) float64 {
	return func(low, high float64) float64 { return low + (high-low)*r.Float64() }
}

func drawn(t *rapid.T) (truth, []usl.Point, float64) {
	s, from, to := system(2, func(low, high float64) float64 { return rapid.Float64Range(low, high).Draw(t, "") })
	noise := rapid.Float64Range(0.01, 0.03).Draw(t, "noise")
	n := rapid.IntRange(8, 16).Draw(t, "points")
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
	return s, s.measured(r, noise, from, to, n), noise
}

func holds(i usl.Interval, x float64) bool { return i.Low <= x && x <= i.High }

// specSDM91 are the points of the SPEC SDM91 benchmark on a Sun SPARCcenter 2000, as in N. Gunther's book.
func specSDM91(stderr float64) []usl.Point {
	var points []usl.Point
	for _, p := range [][2]float64{{1, 64.9}, {18, 995.9}, {36, 1652.4}, {72, 1853.2}, {108, 1828.9}, {144, 1775.0}, {216, 1702.2}} {
		points = append(points, usl.Point{Load: p[0], Throughput: p[1], StdErr: stderr})
	}
	return points
}

func ExampleFit() {
	c, err := usl.Fit(specSDM91(50))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%v: at %.0f users (%.0f to %.0f), %.0f scripts an hour\n",
		c.Shape, c.PeakLoad.Estimate, c.PeakLoad.Low, c.PeakLoad.High, c.MaxThroughput.Estimate)
	// Output: peaked: at 97 users (82 to 131), 1884 scripts an hour
}

// What the R package usl (S. Möding) finds in these points, all with the same error, to as many digits as it prints: λ = 89.9952382,
// σ = 0.0277285, κ = 0.0001044, and from them a peak at 96.5. None of it was written here.
func TestPublished(t *testing.T) {
	c, err := usl.Fit(specSDM91(1))
	if err != nil {
		t.Fatal(err)
	}
	near := func(what string, got usl.Interval, want, tolerance float64) {
		t.Helper()
		if math.Abs(got.Estimate/want-1) > tolerance || !holds(got, want) {
			t.Errorf("%s: %+v, published %v", what, got, want)
		}
	}
	near("lambda", c.Lambda, 89.9952382, 1e-6)
	near("sigma", c.Sigma, 0.0277285, 1e-5)
	near("kappa", c.Kappa, 0.0001044, 1e-3)
	near("peak", c.PeakLoad, 96.5, 1e-3)
	if c.Shape != usl.Peaked || c.Unit != 1 || c.Points != 7 || c.Loads != 7 || c.RSquared < 0.98 || c.RSquared > 1 {
		t.Errorf("%+v", c)
	}
}

// off is how far the estimates are from the truth, in noise, as a share of λ, κ, peak and maximum, and of what σ costs at the peak.
func (t truth) off(c usl.Curve, noise float64) [5]float64 {
	share := func(i usl.Interval, x float64) float64 { return math.Abs(i.Estimate/x-1) / noise }
	return [5]float64{
		share(c.Lambda, t.lambda), share(c.Kappa, t.kappa), share(c.PeakLoad, t.peak()), share(c.MaxThroughput, t.at(t.peak())),
		math.Abs(c.Sigma.Estimate-t.sigma) * t.peak() / (1 + t.sigma*t.peak()) / noise,
	}
}

// The tolerances, times the noise, are half as much again as the worst of 1,000 data sets of 8 points at the least favourable corner of what is
// drawn. TestCoverage has what is usual: a third of that.
func TestRecovers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, points, noise := drawn(t)
		c, err := usl.Fit(points)
		if err != nil || c.Shape != usl.Peaked {
			t.Fatalf("%+v, %v", c, err)
		}
		worst := [5]float64{9, 18, 12, 3, 24}
		for i, off := range s.off(c, noise) {
			if off > worst[i] {
				t.Fatalf("figure %d is off by %.1f times the noise: %+v", i, off, c)
			}
		}
	})
}

// Without noise the parameters come back to what rounding leaves.
func TestExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, from, to := system(2, func(low, high float64) float64 { return rapid.Float64Range(low, high).Draw(t, "") })
		c, err := usl.Fit(s.measured(rand.New(rand.NewPCG(1, 1)), 0, from, to, 6))
		if err != nil || c.Shape != usl.Peaked {
			t.Fatalf("%+v, %v", c, err)
		}
		for _, x := range [][2]float64{
			{c.Lambda.Estimate, s.lambda},
			{c.Kappa.Estimate, s.kappa},
			{c.PeakLoad.Estimate, s.peak()},
			{c.MaxThroughput.Estimate, s.at(s.peak())},
			{1 + c.Sigma.Estimate*s.peak(), 1 + s.sigma*s.peak()},
			{c.At(to), s.at(to)},
		} {
			if math.Abs(x[0]/x[1]-1) > 1e-5 {
				t.Fatalf("%v, not %v: %+v", x[0], x[1], c)
			}
		}
	})
}

// Of 300 data sets each, the truth is in the intervals as often as they say, but for chance: also at few loads, of which those that happen
// to bend more are the ones that have a bound.
func TestCoverage(t *testing.T) {
	for _, row := range []struct {
		name   string
		points int
		noise  float64
		known  bool    // errors, from half to twice the noise
		to     float64 // the largest load over what it else is
		bound  float64 // how many peaks must have one
	}{
		{"few", 5, 0.01, false, 1, 0.95},
		{"more", 8, 0.02, false, 1, 0.95},
		{"many", 12, 0.03, false, 1, 0.95},
		{"errors known", 8, 0.02, true, 1, 0.95},
		{"up to the peak", 8, 0.02, false, 0.4, 0.6},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(7, 11))
			var peaks, peaksIn, most, mostIn, sigmaIn, kappaIn, lambdaIn float64
			var rms [5]float64
			const sets = 300
			for range sets {
				s, from, to := system(4, uniform(r))
				points := s.measured(r, row.noise, from, to*row.to, row.points)
				for i := range points {
					if p := &points[i]; row.known {
						p.StdErr = row.noise * s.at(p.Load) * math.Exp2(2*r.Float64()-1)
						p.Throughput = s.at(p.Load) + p.StdErr*r.NormFloat64()
					}
				}
				c, err := usl.Fit(points)
				if err != nil {
					t.Fatal(err)
				}
				count := func(in *float64, i usl.Interval, x float64) {
					if holds(i, x) {
						*in += 1.0 / sets
					}
				}
				count(&lambdaIn, c.Lambda, s.lambda)
				count(&sigmaIn, c.Sigma, s.sigma)
				count(&kappaIn, c.Kappa, s.kappa)
				if c.PeakLoad.Bounded() {
					peaks += 1.0 / sets
					count(&peaksIn, c.PeakLoad, s.peak())
				}
				if c.MaxThroughput.Bounded() {
					most += 1.0 / sets
					count(&mostIn, c.MaxThroughput, s.at(s.peak()))
				}
				for i, off := range s.off(c, row.noise) {
					rms[i] += off * off / sets
				}
			}
			for i := range rms {
				rms[i] = math.Sqrt(rms[i])
			}
			t.Logf("peak %.3f of %.3f, maximum %.3f of %.3f, λ %.3f, σ %.3f, κ %.3f; off by %.2f times the noise",
				peaksIn/peaks, peaks, mostIn/most, most, lambdaIn, sigmaIn, kappaIn, rms)
			if min(peaksIn/peaks, mostIn/most, lambdaIn, sigmaIn, kappaIn) < 0.85 || min(peaks, most) < row.bound {
				t.Error("too seldom")
			}
			if row.to == 1 && (rms[2] > 4 || rms[3] > 1) {
				t.Error("too far off")
			}
		})
	}
}

// No parameters within the bounds are better than those of the fit: for any σ and κ the best λ is known in one line.
func TestNoBetterCurve(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, points, _ := drawn(t)
		c, err := usl.Fit(points)
		if err != nil {
			t.Fatal(err)
		}
		sigma := min(1, c.Sigma.Estimate*math.Exp(rapid.Float64Range(-1, 1).Draw(t, "s"))+c.Kappa.Estimate*rapid.Float64Range(0, 9).Draw(t, "+"))
		kappa := c.Kappa.Estimate * math.Exp(rapid.Float64Range(-1, 1).Draw(t, "k"))
		var once, twice float64
		for _, p := range points {
			x := p.Throughput / truth{1, sigma, kappa}.at(p.Load)
			once, twice = once+x, twice+x*x
		}
		n := float64(len(points))
		if other := math.Sqrt((n - once*once/twice) / (n - 3)); other < c.Residual*(1-1e-9) {
			t.Fatalf("σ %v and κ %v are off by %v: %+v", sigma, kappa, other, c)
		}
	})
}

// Of linear data there is no maximum, with noise and without.
func TestLinear(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 9))
	bogus, bent := 0, 0
	const sets = 300
	for i := range sets {
		s := truth{lambda: math.Exp(uniform(r)(-5, 5))}
		c, err := usl.Fit(s.measured(r, 0.03*float64(i)/sets, 100, 100*math.Exp2(1+4*r.Float64()), 5+i%8))
		if err != nil {
			t.Fatal(err)
		}
		if c.PeakLoad.Bounded() {
			bogus++
		}
		if c.Shape != usl.Linear {
			bent++
			continue
		}
		if c.Sigma.Estimate != 0 || c.Kappa.Estimate != 0 || c.MaxThroughput.Bounded() || !math.IsInf(c.PeakLoad.Estimate, 1) ||
			!math.IsInf(c.MaxThroughput.Estimate, 1) || math.Abs(c.At(1000)/s.at(1000)-1) > 0.1 {
			t.Fatalf("%+v", c)
		}
	}
	t.Logf("of %d: %d with a peak, %d not linear", sets, bogus, bent)
	if bogus > sets/50 || bent > sets/10 {
		t.Errorf("of %d: %d with a peak, %d not linear", sets, bogus, bent)
	}
}

// Without coherency throughput nears λ/σ, and any peak that is told is none.
func TestAsymptote(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 9))
	peaked, in := 0, 0
	const sets = 300
	for range sets {
		s := truth{lambda: 2, sigma: 0.001}
		c, err := usl.Fit(s.measured(r, 0.02, 100, 5000, 8))
		if err != nil {
			t.Fatal(err)
		}
		if c.Shape == usl.Peaked {
			peaked++
		}
		if holds(c.MaxThroughput, 2000) && c.Shape == usl.Saturating {
			in++
		}
		if c.Kappa.Estimate == 0 && (!math.IsInf(c.PeakLoad.Estimate, 1) || math.Abs(c.MaxThroughput.Estimate*c.Sigma.Estimate/c.Lambda.Estimate-1) > 1e-9) {
			t.Fatalf("%+v", c)
		}
	}
	t.Logf("of %d: %d with a peak, %d with the asymptote", sets, peaked, in)
	if peaked > sets/10 || in < sets*85/100 {
		t.Errorf("of %d: %d with a peak, %d with the asymptote", sets, peaked, in)
	}
}

func TestUnitsAndOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, points, _ := drawn(t)
		for i := range points {
			points[i].StdErr = points[i].Throughput * float64(i%3) / 100 * float64(len(points)%2)
		}
		c, err := usl.Fit(points)
		if err != nil {
			t.Skip(err)
		}
		other := rapid.Permutation(points).Draw(t, "order")
		if d, err := usl.Fit(other); err != nil || d != c {
			t.Fatalf("in another order: %+v, %v, not %+v", d, err, c)
		}
		x, n := math.Exp(rapid.Float64Range(-5, 5).Draw(t, "x")), math.Exp(rapid.Float64Range(0, 5).Draw(t, "n"))
		for i := range other {
			other[i] = usl.Point{Load: n * other[i].Load, Throughput: x * other[i].Throughput, StdErr: x * other[i].StdErr}
		}
		d, err := usl.Fit(other)
		if err != nil || d.Shape != c.Shape {
			t.Fatalf("in other units: %+v, %v, not %+v", d, err, c)
		}
		alike := func(what string, a, b usl.Interval, factor, estimate, bounds float64) {
			t.Helper()
			for i, v := range [][2]float64{{a.Estimate, b.Estimate}, {a.Low, b.Low}, {a.High, b.High}} {
				if want := v[0] * factor; v[1] != want && !(math.Abs(v[1]/want-1) < []float64{estimate, bounds, bounds}[i]) {
					t.Fatalf("%s: %+v times %v is not %+v", what, a, factor, b)
				}
			}
		}
		// Where σ is 0 the unit of load matters, as far as one is from the peak.
		loose := 1e-4 + 20/c.PeakLoad.Estimate
		tight := 1e-4
		if c.Sigma.Estimate == 0 || d.Sigma.Estimate == 0 {
			tight = loose
		}
		alike("peak", c.PeakLoad, d.PeakLoad, n, tight, loose)
		alike("maximum", c.MaxThroughput, d.MaxThroughput, x, tight, loose)
		for i := range other {
			other[i].Load /= n
		}
		if d, err = usl.Fit(other); err != nil {
			t.Fatal(err)
		}
		alike("lambda", c.Lambda, d.Lambda, x, 1e-4, 1e-4)
		alike("kappa", c.Kappa, d.Kappa, 1, 1e-4, 1e-4)
		alike("peak", c.PeakLoad, d.PeakLoad, 1, 1e-4, 1e-4)
	})
}

// A load of half an operation a second is as good as one of half a million.
func TestSmallLoads(t *testing.T) {
	s := truth{lambda: 0.9, sigma: 0.02, kappa: 0.001}
	points := s.measured(rand.New(rand.NewPCG(1, 1)), 0, 1, 50, 8)
	for i := range points {
		points[i].Load /= 100
		points[i].Throughput /= 100
	}
	c, err := usl.Fit(points)
	if err != nil || c.Unit != 0.01 || math.Abs(c.Lambda.Estimate/c.Unit-0.9) > 1e-6 || math.Abs(c.Sigma.Estimate-0.02) > 1e-6 {
		t.Errorf("%+v, %v", c, err)
	}
	if c.At(0) != 0 || c.At(-1) != 0 || math.Abs(c.At(0.05)-s.at(5)/100) > 1e-9 {
		t.Errorf("%v, %v", c.At(0), c.At(0.05))
	}
}

// A point with a large error has little to say.
func TestWeights(t *testing.T) {
	s := truth{lambda: 1, sigma: 0.0002, kappa: 1e-6}
	points := s.measured(rand.New(rand.NewPCG(1, 1)), 0.005, 100, 2500, 8)
	for i := range points {
		points[i].StdErr = points[i].Throughput * 0.005
	}
	points[4].Throughput *= 0.7
	points[4].StdErr *= 60
	c, err := usl.Fit(points)
	if err != nil || math.Abs(c.PeakLoad.Estimate/s.peak()-1) > 0.03 {
		t.Errorf("%+v, %v", c, err)
	}
	points[4].StdErr = 0 // now all weigh the same
	if c, err = usl.Fit(points); !errors.Is(err, usl.ErrForm) {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestRefuses(t *testing.T) {
	shape := func(f func(n float64) float64, loads ...float64) []usl.Point {
		r := rand.New(rand.NewPCG(4, 4))
		var out []usl.Point
		for _, n := range loads {
			out = append(out, usl.Point{Load: n, Throughput: f(n) * (1 + 0.01*r.NormFloat64())})
		}
		return out
	}
	r := rand.New(rand.NewPCG(6, 6))
	limit := func(n float64) float64 { return min(n, 1000) }
	collapse := func(n float64) float64 { return n * math.Pow(min(1, 1000/n), 4) }
	loads := []float64{200, 400, 600, 800, 1000, 1200, 1600, 2000}
	for _, row := range []struct {
		name   string
		points []usl.Point
		want   error
		says   string
	}{
		{"nothing", nil, usl.ErrFewLoads, "0 distinct loads, of at least 4"},
		{"three loads", shape(limit, 100, 200, 300, 300, 200), usl.ErrFewLoads, "3 distinct loads"},
		{"narrow", shape(limit, 100, 120, 140, 160, 180), usl.ErrNarrow, "from 100 to 180"},
		{"wide", shape(limit, 1, 100, 1000, 2e6), usl.ErrInput, "from 1 to 2e+06"},
		{"no load", []usl.Point{{Throughput: 1}}, usl.ErrInput, "at load 0"},
		{"nothing ended well", []usl.Point{{Load: 1}}, usl.ErrInput, "throughput 0"},
		{"negative", []usl.Point{{Load: -1, Throughput: 1}}, usl.ErrInput, "-1"},
		{"not a number", []usl.Point{{Load: 1, Throughput: math.NaN()}}, usl.ErrInput, "NaN"},
		{"infinite", []usl.Point{{Load: math.Inf(1), Throughput: 1}}, usl.ErrInput, "+Inf"},
		{"error not a number", []usl.Point{{Load: 1, Throughput: 1, StdErr: math.NaN()}}, usl.ErrInput, "NaN"},
		{"negative error", []usl.Point{{Load: 1, Throughput: 1, StdErr: -1}}, usl.ErrInput, "± -1"},
		{"limit", shape(limit, loads...), usl.ErrForm, "a hard limit"},
		{"limit at the last load", shape(limit, 100, 200, 400, 800, 1600), usl.ErrForm, "a hard limit"},
		{"collapse", shape(collapse, loads...), usl.ErrForm, "% from the nearest curve"},
		{"collapse at the last load", shape(func(n float64) float64 {
			if n >= 2000 {
				return 300
			}
			return n
		}, loads...), usl.ErrForm, "% from the nearest curve"},
		{"noise", shape(func(float64) float64 { return math.Exp(2 * r.NormFloat64()) }, loads...), usl.ErrForm, "of at most 8 %"},
		{"past the peak", shape(func(n float64) float64 { return 1e6 / n }, loads...), usl.ErrPastPeak, "measure smaller ones"},
	} {
		c, err := usl.Fit(row.points)
		if !errors.Is(err, row.want) || !errors.Is(err, usl.ErrNoFit) || !strings.Contains(fmt.Sprint(err), row.says) || c != (usl.Curve{}) {
			t.Errorf("%s: %+v, %v", row.name, c, err)
		}
		for _, other := range []error{usl.ErrInput, usl.ErrFewLoads, usl.ErrNarrow, usl.ErrPastPeak, usl.ErrForm} {
			if other != row.want && errors.Is(err, other) { //nolint:errorlint // which of them it is
				t.Errorf("%s is two errors: %v", row.name, err)
			}
		}
	}
}

func TestShapes(t *testing.T) {
	if got := fmt.Sprint(usl.Linear, usl.Saturating, usl.Peaked, usl.Shape(9)); got != "linear saturating peaked shape 9" {
		t.Error(got)
	}
}

// Whatever comes in, there is an error or a curve whose intervals hold their estimates.
func FuzzFit(f *testing.F) {
	f.Add(1.0, 64.9, 18.0, 995.9, 36.0, 1652.4, 72.0, 1853.2, 216.0, 1702.2, 50.0)
	f.Add(1e6, 1e-9, 1e7, 1e-8, 1e8, 1e-7, 1e12, 1e-3, 5e11, 5e-4, 0.0)
	f.Fuzz(func(t *testing.T, a, b, c, d, e, g, h, i, j, k, stderr float64) {
		points := []usl.Point{{a, b, stderr}, {c, d, stderr}, {e, g, stderr}, {h, i, stderr}, {j, k, stderr}}
		before := slices.Clone(points)
		curve, err := usl.Fit(points)
		if err != nil {
			if !errors.Is(err, usl.ErrNoFit) {
				t.Fatal(err)
			}
			return
		}
		if !slices.Equal(points, before) {
			t.Fatal("the points were changed")
		}
		for _, v := range []usl.Interval{curve.Lambda, curve.Sigma, curve.Kappa, curve.PeakLoad, curve.MaxThroughput} {
			if !(v.Low >= 0 && v.Low <= v.Estimate && v.Estimate <= v.High) || math.IsInf(v.Low, 1) {
				t.Fatalf("%v: %+v", points, curve)
			}
		}
		if curve.Shape == usl.Peaked != curve.PeakLoad.Bounded() || curve.Sigma.High > 1 || !(curve.Residual <= 0.08) {
			t.Fatalf("%v: %+v", points, curve)
		}
	})
}

func BenchmarkFit(b *testing.B) {
	points := specSDM91(50)
	for b.Loop() {
		if _, err := usl.Fit(points); err != nil {
			b.Fatal(err)
		}
	}
}
