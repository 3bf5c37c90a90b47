package usl

import "math"

// parameters are a, s and k, none negative, of u/x = a + s·u + k·u(u−unit), with loads u and throughputs x relative to the largest.
type parameters [3]float64

// problem is the sum of squares as a quadratic form of the parameters.
type problem struct {
	gram    [3]parameters
	linear  parameters
	weight  float64 // the sum of squares when all parameters are 0
	each    float64 // the mean weight of the square of a share
	unit    float64 // the load n = 1, relative to the largest
	largest float64 // load
	most    float64 // throughput
	known   bool    // weights come from known errors, so that 1 is the variance of a point
}

// solve finds the best parameters for sorted points, the problem whose best they are, and the sum of squares, at least that of rounding.
func solve(points []Point) (p problem, best parameters, least float64) {
	free := []parameters{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}
	p = newProblem(points, nil)
	best, least = p.least(free...)
	for i := 0; i < steps && p.known && p.off(least, float64(len(points)-3)) <= mostOff; i++ {
		p = newProblem(points, &best)
		best, least = p.least(free...)
	}
	return p, best, max(least, leastNoise*leastNoise*p.weight)
}

// newProblem has the squares of X/f − 1, weighted by what X is in standard errors if they are known; with a curve that is near the best
// one those of X − f in standard errors, with f taken as linear in the parameters.
func newProblem(points []Point, near *parameters) problem {
	p := problem{largest: points[len(points)-1].Load}
	for _, point := range points {
		p.most = max(p.most, point.Throughput)
	}
	p.unit = min(1, points[0].Load) / p.largest
	var w []float64
	w, p.known = weights(points)
	for i, point := range points {
		u, x := point.Load/p.largest, point.Throughput/p.most
		row, want := parameters{1, u, u * (u - p.unit)}, u/x
		weight := w[i] / (want * want)
		if near != nil {
			is := near[0]*row[0] + near[1]*row[1] + near[2]*row[2]
			weight = w[i] * want * want / (is * is * is * is)
			want = is * (2 - is/want)
		}
		for j := range row {
			for k := range row {
				p.gram[j][k] += weight * row[j] * row[k]
			}
			p.linear[j] += weight * want * row[j]
		}
		p.weight += weight * want * want
		p.each += w[i] / float64(len(points))
	}
	return p
}

// off is how far points are from a curve with a sum of squares, as a share, with so many points left over.
func (p *problem) off(squares, left float64) float64 { return math.Sqrt(squares / p.each / left) }

func dot(a, b parameters) float64 { return a[0]*b[0] + a[1]*b[1] + a[2]*b[2] }

func (p *problem) product(a, b parameters) float64 {
	return a[0]*dot(p.gram[0], b) + a[1]*dot(p.gram[1], b) + a[2]*dot(p.gram[2], b)
}

func (t parameters) plus(times float64, d parameters) parameters {
	return parameters{t[0] + times*d[0], t[1] + times*d[1], t[2] + times*d[2]}
}

// squares is the sum of squares of parameters, to what rounding leaves of it.
func (p *problem) squares(t parameters) float64 {
	return p.weight + p.product(t, t) - 2*dot(p.linear, t)
}

// least finds the parameters with the least squares among the sums of columns, none taken a negative number of times: it tries every
// choice of columns, so that it cannot miss.
func (p *problem) least(columns ...parameters) (best parameters, squares float64) {
	squares = p.weight
	for choice := 1; choice < 1<<len(columns); choice++ {
		chosen := make([]parameters, 0, 3)
		for i, c := range columns {
			if choice>>i&1 == 1 {
				chosen = append(chosen, c)
			}
		}
		if t, ok := p.sum(chosen); ok {
			if s := p.squares(t); s < squares {
				best, squares = t, s
			}
		}
	}
	return best, squares
}

// sum finds the best sum of columns by the normal equations, and reports whether each of them is taken more than no times.
func (p *problem) sum(columns []parameters) (t parameters, ok bool) {
	var m [3][4]float64
	for i, a := range columns {
		for j, b := range columns {
			m[i][j] = p.product(a, b)
		}
		m[i][3] = dot(p.linear, a)
	}
	for i := range columns { // Gauss and Jordan; a matrix that is positive needs no rows exchanged
		pivot := m[i][i]
		for j := range m[i] {
			m[i][j] /= pivot
		}
		for k := range columns {
			for times, j := m[k][i], 0; j < 4 && k != i; j++ {
				m[k][j] -= times * m[i][j]
			}
		}
	}
	for i, c := range columns {
		if !(m[i][3] > 0) {
			return t, false
		}
		t = t.plus(m[i][3], c)
	}
	return t, true
}

// along is the least sum of squares from parameters in a direction, up to so many times it.
func (p *problem) along(from, direction parameters, most float64) float64 {
	slope := dot(p.linear, direction) - p.product(from, direction)
	return p.squares(from.plus(min(max(slope/p.product(direction, direction), 0), most), direction))
}

// withSigma is the least sum of squares with σ given, as the others are with theirs.
func (p *problem) withSigma(v float64) float64 {
	if v > 1 {
		return math.Inf(1)
	}
	_, squares := p.least(parameters{(1 - v) * p.unit, v, 0}, parameters{0, 0, 1})
	return squares
}

// withKappa has κ times the square of the largest load in units.
func (p *problem) withKappa(v float64) float64 {
	_, squares := p.least(parameters{1, 0, v}, parameters{0, 1, v * p.unit})
	return squares
}

// withPeak has the largest load over that of the peak: 0 without a peak.
func (p *problem) withPeak(v float64) float64 {
	_, squares := p.least(parameters{1, 0, v * v}, parameters{0, 1, 0})
	return squares
}

// withLambda has 1/λ.
func (p *problem) withLambda(v float64) float64 {
	return lowest(func(x float64) float64 { // whatever σ is
		sigma := min(p.unit*x/(1-x), 1)
		return p.along(parameters{v * (1 - sigma) * p.unit, v * sigma, 0}, parameters{0, 0, 1}, math.Inf(1))
	})
}

// withMost has 1 over the greatest throughput, s + k·(2·peak − unit).
func (p *problem) withMost(v float64) float64 {
	return lowest(func(x float64) float64 { // wherever the peak is, and without one
		q := x / (1 - x + 1e-9)
		falls := q * (2 - q*p.unit)
		if falls < 0 {
			return math.Inf(1)
		}
		return p.along(parameters{0, v, 0}, parameters{1, -falls, q * q}, v/falls)
	})
}

// lowest is the least value of a function from 0 to 1: the best of a grid, and then the golden section beside it.
func lowest(f func(float64) float64) float64 {
	const grid, sections = 64, 30
	best, at := math.Inf(1), 0
	for i := range grid + 1 {
		if y := f(float64(i) / grid); y < best {
			best, at = y, i
		}
	}
	low, high := float64(max(at-1, 0))/grid, float64(min(at+1, grid))/grid
	for range sections {
		part := (high - low) * (2 - math.Phi)
		a, b := f(low+part), f(high-part)
		best = min(best, a, b)
		if a < b {
			high -= part
		} else {
			low += part
		}
	}
	return best
}

// interval has all values of a figure of which the profile is within a limit. scale is a common size of such figures.
func interval(estimate, scale, limit float64, profile func(float64) float64) Interval {
	value := func(x float64) float64 { return scale * x / (1 - x) }
	edge := func(inside, outside, beyond float64) float64 {
		if profile(value(outside)) <= limit {
			return beyond
		}
		for range 40 {
			if middle := (inside + outside) / 2; profile(value(middle)) <= limit {
				inside = middle
			} else {
				outside = middle
			}
		}
		return value(inside)
	}
	x := estimate / (estimate + scale)
	return Interval{Estimate: estimate, Low: min(edge(x, 0, 0), estimate), High: max(edge(x, 1-1e-9, math.Inf(1)), estimate)}
}
