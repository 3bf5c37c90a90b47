// Package rotation deals work to the members of a changing set in turn, such as to the connected devices of a fleet.
package rotation

import (
	"math/bits"
	"sync"
)

// Rotation deals work to the members of a set of indexes in turn. It finds the next member in
// a few steps, however many indexes are not in the set. It is safe for concurrent use.
//
// A bit of a level stands for a word of the level below that is not 0:
//
//	levels[1]  ...0101            one word for 4,096 devices
//	levels[0]  ...0110 0 ...1000  one bit a device
type Rotation struct {
	mu     sync.Mutex // protects the following fields
	levels [][]uint64
	last   int // who had the last turn
	n      int
}

// New makes an empty rotation for the indexes from 0 to size-1.
func New(size int) *Rotation {
	r := &Rotation{last: -1}
	for words := (size + 63) / 64; ; words = (words + 63) / 64 {
		r.levels = append(r.levels, make([]uint64, max(words, 1)))
		if words <= 1 {
			return r
		}
	}
}

// Set puts an index into the rotation or takes it out.
func (r *Rotation) Set(i int, in bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.levels[0][i/64]&(1<<(i%64)) != 0
	if was == in {
		return
	}
	if in {
		r.n++
	} else {
		r.n--
	}
	for _, level := range r.levels {
		word := &level[i/64]
		before := *word
		if in {
			*word |= 1 << (i % 64)
		} else {
			*word &^= 1 << (i % 64)
		}
		if (before == 0) == (*word == 0) {
			return // nothing changes for the levels above
		}
		i /= 64
	}
}

// Size is how many are in the rotation.
func (r *Rotation) Size() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n
}

// Next gives the member whose turn it is to do, while it cannot leave the rotation. It is false when
// there is none.
func (r *Rotation) Next(do func(index int)) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n == 0 {
		return false
	}
	i := r.from(r.last + 1)
	if i < 0 {
		i = r.from(0)
	}
	r.last = i
	do(i)
	return true
}

// Only gives an index its turn, out of its order, to do while it cannot leave the rotation. It is false when it is not in it.
func (r *Rotation) Only(index int, do func(index int)) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.levels[0][index/64]&(1<<(index%64)) == 0 {
		return false
	}
	do(index)
	return true
}

// from is the first member at or after an index; -1 when there is none. It climbs until a word has a
// bit at or after the place, and goes down to the lowest bit below it.
func (r *Rotation) from(i int) int {
	for height := 0; height < len(r.levels); height++ {
		level := r.levels[height]
		if i/64 >= len(level) {
			return -1
		}
		if word := level[i/64] &^ (1<<(i%64) - 1); word != 0 {
			i = i/64*64 + bits.TrailingZeros64(word)
			for height > 0 {
				height--
				i = i*64 + bits.TrailingZeros64(r.levels[height][i])
			}
			return i
		}
		i = i/64 + 1
	}
	return -1
}
