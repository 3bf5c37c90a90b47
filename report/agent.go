package report

import "time"

// UnsureClock is the uncertainty of the comparison of a clock from which on freshness that was measured with it is uncertain: reports that
// are seen within milliseconds are usual.
const UnsureClock = 50 * time.Millisecond

// Agent is one of those that ran the devices of a run on many machines.
type Agent struct {
	Name    string  `json:"name"`
	Version string  `json:"version"` // of its program
	Machine Machine `json:"machine"` // where it ran
	Devices int     `json:"devices"` // that were its own: from the beginning, and taken over
	// TookOver is how many of Devices it took over from agents that were lost.
	TookOver int `json:"took_over,omitempty"`
	// Connected is how many of its devices were connected when it was last heard of, before they were told to leave.
	Connected int `json:"connected"`
	// States is its devices by state, when it was last heard of. It is for those who watch: records do not keep it.
	States    map[string]int `json:"-"`
	CPU       float64        `json:"cpu"`            // processors that it used in the last second that is known of
	Lag       time.Duration  `json:"lag"`            // by which operations started late by its own doing, 99th percentile of that second
	Lost      *AgentLoss     `json:"lost,omitempty"` // nil for one that was there to the end
	Clock     Clock          `json:"clock"`          // compared with that of the coordinator
	Control   Control        `json:"control"`        // what coordination took
	Generator *Health        `json:"generator,omitempty"`
	Totals    *Account       `json:"totals,omitempty"` // what it was to do and did, of the whole run; nil when nothing was heard of it
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

// Unsure reports whether freshness that the clock was needed for is uncertain.
func (c Clock) Unsure() bool { return c.Uncertainty > UnsureClock || c.Steps > 0 }

// Control is what the coordination of an agent took since it was given its part: bytes of what was said and heard with the names of subjects
// and keys, without what NATS and TCP add.
type Control struct {
	Sent     uint64 `json:"sent_bytes"`     // by the agent
	Received uint64 `json:"received_bytes"` // likewise
	// CPU is the processor time in which the agent counted, packed and said how it stands, by the clock of the thread that did so. It is a lower
	// bound: what reads and writes the connection runs beside it and cannot be told apart. 0 where the system has no such clock.
	CPU  time.Duration `json:"cpu"`
	Over time.Duration `json:"over"` // in so long
}

// Rate is the bytes said and heard a second; 0 when that is not known.
func (c Control) Rate() float64 {
	if c.Over <= 0 {
		return 0
	}
	return float64(c.Sent+c.Received) / c.Over.Seconds()
}

// Share is the processor time of coordination as a share of one processor; 0 when that is not known.
func (c Control) Share() float64 {
	if c.Over <= 0 {
		return 0
	}
	return c.CPU.Seconds() / c.Over.Seconds()
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
