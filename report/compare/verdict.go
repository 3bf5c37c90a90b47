package compare

import (
	"math"

	"github.com/twinfleet/twinfleet/report/compare/effect"
)

// judge gives a row its effect and its verdict. sign is 1 when more is worse. In logarithms twice and half are equally far.
func (r *Row) judge(e effect.Effect, alpha, sign float64) {
	low, high := e.Interval(0.025)
	r.Change, r.Low, r.High = math.Expm1(e.Estimate), math.Expm1(low), math.Expm1(high)
	surelyLow, surelyHigh := e.Sure(alpha)
	est, margin := e.Estimate, math.Log1p(r.Margin)
	if sign < 0 {
		est, high = -est, -low
		surelyLow, surelyHigh = -surelyHigh, -surelyLow
		margin = -math.Log1p(-min(r.Margin, 0.999))
	}
	r.Verdict = verdict(est, high, surelyLow, surelyHigh, margin)
}

// judgeShare is judge for a share of x and y operations. Of what never happened before the blocks say nothing: more
// than a few of it are worse.
func (r *Row) judgeShare(e effect.Effect, x, y, alpha float64) {
	r.Low, r.High = e.Interval(0.025)
	r.Change = e.Estimate
	surelyLow, surelyHigh := e.Sure(alpha)
	r.Verdict = verdict(e.Estimate, r.High, surelyLow, surelyHigh, r.Margin)
	r.Low, r.High = max(r.Low, 0-r.Before), min(r.High, max(r.Change, 1-r.Before)) // a share is none to all
	if x > 0 {
		return
	}
	switch {
	case r.Change <= r.Margin:
		r.Verdict = NotWorse
	case y >= leastCount:
		r.Verdict = Worse
	default:
		r.Verdict = TooShort
	}
}

// verdict follows from an effect, where more is worse: high is the upper end of its interval, the others are the ends of the
// wider one that allows for the number of comparisons.
func verdict(est, high, surelyLow, surelyHigh, margin float64) Verdict {
	switch {
	case est > margin && surelyLow > 0:
		return Worse
	case est < -margin && surelyHigh < 0:
		return Better
	case high < margin:
		return NotWorse
	default:
		return TooShort
	}
}
