package usl

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/aclements/go-moremath/stats"
)

const (
	leastLoads = 4    // distinct loads: one more than there are parameters
	leastSpan  = 2    // the largest load over the smallest
	mostOff    = 0.08 // how far points may be from the curve, as a share
	kneeOff    = 0.01 // how far they are at least before a knee is looked for
	kneeLikely = 50   // how many times likelier it must be than the curve
	kneePast   = 1.1  // the largest load over that at the knee, at least
	steps      = 12   // of Gauss and Newton: a few are enough
	mostSpan   = 1e6  // the largest load over the smallest
	leastErr   = 1e-4 // of a point, as a share, that is believed
	leastNoise = 1e-6 // of a point, as a share: what is less is rounding
	leastValue = 1e-9 // of loads, throughputs and their errors
	mostValue  = 1e12
)

// Fit fits the law to points of at least four distinct loads, the largest at least twice the smallest; a load may come more than once.
// Errors are ErrNoFit and one of ErrInput, ErrFewLoads, ErrNarrow, ErrPastPeak and ErrForm, with a line that says why. Data that are linear
// within their noise are no error but a Linear curve. It is a pure function, and takes a few milliseconds.
func Fit(points []Point) (Curve, error) {
	points = slices.Clone(points)
	slices.SortFunc(points, func(a, b Point) int {
		return cmp.Or(cmp.Compare(a.Load, b.Load), cmp.Compare(a.Throughput, b.Throughput), cmp.Compare(a.StdErr, b.StdErr))
	})
	loads, err := check(points)
	if err != nil {
		return Curve{}, err
	}
	p, best, least := solve(points)
	left := float64(len(points) - 3)
	off, smallest := p.off(least, left), points[0].Load/p.largest
	at, limit, squares := knee(points)
	likelier := math.Pow(least/squares, float64(len(points))/2)
	switch {
	case off > kneeOff && likelier > kneeLikely && p.off(squares, left+1) <= mostOff:
		return Curve{}, fmt.Errorf("%w: throughput follows the load to about %.3g and stays at %.3g: a hard limit, and no contention",
			ErrForm, at, limit)
	case off > mostOff:
		return Curve{}, fmt.Errorf("%w: the points are %.1f %% from the nearest curve, of at most %g %%", ErrForm, 100*off, 100*mostOff)
	case best[0] <= best[2]*smallest*smallest:
		return Curve{}, fmt.Errorf("%w: throughput does not rise from the smallest load, %g, on: measure smaller ones", ErrPastPeak, points[0].Load)
	}
	c := p.curve(best, least, left)
	c.Residual, c.RSquared, c.Points, c.Loads = off, explained(c, points), len(points), loads
	return c, nil
}

// check refuses sorted points that cannot be fitted, and counts distinct loads.
func check(points []Point) (loads int, err error) {
	valid := func(v float64) bool { return v >= leastValue && v <= mostValue }
	for i, p := range points {
		if !valid(p.Load) || !valid(p.Throughput) || p.StdErr != 0 && !valid(p.StdErr) {
			return 0, fmt.Errorf("%w: throughput %g ± %g at load %g: all must be from %g to %g, or the error 0 for unknown",
				ErrInput, p.Throughput, p.StdErr, p.Load, leastValue, mostValue)
		}
		if i == 0 || p.Load != points[i-1].Load {
			loads++
		}
	}
	if loads < leastLoads {
		return loads, fmt.Errorf("%w: %d distinct loads, of at least %d", ErrFewLoads, loads, leastLoads)
	}
	if from, to := points[0].Load, points[len(points)-1].Load; to < leastSpan*from {
		return loads, fmt.Errorf("%w: loads from %g to %g: the largest must be %d times the smallest", ErrNarrow, from, to, leastSpan)
	} else if to > mostSpan*from {
		return loads, fmt.Errorf("%w: loads from %g to %g: the largest may be %g times the smallest", ErrInput, from, to, mostSpan)
	}
	return loads, nil
}

// weights are those of the squares of shares, and whether they come from known errors.
func weights(points []Point) (w []float64, known bool) {
	known = !slices.ContainsFunc(points, func(p Point) bool { return p.StdErr == 0 })
	for _, p := range points {
		share := 1.0
		if known {
			share = min(max(p.Throughput/p.StdErr, 1), 1/leastErr)
		}
		w = append(w, share*share)
	}
	return w, known
}

// knee is the best fit of min(rate·N, limit) to sorted points: the load where the two meet, the limit, and the sum of squares.
func knee(points []Point) (at, limit, squares float64) {
	w, _ := weights(points)
	level := func(from, to int, of func(Point) float64) (value, squares float64) {
		var all, once, twice float64
		for i := from; i < to; i++ {
			x := of(points[i])
			all, once, twice = all+w[i], once+w[i]*x, twice+w[i]*x*x
		}
		return twice / once, max(all-once*once/twice, leastNoise*leastNoise*all)
	}
	squares = math.Inf(1)
	for i := 2; i < len(points); i++ {
		rate, before := level(0, i, func(p Point) float64 { return p.Throughput / p.Load })
		most, after := level(i, len(points), func(p Point) float64 { return p.Throughput })
		meet := most / rate
		if before+after < squares && meet > (1-mostOff)*points[i-1].Load && meet < points[i].Load && meet*kneePast < points[len(points)-1].Load {
			at, limit, squares = meet, most, before+after
		}
	}
	return at, limit, squares
}

// explained is R², with the weights of the fit.
func explained(c Curve, points []Point) float64 {
	w, _ := weights(points)
	var all, sum, off, spread float64
	for i, p := range points {
		w[i] /= p.Throughput * p.Throughput
		all, sum = all+w[i], sum+w[i]*p.Throughput
	}
	for i, p := range points {
		d, m := p.Throughput-c.At(p.Load), p.Throughput-sum/all
		off, spread = off+w[i]*d*d, spread+w[i]*m*m
	}
	return 1 - off/max(spread, math.SmallestNonzeroFloat64)
}

// student is how many standard errors Level is on both sides of an estimate, with so many points left over.
func student(left float64) float64 { return stats.InvCDF(stats.TDist{V: left})((1 + Level) / 2) }

// curve makes figures and intervals of the best parameters and their sum of squares, with so many points left over.
func (p *problem) curve(best parameters, least, left float64) Curve {
	near := student(left) * student(left) * least / left // so much more than the least is within an interval
	bend := (math.Pow(1-Level, -2/left) - 1) * least     // so much more is no sign of σ or κ: Fisher's F for 2 and left
	if p.known {
		normal := student(math.MaxInt32)
		near, bend = max(near, normal*normal), max(bend, -2*math.Log(1-Level))
	}
	around := func(estimate, scale float64, profile func(float64) float64) Interval {
		return interval(estimate, scale, least+near, profile)
	}
	inverse := best[0]/p.unit + best[1]
	c := Curve{
		Unit:          p.unit * p.largest,
		Lambda:        around(inverse, inverse, p.withLambda),
		Sigma:         around(best[1]/inverse, p.unit, p.withSigma),
		Kappa:         around(best[2]/(p.unit*inverse), 1, p.withKappa),
		PeakLoad:      around(math.Sqrt(best[2]/best[0]), 1, p.withPeak),
		MaxThroughput: around(best[1]+2*math.Sqrt(best[0]*best[2])-best[2]*p.unit, 1, p.withMost),
		Shape:         Saturating,
	}
	straight, squares := p.least(parameters{1})
	if squares <= least+bend && p.off(squares, left+2) <= mostOff {
		c.Shape = Linear
		rate := straight[0] / p.unit
		c.Lambda = Interval{rate, min(c.Lambda.Low, rate), max(c.Lambda.High, rate)}
		for _, i := range []*Interval{&c.Sigma, &c.Kappa, &c.PeakLoad, &c.MaxThroughput} {
			i.Estimate, i.Low = 0, 0
		}
	}
	c.Sigma.High = min(c.Sigma.High, 1)
	square := p.unit * p.unit
	c.Lambda = c.Lambda.under(p.most, math.Inf(1))
	c.Kappa = Interval{c.Kappa.Estimate * square, c.Kappa.Low * square, c.Kappa.High * square}
	c.PeakLoad = c.PeakLoad.under(p.largest, Reach*p.largest)
	c.MaxThroughput = c.MaxThroughput.under(p.most, Reach*p.most)
	if c.Shape != Linear && c.PeakLoad.Bounded() {
		c.Shape = Peaked
	}
	return c
}

// under is a figure over this one, with nothing beyond what is believed.
func (i Interval) under(of, reach float64) Interval {
	out := Interval{Estimate: of / i.Estimate, Low: min(of/i.High, reach), High: of / i.Low}
	if out.Estimate > reach {
		out.Estimate = math.Inf(1)
	}
	if out.High > reach {
		out.High = math.Inf(1)
	}
	return out
}
