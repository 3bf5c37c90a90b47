// Package cut says which agent runs which devices of a fleet. It is pure: everybody who asks with the same groups and agents gets the
// same Cut, on every machine and whatever order the agents are named in.
//
// Devices that share a connection stay together: what is dealt is blocks, of as many devices as share one. They are dealt so that of any
// first devices of a group, and of any others that nobody chose by their numbers, each agent has about its share: no ramp and no storm
// hits one agent alone. Which agent a block falls to is found by arithmetic, not looked up, so that a Cut of millions of devices takes a
// few numbers for each group and agent.
package cut

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sort"
)

// Group is devices of a scenario with consecutive indexes, which begin where those of the group before end.
type Group struct {
	Count  int `json:"count"`            // devices; may be 0
	Shared int `json:"shared,omitempty"` // devices on one connection, in their order (schedule.Sharers); 1 when 0
}

// Agent is who runs devices.
type Agent struct {
	Name     string `json:"name"`             // not empty, and no other's
	Capacity int    `json:"capacity"`         // the most devices that it holds; an agent of 0 gets none
	Weight   int    `json:"weight,omitempty"` // how fast it is, compared with the others; 0 for not known: as fast as those that are known are in the mean
}

// Limits of what can be cut, so that no product overflows.
const (
	mostDevices = 1_000_000_000
	mostAgents  = 10_000
)

// Errors of New, Redistribute, Without and of what is decoded.
var (
	// ErrInvalid is returned for groups and agents that there cannot be, and for a Cut in JSON that is none.
	ErrInvalid = errors.New("no cut of a fleet")
	// ErrUnknown is returned for an agent that a Cut does not know, or that is lost already.
	ErrUnknown = errors.New("no such agent")
)

// nobody is the number of no agent: the lost one of the first deal.
const nobody = -1

// lot is blocks of one size with consecutive devices: those of a group that are full, or the one that is left over.
type lot struct {
	group  int
	first  int // index of its first device
	size   int // devices of a block
	blocks int
}

func (l *lot) devices() int { return l.size * l.blocks }

// deal is blocks being given to agents: all of a fleet by the first one, those of a lost agent by others.
type deal struct {
	epoch  int     // whose deal it is
	lost   int     // whose blocks they were; nobody for the first
	counts [][]int // by lot and agent: blocks; nil when nobody gets them

	sums  [][]int // by lot: how many blocks agents before the i-th get of the deal
	holds [][]int // by lot and agent: how many blocks it has of earlier deals
}

// Cut is which agent runs which devices. It is not changed: what happens to agents makes another one, of the next epoch.
type Cut struct {
	groups []Group
	agents []Agent // by name
	lots   []lot
	deals  []deal
	lostBy []int // by agent: the deal that gave its blocks to others; 0 for none
	epoch  int
	total  int
}

// New cuts a fleet. Each agent gets its share of every group by weight, to within a block, unless that is more than it holds: then the
// others get more. The error is a *TooSmall when the agents cannot hold the fleet, and ErrInvalid for what there cannot be.
func New(groups []Group, agents []Agent) (*Cut, error) {
	c := &Cut{groups: slices.Clone(groups), agents: slices.Clone(agents)}
	slices.SortFunc(c.agents, func(a, b Agent) int { return cmp.Compare(a.Name, b.Name) })
	if err := c.validate(); err != nil {
		return nil, err
	}
	c.lots, c.total = lotsOf(groups)
	counts, fit := apportion(c.lots, c.agents, rooms(c.agents))
	if fit < c.total {
		return nil, c.tooSmall(fit)
	}
	c.deals = []deal{{lost: nobody, counts: counts}}
	c.index()
	return c, nil
}

// validate checks what the Cut is of.
func (c *Cut) validate() error {
	invalid := func(format string, a ...any) error {
		return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, a...))
	}
	if len(c.agents) == 0 {
		return invalid("it has no agents")
	}
	if len(c.agents) > mostAgents {
		return invalid("it has %d agents; %d are the most", len(c.agents), mostAgents)
	}
	for i, a := range c.agents {
		switch {
		case a.Name == "":
			return invalid("an agent has no name")
		case i > 0 && a.Name == c.agents[i-1].Name:
			return invalid("two agents are called %q", a.Name)
		case a.Capacity < 0 || a.Weight < 0:
			return invalid("agent %q has capacity %d and weight %d; neither may be below 0", a.Name, a.Capacity, a.Weight)
		}
	}
	total := 0
	for i, g := range c.groups {
		if g.Count < 0 || g.Shared < 0 || g.Count > mostDevices-total {
			return invalid("group %d has %d devices, %d on a connection; a fleet may have up to %d", i, g.Count, g.Shared, mostDevices)
		}
		total += g.Count
	}
	return nil
}

// lotsOf is what of groups is dealt, and how many devices that is.
func lotsOf(groups []Group) (lots []lot, total int) {
	for i, g := range groups {
		size := max(1, g.Shared)
		if full := g.Count / size; full > 0 {
			lots = append(lots, lot{i, total, size, full})
		}
		if rest := g.Count % size; rest > 0 {
			lots = append(lots, lot{i, total + g.Count - rest, rest, 1})
		}
		total += g.Count
	}
	return lots, total
}

// rooms is how many devices agents hold that have none.
func rooms(agents []Agent) []int {
	room := make([]int, len(agents))
	for i, a := range agents {
		room[i] = a.Capacity
	}
	return room
}

// index makes what is asked for often out of the deals.
func (c *Cut) index() {
	c.lostBy = make([]int, len(c.agents))
	holds := make([][]int, len(c.lots))
	for l := range holds {
		holds[l] = make([]int, len(c.agents))
	}
	for d := range c.deals {
		x := &c.deals[d]
		if x.lost != nobody {
			c.lostBy[x.lost] = d
		}
		x.sums, x.holds = make([][]int, len(c.lots)), make([][]int, len(c.lots))
		if x.counts == nil {
			continue
		}
		for l := range c.lots {
			x.holds[l], x.sums[l] = slices.Clone(holds[l]), make([]int, len(c.agents)+1)
			for a, n := range x.counts[l] {
				x.sums[l][a+1] = x.sums[l][a] + n
				holds[l][a] += n
			}
		}
	}
}

// Epoch counts how often the cut was changed: 0 for the first.
func (c *Cut) Epoch() int { return c.epoch }

// Devices is how many devices the fleet has, whoever runs them.
func (c *Cut) Devices() int { return c.total }

// Agents are the agents of the cut by name, those that are lost among them.
func (c *Cut) Agents() []Agent { return slices.Clone(c.agents) }

// Lost reports whether an agent is lost, or was never one.
func (c *Cut) Lost(agent string) bool {
	a, ok := c.find(agent)
	return !ok || c.lostBy[a] > 0
}

func (c *Cut) find(agent string) (number int, ok bool) {
	return slices.BinarySearchFunc(c.agents, agent, func(a Agent, name string) int { return cmp.Compare(a.Name, name) })
}

// Owner is the agent that runs the device of an index; ok is false when nobody does, as there is no such device or its agent is lost.
func (c *Cut) Owner(index int) (agent string, ok bool) {
	a := c.owner(index)
	if a == nobody {
		return "", false
	}
	return c.agents[a].Name, true
}

// Mine is a function that reports whether an agent runs the device of an index: it asks about no others, and makes no text.
func (c *Cut) Mine(agent string) func(index int) bool {
	a, ok := c.find(agent)
	return func(index int) bool { return ok && c.owner(index) == a }
}

func (c *Cut) owner(index int) int {
	if index < 0 || index >= c.total {
		return nobody
	}
	l := sort.Search(len(c.lots), func(i int) bool { return c.lots[i].first > index }) - 1
	x := &c.lots[l]
	place := scatter(l, (index-x.first)/x.size, x.blocks, window(len(c.agents)))
	for d := 0; ; {
		if c.deals[d].counts == nil {
			return nobody
		}
		agent, rank := whose(c.deals[d].sums[l], place)
		if c.lostBy[agent] == 0 {
			return agent
		}
		place = c.deals[d].holds[l][agent] + rank // among all that it had
		d = c.lostBy[agent]
	}
}

// Count is how many devices an agent runs.
func (c *Cut) Count(agent string) int {
	a, ok := c.find(agent)
	if !ok || c.lostBy[a] > 0 {
		return 0
	}
	return c.held(a)
}

// held is how many devices were dealt to an agent.
func (c *Cut) held(a int) (n int) {
	for d := range c.deals {
		for l, counts := range c.deals[d].counts {
			n += counts[a] * c.lots[l].size
		}
	}
	return n
}

// Of are the indexes of the devices that an agent runs, ascending.
func (c *Cut) Of(agent string) iter.Seq[int] { return c.Gained(agent, nobody) }

// Gained are the indexes of the devices that an agent runs in this epoch and did not in an earlier one, ascending: what it has to take
// over when it knows the fleet as it was then.
func (c *Cut) Gained(agent string, since int) iter.Seq[int] {
	return func(yield func(int) bool) {
		a, ok := c.find(agent)
		if !ok || c.lostBy[a] > 0 {
			return
		}
		for l := range c.lots {
			x := &c.lots[l]
			var blocks []int32
			for d := range c.deals {
				if c.deals[d].counts == nil || c.deals[d].epoch <= since {
					continue
				}
				for rank := range c.deals[d].counts[l][a] {
					blocks = append(blocks, int32(c.block(l, d, a, rank)))
				}
			}
			slices.Sort(blocks)
			for _, b := range blocks {
				for i := range x.size {
					if !yield(x.first + int(b)*x.size + i) {
						return
					}
				}
			}
		}
	}
}

// block is the rank-th block of a lot that a deal gave an agent.
func (c *Cut) block(l, d, agent, rank int) int {
	place := where(c.deals[d].sums[l], agent, rank)
	lost := c.deals[d].lost
	if lost == nobody {
		return gather(l, place, c.lots[l].blocks, window(len(c.agents)))
	}
	for from := d - 1; ; from-- { // the deal by which the lost one had it
		x := &c.deals[from]
		if x.counts != nil && x.counts[l][lost] > 0 && place >= x.holds[l][lost] {
			return c.block(l, from, lost, place-x.holds[l][lost])
		}
	}
}

// Redistribute is the cut after agents were lost: the others keep all their devices, and get those of the lost ones by weight, as far as
// they have room. It returns a *TooSmall when they have too little, and ErrUnknown for agents that are none or are lost already.
func (c *Cut) Redistribute(lost ...string) (*Cut, error) {
	numbers, err := c.losing(lost)
	if err != nil {
		return nil, err
	}
	out := c.next()
	need, fit := 0, 0
	for _, gone := range numbers {
		room := rooms(c.agents)
		for a := range room {
			room[a] = max(0, room[a]-out.held(a)) // what fell to it once stays within what it holds
			if out.lostBy[a] > 0 || slices.Contains(numbers, a) {
				room[a] = 0
			}
		}
		lots := slices.Clone(out.lots)
		for l := range lots {
			lots[l].blocks = 0
			for d := range out.deals {
				if out.deals[d].counts != nil {
					lots[l].blocks += out.deals[d].counts[l][gone]
				}
			}
			need += lots[l].devices()
		}
		counts, placed := apportion(lots, out.agents, room)
		fit += placed
		out.deals = append(out.deals, deal{epoch: out.epoch, lost: gone, counts: counts})
	}
	if fit < need {
		return nil, &TooSmall{Devices: need, Fit: fit, Lost: slices.Sorted(slices.Values(lost))}
	}
	out.index()
	return out, nil
}

// Without is the cut after agents were lost and nobody runs their devices. It returns ErrUnknown for agents that are none or are lost
// already.
func (c *Cut) Without(lost ...string) (*Cut, error) {
	numbers, err := c.losing(lost)
	if err != nil {
		return nil, err
	}
	out := c.next()
	for _, gone := range numbers {
		out.deals = append(out.deals, deal{epoch: out.epoch, lost: gone})
	}
	out.index()
	return out, nil
}

// next is the same cut, to be changed, in the next epoch.
func (c *Cut) next() *Cut {
	out := *c
	out.deals, out.lostBy = slices.Clone(c.deals), slices.Clone(c.lostBy)
	out.epoch++
	return &out
}

// losing are the numbers of agents that are being lost, ascending.
func (c *Cut) losing(lost []string) ([]int, error) {
	var numbers []int
	for _, name := range lost {
		a, ok := c.find(name)
		switch {
		case !ok:
			return nil, fmt.Errorf("losing agent %q: %w", name, ErrUnknown)
		case c.lostBy[a] > 0:
			return nil, fmt.Errorf("losing agent %q: %w any more: it is lost already", name, ErrUnknown)
		case !slices.Contains(numbers, a):
			numbers = append(numbers, a)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// tooSmall says how much is missing when only so many devices fit.
func (c *Cut) tooSmall(fit int) error {
	short := &TooSmall{Devices: c.total, Fit: fit, Agents: len(c.agents)}
	sum, most := 0, 0
	for _, a := range c.agents {
		sum += min(a.Capacity, c.total)
		most = max(most, a.Capacity)
	}
	for i := range c.lots {
		short.Largest = max(short.Largest, c.lots[i].size)
	}
	if short.Largest > most {
		return short
	}
	mean, largest := sum/len(c.agents), short.Largest
	short.Largest = 0
	if mean < largest {
		return short
	}
	for n := (c.total + mean - 1) / mean; ; n += 1 + n/50 {
		alike := make([]Agent, min(n, mostAgents))
		for i := range alike {
			alike[i].Capacity = mean
		}
		if _, fit := apportion(c.lots, alike, rooms(alike)); fit == c.total || n >= mostAgents {
			short.Needed = n
			return short
		}
	}
}
