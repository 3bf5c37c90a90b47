// Package generator judges the load generator itself: whether the load that a stage asked for was delivered, and what the
// cause was when it was not. Once a second, and at the end of each stage, it takes a Sample of this process and of the whole
// machine; a Judge holds the samples, and how late operations started, to rules. The rules are pure functions of them.
package generator

import "time"

// Sample is what the process measured of itself and of the machine over about a second.
type Sample struct {
	Elapsed time.Duration // how long it stands for

	CPU   float64 // processors in use by this process, on average; 1.5 is one and a half
	Cores int     // processors that there are for it

	// Of the busiest quarter of a second: processors in use by all programs, and by this process.
	Machine, Own float64
	Processors   int     // of the machine that this process may run on; 0 when the kernel does not tell
	Steal        float64 // processors that the hypervisor gave to other machines, on average
	Limit        float64 // processors that a control group leaves this process; 0 for no limit
	Held         float64 // share of the limit's periods in which it held the process up
	Waiting      float64 // share of the time in which some program waited for a processor

	// Stopped is the longest time for which the process stood still, Suspended how long the machine did.
	Stopped, Suspended time.Duration

	GC      float64       // share of the processors' time, 0 to 1, that went into collecting garbage
	GCPause time.Duration // the longest pause for it

	Memory, MemoryLimit         uint64 // bytes
	Descriptors, MaxDescriptors int
	Ports, MaxPorts             int // local ports towards the target, of all source addresses

	// Late is by how much the process's own timers fired late: the 99th percentile of a probe that
	// waits for nothing but the clock. It is late when the process gets too little of a processor.
	Late time.Duration
	// Lag is by how much operations started late by the generator's own doing: the 99th percentile. What waited for the
	// target is not in it. 0 when none started.
	Lag time.Duration

	NoDescriptor, NoPort uint64 // connections that failed for want of a descriptor, of a local port
}

// Started is how operations of one kind started that were intended in one stage.
type Started struct {
	Operation string
	Asked     uint64        // that were due
	Started   uint64        // of them, on time or late
	Late      uint64        // of them: more than ten milliseconds late by the generator's own doing
	VeryLate  uint64        // of them: more than a hundred
	Worst     time.Duration // the latest
}

// Health is the judgement of a run. It goes into the record of the run.
type Health struct {
	Saturated bool          `json:"saturated"`         // a stage was not delivered as asked
	Reasons   []string      `json:"reasons,omitempty"` // why, one line each
	Measured  time.Duration `json:"measured"`          // how long samples were taken
	Stages    []Stage       `json:"stages,omitempty"`

	Cores          int           `json:"cores"`
	CPUMean        float64       `json:"cpu_mean"`     // processors in use, on average
	CPUPeak        float64       `json:"cpu_peak"`     // in the busiest second
	MachinePeak    float64       `json:"machine_peak"` // by all programs, in the busiest quarter of a second
	Processors     int           `json:"processors"`   // of the machine; 0 when the kernel does not tell
	Late           time.Duration `json:"timers_late"`  // see Sample; in the worst second
	Lag            time.Duration `json:"schedule_lag"` // see Sample; in the worst second
	GCPeak         float64       `json:"gc_peak"`      // share of the processors' time in the worst second
	GCPause        time.Duration `json:"gc_pause"`     // the longest
	MemoryPeak     uint64        `json:"memory_peak"`  // bytes
	MemoryLimit    uint64        `json:"memory_limit"`
	Descriptors    int           `json:"descriptors"` // at most
	MaxDescriptors int           `json:"max_descriptors"`
	Ports          int           `json:"ports"` // at most
	MaxPorts       int           `json:"max_ports"`
	NoDescriptor   uint64        `json:"no_descriptor,omitempty"` // connections that failed for want of one
	NoPort         uint64        `json:"no_port,omitempty"`
	Stopped        time.Duration `json:"stopped,omitempty"` // the longest time for which the process stood still
}

// Stage is whether one stage was delivered as asked.
type Stage struct {
	Name    string        `json:"name"`
	AsAsked bool          `json:"as_asked"`
	Asked   uint64        `json:"asked"`   // operations that were due in it
	Started uint64        `json:"started"` // of them
	Late    uint64        `json:"late"`    // of them, by the generator's own doing
	Worst   time.Duration `json:"worst"`   // the latest of them
	// What is said of a stage that was not delivered as asked: what was late, if anything was, and why.
	What   string  `json:"what,omitempty"`
	Causes []Cause `json:"causes,omitempty"`
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
	CauseMemory      CauseKind = "memory"      //
	CauseDescriptors CauseKind = "descriptors" //
	CausePorts       CauseKind = "ports"       //
	CauseTimers      CauseKind = "timers"      // timers fired late although processors were free
	CauseUnknown     CauseKind = "unknown"     //
)

// Cause is why a stage was not delivered as asked.
type Cause struct {
	Kind CauseKind `json:"kind"`
	Text string    `json:"text"` // for people, with the remedy
}

// String is the stage in one line: "stage ramp: 7,887 of 8,000 connect started late …".
func (s Stage) String() string {
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
