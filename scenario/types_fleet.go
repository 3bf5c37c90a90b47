package scenario

import (
	"time"
)

// Network is what is wrong, while a stage lasts, with the network between devices and their target.
type Network struct {
	Groups    []string      // whose devices; empty for all
	Latency   time.Duration // one way, in each direction
	Jitter    time.Duration // up to so much more
	Loss      float64       // share of the devices' writes that reset their connections
	Bandwidth float64       // bytes a second of each connection in each direction; 0 for no limit
	HalfOpen  float64       // share of the devices whose open connections go dead
	Partition *Partition    // nil cuts nobody off
	For       time.Duration // 0 for the whole stage
}

// Subscribe is what devices of a plain broker listen to.
type Subscribe struct {
	Topics []string // filters; {device}, {group} and {index} are replaced
	QoS    int      // that is asked for, 0 to 2
}

// Partition cuts devices off.
type Partition struct {
	Share float64       // of the devices, 0 to 1
	For   time.Duration // 0 for as long as the rest of the network is bad
}
