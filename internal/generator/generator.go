// Package generator is what is known of the load generator: a Sample of this process and of the whole machine, once a second
// and at the end of each stage, and how late operations started. Package meter takes the samples; package judge says by them
// whether the load that a stage asked for was delivered.
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
	Descriptors, MaxDescriptors int    // open, and the limit; 0 when it is not known
	Ports, MaxPorts             int    // local ports towards the target, of all source addresses and towards all its hubs

	// Late is by how much the process's own timers fired late: the 99th percentile of a probe that
	// waits for nothing but the clock. It is late when the process gets too little of a processor.
	Late time.Duration
	// Lag is by how much operations started late by the generator's own doing: the 99th percentile. What waited for the
	// target is not in it. 0 when none started.
	Lag time.Duration

	// Behind is the longest time for which messages of the target may have waited in this process until they were read: a part of what
	// their deliveries took that is not the target's. 0 when nobody reads any.
	Behind time.Duration

	NoDescriptor, NoPort uint64 // connections that failed for want of a descriptor, of a local port
}

// Started is how operations of one kind started that were intended in one stage.
type Started struct {
	Operation string        // its name in metrics
	Asked     uint64        // that were due
	Started   uint64        // of them, on time or late
	Late      uint64        // of them: more than ten milliseconds late by the generator's own doing
	VeryLate  uint64        // of them: more than a hundred
	Worst     time.Duration // the latest
}

// Briefest is the least that a sample stands for whose processors' use is a figure to keep: the kernel counts in hundredths.
const Briefest = 100 * time.Millisecond
