// Package effect estimates by how much a figure changed between two runs, and how sure that is.
//
// Both runs are given as blocks that stand beside each other. The change comes from all blocks together; its error from how much they
// disagree, made larger as neighbours in time are alike, and from what is assumed of every run because a short one cannot show it.
package effect

import (
	"math"
	"slices"
	"time"

	"github.com/aclements/go-moremath/stats"

	"github.com/twinfleet/twinfleet/metrics/histogram"
)

// What is assumed of every run, since a short one cannot show it.
const (
	neighbours = 0.85  // correlation of one second with the next: what slows one slows the next
	restless   = 0.025 // by how much seconds differ, as a share, however steady those that were seen are
	dayToDay   = 0.02  // by how much whole runs differ for no reason that either shows
	atWorst    = 0.05  // the same, before something is called worse: another program may have had the machine
	steadyRate = 0.01  // by how much rates of whole runs differ, as a share, however regular a schedule is
	priorDF    = 4     // degrees of freedom that these assumptions are worth
)

// Effect is a change with what is known of its error: of a figure of time or rate in logarithms.
type Effect struct {
	Estimate float64 // how much it changed: a logarithm of after over before, of a share the difference
	df       float64 // degrees of freedom of what was seen
	// half are the half-widths downwards and upwards, at c standard errors of what was seen, and p of what is assumed, when
	// every second is as restless.
	half func(c, p, restless float64) (down, up float64)
}

// Interval leaves out a share of each side of what chance may do.
func (e Effect) Interval(share float64) (low, high float64) {
	down, up := e.half(student(e.df, share), student(math.MaxInt32, share), restless)
	return e.Estimate - down, e.Estimate + up
}

// Sure is a wider interval, from which something may be called worse.
func (e Effect) Sure(share float64) (low, high float64) {
	c := student(e.df, share)
	down, up := e.half(c, c, atWorst)
	return e.Estimate - down, e.Estimate + up
}

// student is how many standard errors leave out a share of one side.
func student(df, share float64) float64 {
	return stats.InvCDF(stats.TDist{V: df})(1 - share)
}

// Apart reports whether a quantile is so much greater in every block of b than in any of a that it needs no interval: five times when
// there is one block, twice when there are four, by half when there are eight. Of three or more one may be otherwise,
// such as that in which a fault began, when it is ten times. gap is how much greater it is at least.
func Apart(a, b []histogram.Histogram, q, estimate float64) (gap float64, ok bool) {
	before, after := quantiles(a, q), quantiles(b, q)
	n := min(len(before), len(after))
	if n == 0 {
		return 0, false
	}
	odd := 0
	if n >= 3 && estimate > math.Log(10) {
		odd = 1
	}
	gap = after[odd] - before[len(before)-1-odd]
	return gap, gap > 0 && estimate > math.Log1p(max(4/float64(n), 0.5))
}

// quantiles are the logarithms of a quantile of every block that has one, in their order.
func quantiles(blocks []histogram.Histogram, q float64) []float64 {
	var out []float64
	for _, h := range blocks {
		if h.Count >= leastInBlock {
			out = append(out, logMicros(h.Quantile(q)))
		}
	}
	slices.Sort(out)
	return out
}

// leastInBlock is how many operations a block must have for a quantile of its own.
const leastInBlock = 5

// Quantile is how the quantile q of the merged distributions changed. seconds is the length of a block.
func Quantile(a, b []histogram.Histogram, q, seconds float64) Effect {
	all := [2]histogram.Histogram{histogram.MergeAll(a), histogram.MergeAll(b)}
	before, after := logMicros(all[0].Quantile(q)), logMicros(all[1].Quantile(q))
	spread := deviations(below(a, all[0].Quantile(q)), below(b, all[1].Quantile(q)), counts(a), counts(b))
	seen := 2 * meanVariance(spread.blocks*seconds)
	var deviation [2]float64 // of the rank, from 0 to 1
	for i := range all {
		n := float64(all[i].Count)
		deviation[i] = math.Sqrt(spread.variance(i, q*(1-q)/n, seconds))
	}
	return Effect{
		Estimate: after - before, df: spread.df(),
		half: func(c, p, restless float64) (down, up float64) {
			assumed := p * p * (restless*restless*seen + 2*dayToDay*dayToDay)
			aDown, aUp := around(all[0], q, c*deviation[0])
			bDown, bUp := around(all[1], q, c*deviation[1])
			return math.Sqrt(bDown*bDown + aUp*aUp + assumed), math.Sqrt(bUp*bUp + aDown*aDown + assumed)
		},
	}
}

// around is how far below and above a quantile, in logarithms, those lie whose rank differs by as much: Woodruff's
// interval. Beyond the least and the greatest value it goes on as steeply as it came there.
func around(h histogram.Histogram, q, rank float64) (down, up float64) {
	at := logMicros(h.Quantile(q))
	if rank < q {
		down = at - logMicros(h.Quantile(q-rank))
	} else {
		down = (at - logMicros(h.Minimum())) * (1 + math.Log(rank/q))
	}
	if rank < 1-q {
		up = logMicros(h.Quantile(q+rank)) - at
	} else {
		up = (logMicros(h.Maximum()) - at) * (1 + math.Log(rank/(1-q)))
	}
	return max(down, 0), max(up, 0)
}

// logMicros is the logarithm of a time; what is less than a microsecond counts as one.
func logMicros(d time.Duration) float64 {
	return math.Log(max(float64(d)/float64(time.Microsecond), 1))
}

// Rate is how the rate of na and nb operations that ended changed. How much they vary is taken from when they were due, since
// a slower answer only comes in a later block. What a schedule wants is not by chance, so that neighbours need not be alike.
func Rate(na, nb float64, dueA, dueB []float64, length [2]time.Duration) Effect {
	da, db := max(sum(dueA), 1), max(sum(dueB), 1)
	var square, blocks, last float64
	for i := range dueA {
		d := dueA[i]/da - dueB[i]/db
		square += d*d + 2*d*last // what only came a block later is no change
		last = d
		if dueA[i]+dueB[i] > 0 {
			blocks++
		}
	}
	variance := 2.0 * steadyRate * steadyRate
	if blocks > 1 {
		// Never more than if they came by chance, twice over: a schedule that is only later is none that varies.
		variance += min(max(square, 0)*blocks/(blocks-1), 2/na+2/nb)
	}
	deviation := math.Sqrt(variance)
	return Effect{
		Estimate: math.Log(nb/length[1].Seconds()) - math.Log(na/length[0].Seconds()), df: max(blocks-1, 0) + priorDF,
		half: func(c, _, _ float64) (down, up float64) { return c * deviation, c * deviation },
	}
}

// Share is how the share of some operations, in all that were due, changed: a difference, in no logarithm.
func Share(a, b, dueA, dueB []float64, seconds float64) Effect {
	spread := deviations(a, b, dueA, dueB)
	var share, variance [2]float64
	for i, of := range [2][2][]float64{{a, dueA}, {b, dueB}} {
		n := max(sum(of[1]), 1)
		share[i] = sum(of[0]) / n
		variance[i] = spread.variance(i, share[i]*(1-share[i])/n, seconds)
	}
	deviation := math.Sqrt(variance[0] + variance[1])
	return Effect{
		Estimate: share[1] - share[0], df: spread.df(),
		half: func(c, _, _ float64) (down, up float64) { return c * deviation, c * deviation },
	}
}

func below(all []histogram.Histogram, d time.Duration) []float64 {
	out := make([]float64, len(all))
	for i, h := range all {
		out[i] = float64(h.Below(d))
	}
	return out
}

func counts(all []histogram.Histogram) []float64 {
	out := make([]float64, len(all))
	for i, h := range all {
		out[i] = float64(h.Count)
	}
	return out
}

func sum(values []float64) float64 {
	total := 0.0
	for _, v := range values {
		total += v
	}
	return total
}
