package chance

// Chain is a Markov chain: what comes next depends on what is now, and on nothing before it.
//
//	cellular ──0.1──▶ wifi      a device on cellular finds wifi at one report in ten,
//	wifi ──0.3──▶ cellular      and loses it at three in ten
type Chain[T comparable] struct {
	start Weighted[T]
	next  map[T]Weighted[T]
}

// NewChain makes a chain of a choice for the start and one for each state that changes. A state
// without one stays. With a nil map every step draws from the start: no memory at all. The chain
// keeps the map, which must not change any more.
func NewChain[T comparable](start Weighted[T], next map[T]Weighted[T]) Chain[T] {
	return Chain[T]{start, next}
}

// Empty reports whether the chain has nothing to start with.
func (c Chain[T]) Empty() bool { return c.start.Empty() }

// First is the state of the start, for a random u in [0,1). It must not be called on an empty chain.
func (c Chain[T]) First(u float64) T { return c.start.Pick(u) }

// Next is the state after another, for a random u in [0,1).
func (c Chain[T]) Next(current T, u float64) T {
	if c.next == nil {
		return c.First(u)
	}
	if w := c.next[current]; !w.Empty() {
		return w.Pick(u)
	}
	return current
}
