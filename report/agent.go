package report

import "time"

// Agent is one of those that ran the devices of a run on many machines.
type Agent struct {
	Name    string  `json:"name"`
	Version string  `json:"version"` // of its program
	Machine Machine `json:"machine"` // where it ran
	Devices int     `json:"devices"` // that were its own: from the beginning, and taken over
	// TookOver is how many of Devices it took over from agents that were lost.
	TookOver  int        `json:"took_over,omitempty"`
	Lost      *AgentLoss `json:"lost,omitempty"` // nil for one that was there to the end
	Clock     Clock      `json:"clock"`          // compared with that of the coordinator
	Control   Control    `json:"control"`        // what coordination took
	Generator *Health    `json:"generator,omitempty"`
	Totals    *Account   `json:"totals,omitempty"` // what it was to do and did, of the whole run; nil when nothing was heard of it
}

// AgentLoss is how a run lost one of its agents.
type AgentLoss struct {
	At      time.Time `json:"at"`      // when it was last heard of; UTC
	Stage   string    `json:"stage"`   // that ran; empty before the first and after the last
	Devices int       `json:"devices"` // that it had
	Why     string    `json:"why"`     // such as: nothing was heard of it for 3s
	// Choice is what the run did: continue, redistribute or fail.
	Choice string `json:"choice"`
}

// Clock is how an agent's clock differs from the coordinator's.
type Clock struct {
	Offset      time.Duration `json:"offset"`          // how far the agent's is ahead
	Uncertainty time.Duration `json:"uncertainty"`     // the truth is as far from Offset at most
	Steps       int           `json:"steps,omitempty"` // times that one of the clocks was set meanwhile
}

// Control is what the coordination of an agent took.
type Control struct {
	Sent     uint64        `json:"sent_bytes"`     // by the agent
	Received uint64        `json:"received_bytes"` // likewise
	CPU      time.Duration `json:"cpu"`            // of the agent, as far as it can be told apart
	Over     time.Duration `json:"over"`           // in so long
}

// Account is what became of the operations of an agent.
type Account struct {
	Scheduled uint64 `json:"scheduled"` // that were due
	Started   uint64 `json:"started"`   // of them
	OK        uint64 `json:"ok"`        // of those that started
	Dropped   uint64 `json:"dropped"`   // were due, and never started
	Errors    uint64 `json:"errors"`    // ended badly, throttled ones among them
	InFlight  uint64 `json:"in_flight"` // have not ended
}
