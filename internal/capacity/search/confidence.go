package search

import (
	"math"
	"slices"
)

// Trial is a load and what one trial said of it.
type Trial struct {
	Load float64
	Held bool
}

// errs is the chance with which one trial is taken to say the opposite of what is true: one in ten. Trials far from the limit
// err less, those next to it more.
const errs = 0.1

// Confidence is the probability that the limit lies between two loads, given the trials: by Bayes' rule, from a limit that may
// be anywhere, evenly in the logarithm, from half the lowest load to twice the highest, with trials each of which errs with one chance in ten
// (as in probabilistic bisection; Waeber, Frazier and Henderson, "Bisection search with noisy responses", 2013). It is 0 without trials.
func Confidence(trials []Trial, from, to float64) float64 {
	if len(trials) == 0 || !(from > 0 && from < to) {
		return 0
	}
	edges := []float64{from, to}
	for _, t := range trials {
		edges = append(edges, t.Load)
	}
	lowest, highest := slices.Min(edges)/2, slices.Max(edges)*2
	edges = append(edges, lowest, highest)
	slices.Sort(edges)
	inside, all := 0.0, 0.0
	for i := 1; i < len(edges); i++ {
		a, b := edges[i-1], edges[i]
		mass := math.Log(b / a)
		limit := math.Sqrt(a * b)
		for _, t := range trials {
			if t.Held == (t.Load <= limit) {
				mass *= 1 - errs
			} else {
				mass *= errs
			}
		}
		all += mass
		if limit > from && limit < to {
			inside += mass
		}
	}
	return inside / all
}
