package compare

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

// effect is a change with what is known of its error: of a figure of time or rate in logarithms.
type effect struct {
	estimate float64
	df       float64
	// half are the half-widths downwards and upwards, at c standard errors of what was seen, and p of what is assumed, when
	// every second is as restless.
	half func(c, p, restless float64) (down, up float64)
}

// interval leaves out a share of each side of what chance may do.
func (e effect) interval(share float64) (low, high float64) {
	down, up := e.half(student(e.df, share), student(math.MaxInt32, share), restless)
	return e.estimate - down, e.estimate + up
}

// sure is a wider interval, from which something may be called worse.
func (e effect) sure(share float64) (low, high float64) {
	c := student(e.df, share)
	down, up := e.half(c, c, atWorst)
	return e.estimate - down, e.estimate + up
}

// student is how many standard errors leave out a share of one side.
func student(df, share float64) float64 {
	return stats.InvCDF(stats.TDist{V: df})(1 - share)
}

// apart reports whether a quantile is so much greater in every block of b than in any of a that it needs no interval: five times when
// there is one block, twice when there are four, half as much again when there are eight. Of three or more one may be otherwise,
// such as that in which a fault began, when it is ten times. gap is how much greater it is at least.
func apart(a, b []histogram.Histogram, q, estimate float64) (gap float64, ok bool) {
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

// quantileEffect is how the quantile q of the merged distributions changed. seconds is the length of a block.
func quantileEffect(a, b []histogram.Histogram, q, seconds float64) effect {
	all := [2]histogram.Histogram{merged(a), merged(b)}
	before, after := logMicros(all[0].Quantile(q)), logMicros(all[1].Quantile(q))
	spread := deviations(below(a, all[0].Quantile(q)), below(b, all[1].Quantile(q)), counts(a), counts(b))
	seen := 2 * meanVariance(spread.blocks*seconds)
	var deviation [2]float64 // of the rank, from 0 to 1
	for i := range all {
		n := float64(all[i].Count)
		deviation[i] = math.Sqrt(spread.variance(i, q*(1-q)/n, seconds))
	}
	return effect{
		estimate: after - before, df: spread.df(),
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

// rateEffect is how the rate of na and nb operations that ended changed. How much they vary is taken from when they were due, since
// a slower answer only comes in a later block. What a schedule wants is not by chance, so that neighbours need not be alike.
func rateEffect(na, nb float64, dueA, dueB []float64, length [2]time.Duration) effect {
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
	return effect{
		estimate: math.Log(nb/length[1].Seconds()) - math.Log(na/length[0].Seconds()), df: max(blocks-1, 0) + priorDF,
		half: func(c, _, _ float64) (down, up float64) { return c * deviation, c * deviation },
	}
}

// shareEffect is how the share of some operations, in all that were due, changed: a difference, in no logarithm.
func shareEffect(a, b, dueA, dueB []float64, seconds float64) effect {
	spread := deviations(a, b, dueA, dueB)
	var share, variance [2]float64
	for i, of := range [2][2][]float64{{a, dueA}, {b, dueB}} {
		n := max(sum(of[1]), 1)
		share[i] = sum(of[0]) / n
		variance[i] = spread.variance(i, share[i]*(1-share[i])/n, seconds)
	}
	deviation := math.Sqrt(variance[0] + variance[1])
	return effect{
		estimate: share[1] - share[0], df: spread.df(),
		half: func(c, _, _ float64) (down, up float64) { return c * deviation, c * deviation },
	}
}

// spread is how much blocks disagree about a share.
type spread struct {
	blocks float64       // how many count, after their weight
	seen   [2][3]float64 // variance of each run's share, as if its blocks, or two or three of them together, had nothing to do with each other
}

// deviations looks at the shares part/of in every block. What both runs show in the same block, such as a ramp, is of the
// scenario and no noise.
func deviations(partA, partB, ofA, ofB []float64) spread {
	var s spread
	part, of := [2][]float64{partA, partB}, [2][]float64{ofA, ofB}
	var total, mean [2]float64
	for i := range part {
		total[i] = max(sum(of[i]), 1)
		mean[i] = sum(part[i]) / total[i]
	}
	var weight, squares float64
	var together [2][3]float64
	for n := range partA {
		var off [2]float64 // of the block's share from the run's
		for i := range part {
			if of[i][n] > 0 {
				off[i] = part[i][n]/of[i][n] - mean[i]
			}
		}
		both := of[0][n] > 0 && of[1][n] > 0
		for i := range part {
			own := off[i]
			if both {
				own = (off[i] - off[1-i]) / math.Sqrt2 // of which half is the other run's
			}
			w := of[i][n] / total[i]
			for k := range together[i] {
				together[i][k] += own * w
				if (n+1)%(k+1) == 0 || n == len(partA)-1 {
					s.seen[i][k] += together[i][k] * together[i][k]
					together[i][k] = 0
				}
			}
			weight, squares = weight+w/2, squares+w*w/2
		}
	}
	if squares > 0 {
		s.blocks = weight * weight / squares
	}
	return s
}

func (s spread) df() float64 { return max(s.blocks-1, 0) + priorDF }

// variance of a run's share: that of independent operations, and what the blocks show beyond it, made as much larger as
// neighbours are alike. Blocks put together in twos and threes show it when they are more alike than is assumed.
func (s spread) variance(run int, independent, seconds float64) float64 {
	beyond := 0.0
	for k, seen := range s.seen[run] {
		n, together := s.blocks/float64(k+1), float64(k+1)
		if n < 1.5 || (k > 0 && n < leastTogether) {
			break
		}
		known := max(n-2, 0) / n // few blocks say little of how much they disagree
		beyond = max(beyond, known*(seen*n/(n-1)-independent)*inflation(n, seconds*together))
	}
	return independent + beyond
}

// leastTogether is how many there must be when blocks are put together.
const leastTogether = 4

// inflation is how many times larger the variance of the mean of n blocks is than their variance over n says, when
// seconds are alike as neighbours are.
func inflation(n, seconds float64) float64 {
	whole, block := meanVariance(n*seconds), meanVariance(seconds)
	within := (block - whole) * n / (n - 1) // what the variance of the blocks shows
	return whole * n / within
}

// meanVariance is the variance of the mean over some seconds, each of variance 1, when neighbours are alike.
func meanVariance(seconds float64) float64 {
	const r = neighbours
	n := max(seconds, 1)
	return ((1+r)/(1-r) - 2*r*(1-math.Pow(r, n))/(n*(1-r)*(1-r))) / n
}

func merged(all []histogram.Histogram) histogram.Histogram {
	var h histogram.Histogram
	for _, x := range all {
		h = h.Merge(x)
	}
	return h
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
