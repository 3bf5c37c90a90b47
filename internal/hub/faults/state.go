package faults

import "time"

// State is what a Switch is set to.
type State struct {
	Refuse   time.Duration // left of refusing connections; 0 for not at all
	Stall    time.Duration // left of a stall; 0 for none
	DropAcks float64       // share of the answers to devices that are left unsent
	Slow     bool          // operations take a time of service, or wait in its queue
}

// State tells what the switch is set to now.
func (f *Switch) State() State {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	return State{Refuse: max(0, f.refuse.Sub(now)), Stall: max(0, f.stall.Sub(now)), DropAcks: f.dropAcks, Slow: !f.Idle()}
}
