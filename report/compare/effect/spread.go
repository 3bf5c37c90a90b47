package effect

import (
	"math"
)

// spread is how much blocks disagree about a share.
type spread struct {
	blocks float64       // how many count, after their weight
	seen   [2][3]float64 // variance of each run's share, as if its blocks, or two or three of them together, had nothing to do with each other
}

// deviations compares the shares part/of in every block. What both runs show in the same block, such as a ramp, is of the
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
