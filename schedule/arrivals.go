package schedule

import (
	"iter"
	"time"

	"github.com/twinfleet/twinfleet/schedule/chance"
)

// Even are the times of events whose rate a second follows the curve, at even distances: Nth of each.
func (c Curve) Even() iter.Seq[time.Duration] {
	return func(yield func(time.Duration) bool) {
		for n := int64(1); ; n++ {
			if at, ok := c.Nth(n); !ok || !yield(at) {
				return
			}
		}
	}
}

// Poisson are the times of a Poisson process whose rate a second follows the curve: of independent customers, as
// queueing theory has them. The gaps, in expected events, are exponential with mean 1. They follow from the seed,
// a name and an index.
func (c Curve) Poisson(seed uint64, name string, index int) iter.Seq[time.Duration] {
	return func(yield func(time.Duration) bool) {
		draws := chance.Rand(seed, name, index)
		for n := draws.ExpFloat64(); ; n += draws.ExpFloat64() {
			if at, ok := c.TimeOf(n); !ok || !yield(at) {
				return
			}
		}
	}
}
