// Package agents says how many agents deliver a load that those who tried did not: by arithmetic, from what operations took of processors in
// trials, and from how many devices a process holds. It predicts; nothing of it was run.
package agents

import (
	"fmt"
	"math"
	"slices"

	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/internal/fit"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario/plan"
)

// Question is what is known of a load that was not delivered.
type Question struct {
	Load       float64 // that was asked for, in what is varied
	Devices    int     // of it, that are active
	Operations float64 // of devices a second that it is; 0 when nothing was measured
	Cost       Cost    // of an operation
	Cores      int     // processors of the machine of an agent of the kind there is, the weakest of them; required
	Tried      int     // agents that tried; 0 for the process of the search alone
	// Uses is what they took that tried; nil when no trial of the load began.
	Uses []trial.Use
	// Here says that those who tried, or would, are processes of one machine, this one.
	Here bool
	// Hub says that the target runs on this machine, too, and would not on another one.
	Hub bool
	// Alone is how many devices an agent holds that has a machine for itself; Room, of an agent that shares this one with others, of so many
	// in all, and with the target if that is here. Room is asked only when Here is set.
	Alone fit.Room
	Room  func(agents int) fit.Room
}

// Cost is what operations took of processors in a trial that was delivered or, when none was, in the one that was not.
type Cost struct {
	Load       float64 `json:"load"`                 // of the trial, in what is varied
	Delivered  bool    `json:"delivered"`            // that load was
	Operations float64 `json:"operations"`           // of devices a second that were started in it
	Due        float64 `json:"due"`                  // likewise, that were to be
	Processors float64 `json:"processors"`           // of those that ran devices, on average
	HubShare   float64 `json:"hub_share,omitempty"`  // of Processors that was the embedded hub's, in the same process: by the estimate of plan, not measured
	OfMachine  float64 `json:"of_machine,omitempty"` // in use by all programs of this machine; 0 when that is not known
}

// Each is how long a processor is at work for an operation, in seconds; 0 when nothing was measured.
func (c *Cost) Each() float64 {
	if c.Operations <= 0 {
		return 0
	}
	return c.Processors * (1 - c.HubShare) / c.Operations
}

// here is likewise what all of this machine takes for an operation.
func (c *Cost) here() float64 {
	if c.Operations <= 0 {
		return 0
	}
	return max(c.Processors, c.OfMachine) / c.Operations
}

// CostOf is what operations took in a trial; hubShare is Cost.HubShare.
func CostOf(r *trial.Record, hubShare float64) (c Cost) {
	c = Cost{Load: r.Load, HubShare: hubShare}
	for _, u := range r.Uses {
		c.Operations += u.Operations
		c.Due += u.Due
		c.Processors += u.Processors
		c.OfMachine = max(c.OfMachine, u.Machine)
	}
	return c
}

// Need is how many agents a load takes.
type Need struct {
	Load       float64 `json:"load"`                 // that was not delivered, in what is varied
	Devices    int     `json:"devices"`              // of it
	Operations float64 `json:"operations,omitempty"` // of devices a second that it is
	Cost       Cost    `json:"cost,omitzero"`        // from which Processors follows; zero when nothing was measured
	Processors float64 `json:"processors,omitempty"` // that the devices take, by Cost
	Cores      int     `json:"cores"`                // of the machine of an agent, of the kind there is
	Usable     float64 `json:"usable,omitempty"`     // of Cores that an agent is taken to use
	Holds      int     `json:"holds,omitempty"`      // devices that an agent holds on such a machine; 0 for no limit
	Limit      string  `json:"limit,omitempty"`      // of Holds: "20,000 descriptors"

	Machines int `json:"machines,omitempty"` // agents that would deliver it, each on such a machine of its own, the target on another; 0 when Unknown says why
	Local    int `json:"local,omitempty"`    // agents that would, all on this machine; 0 when none, or when the agents are elsewhere
	// NoLocal is why no number of agents on this machine would, in words; empty when Local says how many, or when the agents are elsewhere.
	NoLocal string `json:"no_local,omitempty"`
	Unknown string `json:"unknown,omitempty"` // why there is no number
	// ByTrial says that Machines is one more than tried: by arithmetic fewer would have been enough, and they were not.
	ByTrial bool `json:"by_trial,omitempty"`
}

// mostLocal is how many agents on one machine are thought of.
const mostLocal = 256

// Of answers a question.
func Of(q Question) *Need {
	n := &Need{Load: q.Load, Devices: q.Devices, Operations: q.Operations, Cost: q.Cost, Cores: q.Cores}
	n.Processors = q.Operations * q.Cost.Each()
	if n.Usable = plan.Tight * float64(q.Cores); !q.Here {
		n.Usable = min(n.Usable, q.seen())
	}
	if q.Alone.Devices < fit.Unbounded {
		n.Holds, n.Limit = q.Alone.Devices, q.Alone.By
	}
	if n.Unknown = q.unknown(); n.Unknown != "" {
		return n
	}
	byProcessors := int(math.Ceil(n.Processors / n.Usable))
	byDevices := int(math.Ceil(float64(q.Devices) / float64(q.Alone.Devices)))
	n.Machines = max(1, byProcessors, byDevices)
	if least := q.least(); n.Machines < least {
		n.Machines, n.ByTrial = least, true
	}
	if q.Here {
		n.Local, n.NoLocal = q.local()
	}
	return n
}

// least is how many machines at least it takes, because fewer have tried.
func (q *Question) least() int {
	switch {
	case q.Uses == nil: // by arithmetic they did not try
		return 1
	case !q.Here:
		return q.Tried + 1
	case q.Hub: // without the hub this machine may do
		return 1
	}
	return 2
}

// seen is how many processors an agent used that was short of them: it had no more, whatever its machine has.
func (q *Question) seen() float64 {
	least := math.Inf(1)
	for _, u := range q.Uses {
		if slices.ContainsFunc(u.Short, ofProcessors) && u.Processors > 0 {
			least = min(least, u.Processors)
		}
	}
	return least
}

// ofProcessors reports whether a cause is a want of processors.
func ofProcessors(k report.CauseKind) bool {
	switch k {
	case report.CauseProcess, report.CauseMachine, report.CauseLimit, report.CauseSteal, report.CauseGarbage:
		return true
	}
	return false
}

// ofPlaces reports whether a cause is a want of what each process, or machine, has more of.
func ofPlaces(k report.CauseKind) bool {
	switch k {
	case report.CauseDescriptors, report.CausePorts, report.CauseMemory:
		return true
	}
	return false
}

// unknown says why arithmetic does not tell; "" when it does.
func (q *Question) unknown() string {
	if q.Alone.Devices == 0 {
		return "an agent on a machine of this kind holds no device: it has " + q.Alone.By
	}
	short := false
	for _, u := range q.Uses {
		for _, k := range u.Short {
			switch {
			case ofProcessors(k) && (q.Operations == 0 || q.Cost.Each() == 0):
				return "processors were short, and what an operation takes of them was not measured"
			case ofProcessors(k), ofPlaces(k):
				return ""
			}
			short = true
		}
	}
	switch {
	case short:
		return "what kept the generator back is nothing that more agents have more of: neither processors nor memory, descriptors or ports were short"
	case q.Uses != nil:
		return "no process that ran devices was seen to be short of anything"
	}
	return ""
}

// local is how many agents on this machine would deliver, or why none would.
func (q *Question) local() (agents int, why string) {
	for _, u := range q.Uses {
		for _, k := range u.Short {
			switch {
			case ofProcessors(k):
				return 0, processors(q.Cores) + " are the limit, and all agents here share them with all else that runs on it"
			case k == report.CauseMemory:
				return 0, "its memory is the limit, and all agents here share it"
			}
		}
	}
	if needs, most := q.Operations*q.Cost.here(), plan.Tight*float64(q.Cores); needs > most {
		return 0, processors(q.Cores) + " are the limit: " + takes(needs)
	}
	most, by := 0, ""
	for n := q.Tried + 1; n <= mostLocal; n++ {
		x := q.Room(n)
		if x.Devices >= fit.Unbounded || n*x.Devices >= q.Devices {
			return n, ""
		}
		if n*x.Devices > most || by == "" {
			most, by = n*x.Devices, x.By
		}
	}
	return 0, fmt.Sprintf("all of them together would hold %s, each with %s", human.Number(most, "device"), by)
}
