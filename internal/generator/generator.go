// Package generator judges the load generator itself: whether the figures of a run speak of the
// target or of the process that made the load. Once a second it takes a Sample of this process; a
// Judge holds the samples to rules. The rules are pure functions of the samples.
package generator

import "time"

// Sample is what the process measured of itself over about a second.
type Sample struct {
	Elapsed time.Duration // how long it stands for

	CPU   float64 // processors in use, on average; 1.5 is one and a half
	Cores int     // processors that there are for it

	GC      float64       // share of the processors' time, 0 to 1, that went into collecting garbage
	GCPause time.Duration // the longest pause for it

	Memory, MemoryLimit         uint64 // bytes
	Descriptors, MaxDescriptors int
	Ports, MaxPorts             int // local ports towards the target, of all source addresses

	// Late is by how much the process's own timers fired late: the 99th percentile of a probe that
	// waits for nothing but the clock. It is late when the process gets too little of a processor.
	Late time.Duration
	// Lag is by how much operations started late: the 99th percentile. The target can cause it too, by
	// answering late; therefore no rule goes by it alone. 0 when none started.
	Lag time.Duration

	NoDescriptor, NoPort uint64 // connections that failed for want of a descriptor, of a local port
}

// Health is the judgement of a run's samples. It goes into the record of the run.
type Health struct {
	Saturated bool          `json:"saturated"`
	Reasons   []string      `json:"reasons,omitempty"` // why it is, one line each
	Measured  time.Duration `json:"measured"`          // how long samples were taken

	Cores          int           `json:"cores"`
	CPUMean        float64       `json:"cpu_mean"`     // processors in use, on average
	CPUPeak        float64       `json:"cpu_peak"`     // in the busiest second
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
}
