// Package usl fits the Universal Scalability Law to measured throughput, and says how much of the curve the measurements support.
//
// The law (N. Gunther, "Guerrilla Capacity Planning") is X(n) = λn / (1 + σ(n−1) + κn(n−1)): throughput X at n times the unit of load,
// σ the contention for what is shared, κ the coherency, which is what everybody costs everybody. When κ > 0 throughput has a peak at
// n* = sqrt((1−σ)/κ) and falls beyond it; when only σ > 0 it nears λ/σ; when both are 0 it grows with the load for ever.
//
// # The unit of load
//
// n = 1 is where nothing can wait for anything else: one device, or one operation a second. σ and κ are counted in that unit and
// therefore small for a fleet: what has cost half of the throughput at 10,000 devices is σ ≈ 1/10,000. Another unit has other σ and κ but
// the same curve, peak and maximum, as long as σ > 0 in both. The fit itself works in loads relative to the largest, so that large ones
// cost no digits.
//
// # How it is fitted
//
// n/X = a + S·n + K·n(n−1) with a = (1−σ)/λ, S = σ/λ, K = κ/λ is linear in what is not known, and σ, κ ≥ 0, σ ≤ 1 are a, S, K ≥ 0.
// Without known errors the sum of squares of X/f − 1 is made least, of how far a throughput is from the curve f as a share of the curve. That
// is convex: there is one minimum, it needs no start and no steps. Of noise of a share c it puts the curve too high by c², a thousandth
// when c is 3 %. With known errors it is the sum of squares of X − f in standard errors, by Gauss and Newton from there. The same points
// give the same fit in any order.
//
// Intervals are of profile likelihood: all values of a figure with which the other parameters can come close enough to the best fit, by
// Student's t for as many points as are left over. No replicates are drawn.
package usl

import (
	"errors"
	"fmt"
	"math"
)

// Level is the confidence of every interval: in 90 of 100 fits to data of the law the truth is in it.
const Level = 0.90

// Reach is how far the curve is believed beyond the measurements: three times the largest load and the greatest throughput measured.
// A curve whose peak is at three times a load has lost at least a tenth there, which noise and rounding are not taken for.
const Reach = 3

// Reasons for which Fit refuses. All of them are ErrNoFit.
var (
	// ErrNoFit is that the points have no fit of the law which one could believe.
	ErrNoFit = errors.New("no fit of the scalability law")
	// ErrInput is a load, a throughput or an error that is none: zero, negative, infinite, not a number, out of range.
	ErrInput = fmt.Errorf("%w", ErrNoFit)
	// ErrFewLoads is that there are fewer than four distinct loads.
	ErrFewLoads = fmt.Errorf("%w", ErrNoFit)
	// ErrNarrow is that the largest load is less than twice the smallest.
	ErrNarrow = fmt.Errorf("%w", ErrNoFit)
	// ErrPastPeak is that throughput does not rise from the smallest load on, so that nothing is known of the way up.
	ErrPastPeak = fmt.Errorf("%w", ErrNoFit)
	// ErrForm is that the points are too far from every curve of the law, or follow a hard limit much better.
	ErrForm = fmt.Errorf("%w", ErrNoFit)
)

// Point is one measurement. Its zero value is refused.
type Point struct {
	// Load is the number of devices, or the operations a second that were due: from 1e-9 to 1e12, of all points the largest at most a million
	// times the smallest.
	Load float64
	// Throughput is how many operations a second ended well: from 1e-9 to 1e12.
	Throughput float64
	// StdErr is the standard error of Throughput, in operations a second: 0 when unknown, else from 1e-9 to 1e12. When all points have one
	// they set the weights and the least noise, as from 1e-4 of Throughput to all of it; points that scatter more than they say widen the
	// intervals. When one has none, all points weigh the same as shares of their throughput.
	StdErr float64
}

// Interval is a figure with the bounds of its interval of confidence Level. The zero value is exactly 0.
type Interval struct {
	// Estimate is the figure of the curve that fits best.
	Estimate float64
	// Low is the lower bound, at most Estimate; 0 when the data set none.
	Low float64
	// High is the upper bound, at least Estimate; +Inf, which JSON has not, when the data set none or one beyond Reach.
	High float64
}

// Bounded reports whether the data set an upper bound.
func (i Interval) Bounded() bool { return !math.IsInf(i.High, 1) }

// Shape is what the data say of a maximum. The zero value is Linear.
type Shape int

const (
	// Linear is that neither σ nor κ can be told from 0: both are 0 and no maximum is predicted.
	Linear Shape = iota
	// Saturating is that throughput falls behind the load, but that no peak can be told: κ may be 0, or the peak beyond Reach.
	// When the estimate of κ is 0 the maximum is the asymptote λ/σ, which no load attains.
	Saturating
	// Peaked is that throughput has a peak, whose load has an upper bound.
	Peaked
)

// String names the shape.
func (s Shape) String() string {
	if s < Linear || s > Peaked {
		return fmt.Sprintf("shape %d", int(s))
	}
	return [...]string{"linear", "saturating", "peaked"}[s]
}

// Curve is a fit of the law. The zero value is no curve.
type Curve struct {
	// Shape is what the data say of a maximum.
	Shape Shape
	// Unit is the load that counts as n = 1: 1 device or operation a second, or the smallest load measured when that is less.
	Unit float64
	// Lambda is λ, the throughput at one Unit, in operations a second: λ/Unit that of a unit of load. When load and throughput are rates of the
	// same operations, λ/Unit is the share that ends well when there are hardly any.
	Lambda Interval
	// Sigma is σ, the contention, without a unit: from 0 to 1.
	Sigma Interval
	// Kappa is κ, the coherency, without a unit: from 0.
	Kappa Interval
	// PeakLoad is the load N* at which throughput is greatest, in the unit of Point.Load. The estimate is +Inf when there is no peak within
	// Reach; Low then still is a load that the peak is not below.
	PeakLoad Interval
	// MaxThroughput is the greatest throughput, in operations a second: that at the peak, or the asymptote λ/σ when κ is 0. The estimate is
	// +Inf when there is none within Reach.
	MaxThroughput Interval
	// Residual is how far the points are from the curve that fits best, as a share: the root of the weighted mean square, with as many
	// points as are left over. It is at most 0.08. (Of a Linear curve too it is that of the law's best, whose σ and κ then are noise.)
	Residual float64
	// RSquared is the share of the weighted variance of the throughput that the curve explains, at most 1.
	RSquared float64
	// Points is how many points there were.
	Points int
	// Loads is how many distinct loads they had.
	Loads int
}

// At is the throughput of the estimated curve at a load, in operations a second, a prediction only up to Reach times the largest load
// measured. It is 0 at a load that is not positive.
func (c Curve) At(load float64) float64 {
	n := load / c.Unit
	if !(n > 0) {
		return 0
	}
	return c.Lambda.Estimate * n / (1 + c.Sigma.Estimate*(n-1) + c.Kappa.Estimate*n*(n-1))
}
