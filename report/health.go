package report

import (
	"slices"
	"time"
)

// Health is what the run's generator could do: whether the load that was asked for was delivered, and what was in use at most.
type Health struct {
	Saturated bool          `json:"saturated"`         // a stage was not delivered as asked
	Reasons   []string      `json:"reasons,omitempty"` // why, one line each
	Measured  time.Duration `json:"measured"`          // how long samples were taken
	Stages    []StageHealth `json:"stages,omitempty"`  // whether each was delivered as asked; none in old records

	// What the system does not tell of this machine, in words, so that nothing was held to it; empty on Linux.
	Unmeasured []string `json:"unmeasured,omitempty"`

	Cores       int           `json:"cores"`        // processors that the program may use
	CPUMean     float64       `json:"cpu_mean"`     // processors in use, on average
	CPUPeak     float64       `json:"cpu_peak"`     // in the busiest second
	MachinePeak float64       `json:"machine_peak"` // by all programs, in the busiest quarter of a second
	Processors  int           `json:"processors"`   // of the machine; 0 when the kernel does not tell
	Late        time.Duration `json:"timers_late"`  // by which timers fired, 99th percentile; in the worst second
	// Lag is by how much operations started late by the generator's own doing, 99th percentile; in the worst second.
	Lag            time.Duration `json:"schedule_lag"`
	GCPeak         float64       `json:"gc_peak"`                 // share of the processors' time in the worst second
	GCPause        time.Duration `json:"gc_pause"`                // the longest
	MemoryPeak     uint64        `json:"memory_peak"`             // bytes
	MemoryLimit    uint64        `json:"memory_limit"`            // that the process may use, bytes; 0 when nothing says
	Descriptors    int           `json:"descriptors"`             // at most
	MaxDescriptors int           `json:"max_descriptors"`         // that the process may have
	Ports          int           `json:"ports"`                   // at most
	MaxPorts       int           `json:"max_ports"`               // that the machine has for connections
	NoDescriptor   uint64        `json:"no_descriptor,omitempty"` // connections that failed for want of one
	NoPort         uint64        `json:"no_port,omitempty"`       // connections that failed for want of a port
	Stopped        time.Duration `json:"stopped,omitempty"`       // the longest time for which the process stood still
}

// StageHealth is whether one stage was delivered as asked.
type StageHealth struct {
	Name    string        `json:"name"`     // as the scenario has it
	AsAsked bool          `json:"as_asked"` // its load was the one that was asked for
	Asked   uint64        `json:"asked"`    // operations that were due in it
	Started uint64        `json:"started"`  // of them
	Late    uint64        `json:"late"`     // of them, by the generator's own doing
	Worst   time.Duration `json:"worst"`    // the latest of them
	// Of the time in which it was measured: processors in use by this process, on average, and by all programs of the machine, the mean of each
	// second's busiest quarter; 0 in old records.
	Measured time.Duration `json:"measured,omitempty"`
	CPU      float64       `json:"cpu,omitempty"`     // see Measured
	Machine  float64       `json:"machine,omitempty"` // see Measured; 0 where the kernel does not tell
	// What is said of a stage that was not delivered as asked: what was late, if anything was, and why.
	What   string  `json:"what,omitempty"`
	Causes []Cause `json:"causes,omitempty"` // why it was not, the gravest first
}

// CauseKind says what a generator was short of.
type CauseKind string

// The causes, in the order in which they are named.
const (
	CauseStopped     CauseKind = "stopped"     // the process, or the machine, stood still
	CauseSteal       CauseKind = "steal"       // the hypervisor gave the machine's processors to others
	CauseLimit       CauseKind = "limit"       // a control group's limit of processors
	CauseProcess     CauseKind = "process"     // this process used all processors that there are for it
	CauseMachine     CauseKind = "machine"     // all programs together used all processors of the machine
	CauseGarbage     CauseKind = "garbage"     // collecting garbage
	CauseMemory      CauseKind = "memory"      // this process used most of what it may have
	CauseDescriptors CauseKind = "descriptors" // likewise
	CausePorts       CauseKind = "ports"       // likewise
	CauseReader      CauseKind = "reader"      // this process read messages late
	CauseTimers      CauseKind = "timers"      // timers fired late although processors were free
	CauseUnknown     CauseKind = "unknown"     // nothing was short
	CauseUnled       CauseKind = "unled"       // nobody led the run for a while
	CauseAgents      CauseKind = "agents"      // of those that run the devices, some were lost or did not deliver
)

// Cause is why a stage was not delivered as asked.
type Cause struct {
	Kind CauseKind `json:"kind"` // what was short
	Text string    `json:"text"` // for people, with the remedy
}

// Of reports whether a stage was not delivered as asked for a cause of a kind.
func (h *Health) Of(kind CauseKind) bool {
	return slices.ContainsFunc(h.Stages, func(s StageHealth) bool {
		return slices.ContainsFunc(s.Causes, func(c Cause) bool { return c.Kind == kind })
	})
}

// String is the stage in one line: "stage ramp: 7,887 of 8,000 connect started late …".
func (s StageHealth) String() string {
	text := ""
	if s.Name != "" {
		text = "stage " + s.Name + ": "
	}
	if s.What != "" {
		text += s.What + ": "
	}
	for i, c := range s.Causes {
		if i > 0 {
			text += "; "
		}
		text += c.Text
	}
	return text
}
