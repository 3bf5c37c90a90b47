// Package tally counts by key, for many goroutines at once, and bounds how many keys are told apart.
package tally

import (
	"sync"
	"sync/atomic"
	"time"
)

// Table counts by key. The zero value is empty. It must not be copied.
type Table[K comparable] struct{ counts sync.Map } // K → *state

type state struct {
	count atomic.Uint64
	last  atomic.Int64 // Unix nanoseconds
}

// Add counts one more of a key, at a time.
func (t *Table[K]) Add(k K, at time.Time) {
	s, ok := t.counts.Load(k)
	if !ok {
		s, _ = t.counts.LoadOrStore(k, new(state))
	}
	x := s.(*state)
	x.count.Add(1)
	x.last.Store(at.UnixNano())
}

// Each gives every key with its count and the time, in UTC, at which it was counted last. The order is by chance.
func (t *Table[K]) Each(do func(k K, count uint64, last time.Time)) {
	t.counts.Range(func(k, v any) bool {
		x := v.(*state)
		if n := x.count.Load(); n > 0 {
			do(k.(K), n, time.Unix(0, x.last.Load()).UTC())
		}
		return true
	})
}

// Bound admits so many keys and no more. The zero value admits none.
type Bound[K comparable] struct {
	Most int64 // how many are admitted; set before the first Admit

	seen sync.Map // K → nothing
	keys atomic.Int64
}

// Admit reports whether a key is one of those that are told apart. Newcomers at the same instant may pass the bound together: by no
// more than run at once.
func (b *Bound[K]) Admit(k K) bool {
	if _, ok := b.seen.Load(k); ok {
		return true
	}
	if b.keys.Load() >= b.Most {
		return false
	}
	if _, ok := b.seen.LoadOrStore(k, nil); !ok {
		b.keys.Add(1)
	}
	return true
}
