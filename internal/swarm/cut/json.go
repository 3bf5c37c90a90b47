package cut

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// document is a Cut in JSON.
type document struct {
	Epoch  int       `json:"epoch"`
	Groups []Group   `json:"groups"`
	Agents []Agent   `json:"agents"` // by name
	First  [][]int   `json:"first"`  // blocks by lot and agent
	Lost   []changed `json:"lost,omitempty"`
}

// changed is what became of a lost agent's blocks.
type changed struct {
	Epoch  int     `json:"epoch"`
	Agent  int     `json:"agent"`            // its number
	Counts [][]int `json:"counts,omitempty"` // blocks by lot and agent; none when nobody has them
}

// MarshalJSON is the Cut for others: some bytes for each group and agent.
func (c *Cut) MarshalJSON() ([]byte, error) {
	d := document{Epoch: c.epoch, Groups: c.groups, Agents: c.agents}
	for i, x := range c.deals {
		if i == 0 {
			d.First = x.counts
			continue
		}
		d.Lost = append(d.Lost, changed{x.epoch, x.lost, x.counts})
	}
	return json.Marshal(d)
}

// UnmarshalJSON reads what MarshalJSON wrote. It returns ErrInvalid for what is no Cut: devices with no owner or with two, an agent that
// gets more than it holds, a loss that there cannot have been.
func (c *Cut) UnmarshalJSON(text []byte) error {
	var d document
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	out := Cut{groups: d.Groups, agents: d.Agents, epoch: d.Epoch, deals: []deal{{lost: nobody, counts: d.First}}}
	for i := range d.Agents[min(1, len(d.Agents)):] {
		if d.Agents[i+1].Name < d.Agents[i].Name {
			return fmt.Errorf("%w: its agents are not in order", ErrInvalid)
		}
	}
	if err := out.validate(); err != nil {
		return err
	}
	out.lots, out.total = lotsOf(out.groups)
	for _, x := range d.Lost {
		out.deals = append(out.deals, deal{epoch: x.Epoch, lost: x.Agent, counts: x.Counts})
	}
	if err := out.checkDeals(); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	out.index()
	*c = out
	return nil
}

// checkDeals checks that each deal gives all blocks that it is of to agents that are there and have room.
func (c *Cut) checkDeals() error {
	has := make([][]int, len(c.lots)) // by lot and agent, blocks that were ever dealt to it
	for l := range has {
		has[l] = make([]int, len(c.agents))
	}
	devices := make([]int, len(c.agents))
	var lost []int
	epoch := 0
	for d, x := range c.deals {
		if d > 0 {
			if x.lost < 0 || x.lost >= len(c.agents) || slices.Contains(lost, x.lost) {
				return fmt.Errorf("loss %d is of agent %d", d, x.lost)
			}
			if x.epoch <= 0 || x.epoch < epoch || x.epoch > c.epoch {
				return fmt.Errorf("loss %d is in epoch %d", d, x.epoch)
			}
			lost, epoch = append(lost, x.lost), x.epoch
			if x.counts == nil {
				continue
			}
		}
		if len(x.counts) != len(c.lots) {
			return fmt.Errorf("deal %d is of %d lots, not %d", d, len(x.counts), len(c.lots))
		}
		for l, counts := range x.counts {
			if len(counts) != len(c.agents) {
				return fmt.Errorf("deal %d is to %d agents, not %d", d, len(counts), len(c.agents))
			}
			blocks := c.lots[l].blocks
			if d > 0 {
				blocks = has[l][x.lost]
			}
			for a, n := range counts {
				if n < 0 || n > blocks || n > 0 && slices.Contains(lost, a) {
					return fmt.Errorf("deal %d gives agent %d %d blocks of lot %d", d, a, n, l)
				}
				blocks -= n
				has[l][a] += n
				if devices[a] += n * c.lots[l].size; devices[a] > c.agents[a].Capacity {
					return fmt.Errorf("agent %d gets more devices than the %d that it holds", a, c.agents[a].Capacity)
				}
			}
			if blocks > 0 {
				return fmt.Errorf("deal %d leaves out %d blocks of lot %d", d, blocks, l)
			}
		}
	}
	if c.epoch < 0 {
		return fmt.Errorf("it is of epoch %d", c.epoch)
	}
	return nil
}
