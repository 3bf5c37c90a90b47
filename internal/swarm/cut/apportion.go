package cut

import (
	"cmp"
	"slices"
)

// heaviest is what the largest weight is counted as, so that no product overflows.
const heaviest = 100_000

// apportion says how many blocks of each lot each agent gets: its share of every group by weight, to within a block, unless it has less
// room than that. fit is how many devices have a place: all of them, unless there is too little room.
//
// It computes with whole numbers alone: others are not the same on every machine.
func apportion(lots []lot, agents []Agent, room []int) (counts [][]int, fit int) {
	total := 0
	ofGroup := make(map[int]int) // devices
	for l := range lots {
		total += lots[l].devices()
		ofGroup[lots[l].group] += lots[l].devices()
	}
	p := placer{left: slices.Clone(room), owed: make([]int, len(agents))}
	for a := range p.left {
		p.left[a] = min(p.left[a], total)
	}
	shares := divide(total, weights(agents), p.left)
	order := make([]int, len(lots)) // large blocks first: small ones fit into what they leave
	counts = make([][]int, len(lots))
	for l := range lots {
		counts[l], order[l] = make([]int, len(agents)), l
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(lots[b].size, lots[a].size) })

	begun := make(map[int][]int) // by group: devices that each agent has of it
	for _, l := range order {
		x := &lots[l]
		if x.blocks == 0 {
			continue
		}
		has, left := begun[x.group] // what is left over of a group comes after its full blocks
		if !left {
			has = make([]int, len(agents))
			begun[x.group] = has
			for a := range agents {
				p.owed[a] += shares[a] * ofGroup[x.group]
			}
		}
		p.counts, p.size, p.rest, p.scale, p.has = counts[l], x.size, x.blocks, total, has
		p.place(!left, func(a int) int { return shares[a]*ofGroup[x.group] - total*has[a] })
		fit += (x.blocks - p.rest) * x.size
	}
	return counts, fit
}

// placer gives the blocks of one lot after the other to agents.
type placer struct {
	left   []int // by agent: devices that it has room for
	owed   []int // by agent: how many devices less it has than its share of the groups so far, times scale
	counts []int // by agent: blocks of the lot
	has    []int // by agent: devices of the group
	size   int   // devices of a block
	rest   int   // blocks that nobody has yet
	scale  int   // the devices of all lots
}

// place gives agents what they want of the lot, in devices times scale: whole blocks, of full ones, and then one more to those who are owed
// the most, of all that was dealt so far. Blocks that are left, as those who want them have no room, go to whoever has the most.
func (p *placer) place(full bool, wants func(agent int) int) {
	var more []int
	for a := range p.counts {
		n := wants(a)
		if whole := n / (p.scale * p.size); whole > 0 && full {
			p.give(a, min(whole, p.left[a]/p.size, p.rest))
			n -= whole * p.scale * p.size
		}
		if n > 0 {
			more = append(more, a)
		}
	}
	slices.SortStableFunc(more, func(a, b int) int { return cmp.Compare(p.owed[b], p.owed[a]) })
	for _, a := range more {
		p.give(a, min(1, p.left[a]/p.size, p.rest))
	}
	for p.rest > 0 {
		var roomy []int
		for a := range p.left {
			if p.left[a] >= p.size {
				roomy = append(roomy, a)
			}
		}
		if len(roomy) == 0 {
			return
		}
		slices.SortStableFunc(roomy, func(a, b int) int { return cmp.Compare(p.left[b], p.left[a]) })
		for _, a := range roomy {
			p.give(a, min(1, p.rest))
		}
	}
}

// give gives an agent blocks of the lot.
func (p *placer) give(a, blocks int) {
	p.counts[a] += blocks
	p.rest -= blocks
	p.left[a] -= blocks * p.size
	p.has[a] += blocks * p.size
	p.owed[a] -= blocks * p.size * p.scale
}

// weights are the agents' weights, of which none is 0, and none above heaviest.
func weights(agents []Agent) []int {
	most := 0
	for _, a := range agents {
		most = max(most, a.Weight)
	}
	by := 1 + most/heaviest // so that a product with heaviest cannot overflow
	scaled := make([]int, len(agents))
	sum, known := 0, 0
	for i, a := range agents {
		if a.Weight == 0 {
			continue
		}
		scaled[i] = max(1, a.Weight/by*heaviest/max(1, most/by))
		sum, known = sum+scaled[i], known+1
	}
	for i := range scaled {
		if scaled[i] == 0 && known > 0 {
			scaled[i] = max(1, sum/known)
		} else if scaled[i] == 0 {
			scaled[i] = 1
		}
	}
	return scaled
}

// divide divides devices by weights so that nobody gets more than it has room for; what there is no room for is left out.
func divide(devices int, weights, room []int) []int {
	shares := make([]int, len(weights))
	open := make([]int, len(weights)) // agents that have room for their share
	for a := range open {
		open[a] = a
	}
	for {
		sum, rest := 0, devices
		for _, a := range open {
			sum += weights[a]
		}
		n := len(open)
		open = slices.DeleteFunc(open, func(a int) bool {
			full := room[a]*sum <= devices*weights[a]
			if full {
				shares[a] = room[a]
				rest -= room[a]
			}
			return full
		})
		if len(open) == n {
			break
		}
		devices = rest
	}
	if len(open) == 0 {
		return shares
	}
	sum, rest := 0, devices
	for _, a := range open {
		sum += weights[a]
	}
	for _, a := range open {
		shares[a] = devices * weights[a] / sum
		rest -= shares[a]
	}
	slices.SortStableFunc(open, func(a, b int) int { return cmp.Compare(devices*weights[b]%sum, devices*weights[a]%sum) })
	for _, a := range open[:rest] {
		shares[a]++
	}
	return shares
}
