package chance

import (
	"errors"
	"fmt"
	"math"
	"sort"
)

// Weighted is a choice between values by weight.
type Weighted[T any] struct {
	values []T
	sums   []float64
}

// ErrWeights is returned for weights of which none is above zero, or one is below, or no number.
var ErrWeights = errors.New("weights must be numbers, none below zero and one above")

// NewWeighted makes a choice; weights need not sum to anything.
func NewWeighted[T any](values []T, weights []float64) (Weighted[T], error) {
	if len(values) != len(weights) {
		return Weighted[T]{}, fmt.Errorf("%d values but %d weights", len(values), len(weights))
	}
	w := Weighted[T]{values: values}
	var sum float64
	for _, x := range weights {
		if x < 0 || math.IsNaN(x) || math.IsInf(x, 0) {
			return Weighted[T]{}, ErrWeights
		}
		sum += x
		w.sums = append(w.sums, sum)
	}
	if sum <= 0 {
		return Weighted[T]{}, ErrWeights
	}
	return w, nil
}

// Empty reports whether there is nothing to choose from.
func (w Weighted[T]) Empty() bool { return len(w.values) == 0 }

// Pick chooses by a number u in [0,1). It must not be called on an empty choice.
func (w Weighted[T]) Pick(u float64) T {
	target := u * w.sums[len(w.sums)-1]
	i := sort.Search(len(w.sums), func(i int) bool { return w.sums[i] > target })
	return w.values[min(i, len(w.values)-1)]
}
