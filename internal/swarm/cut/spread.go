package cut

import "math/bits"

// whose says to which agent the block at a place falls, and which of its blocks that is. sums is how many blocks the agents before the
// i-th get, so that the last of it is how many there are. Halves of the agents, and halves of those, get blocks in turn, as evenly as
// whole numbers allow: so of any first places each agent has about its share.
func whose(sums []int, place int) (agent, rank int) {
	low, high := 0, len(sums)-1
	for high-low > 1 {
		middle := (low + high) / 2
		all, left := sums[high]-sums[low], sums[middle]-sums[low]
		before := place * left / all
		if (place+1)*left/all > before {
			high, place = middle, before
		} else {
			low, place = middle, place-before
		}
	}
	return low, place
}

// where is the place of an agent's block: the inverse of whose.
func where(sums []int, agent, rank int) int { return whereIn(sums, 0, len(sums)-1, agent, rank) }

func whereIn(sums []int, low, high, agent, rank int) int {
	if high-low == 1 {
		return rank
	}
	middle := (low + high) / 2
	all, left := sums[high]-sums[low], sums[middle]-sums[low]
	if agent < middle {
		rank = whereIn(sums, low, middle, agent, rank)
		return ((rank+1)*all+left-1)/left - 1
	}
	rank = whereIn(sums, middle, high, agent, rank)
	return rank * all / (all - left)
}

// window is how many blocks are scattered among themselves: a power of two.
func window(agents int) int { return 1 << bits.Len(uint(max(32, agents)-1)) }

// scatter is the place of a block: blocks are mixed within windows, so that agents have nothing to do with what else is dealt by a device's
// number in turn, such as its hub, its source address or what a template makes of it. gather is the inverse.
func scatter(lot, block, blocks, window int) int {
	from, size := part(block, blocks, window)
	return from + keyed(lot, from, size).mix(block-from)
}

func gather(lot, place, blocks, window int) int {
	from, size := part(place, blocks, window)
	return from + keyed(lot, from, size).unmix(place-from)
}

// part is the window that something is in. What is left at the end is cut into smaller powers of two.
func part(at, blocks, window int) (from, size int) {
	from = at - at%window
	if from+window <= blocks {
		return from, window
	}
	for {
		size = 1 << (bits.Len(uint(blocks-from)) - 1)
		if at < from+size {
			return from, size
		}
		from += size
	}
}

// mixer is a permutation of the numbers below a power of two.
type mixer struct {
	mask, shift             uint64
	times, plus, more, also uint64
}

// keyed is the mixer of a window.
func keyed(lot, from, size int) mixer {
	h := func(n uint64) uint64 { // SplitMix64
		z := (uint64(lot)<<40 ^ uint64(from)<<2 ^ n) + 0x9e3779b97f4a7c15
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		return z ^ z>>31
	}
	a, b := h(0), h(1)
	return mixer{
		mask: uint64(size) - 1, shift: uint64(bits.Len(uint(size))) / 2,
		times: a | 1, plus: a >> 32, more: b | 1, also: b >> 32,
	}
}

func (m mixer) mix(x int) int {
	z := (uint64(x)*m.times + m.plus) & m.mask
	z ^= z >> m.shift
	return int((z*m.more + m.also) & m.mask)
}

func (m mixer) unmix(x int) int {
	z := (uint64(x) - m.also) * inverse(m.more) & m.mask
	z ^= z >> m.shift // at least half of the bits: it undoes itself
	return int((z - m.plus) * inverse(m.times) & m.mask)
}

// inverse is what an odd number is multiplied with to make 1, modulo 2 to the 64th: each step of Newton's doubles the bits that are right.
func inverse(x uint64) uint64 {
	y := x
	for range 5 {
		y *= 2 - x*y
	}
	return y
}
