// Package faults is the switch that makes a provisioning service misbehave on purpose, for tests and scenarios.
package faults

import (
	"math/rand/v2"
	"sync"
	"time"
)

// Faults are what a service does wrong. Shares go from 0, never, to 1, always. The zero value is none.
type Faults struct {
	Throttle   float64       // share of registrations and polls that are answered with 429
	RetryAfter time.Duration // what those are told to wait; the service's usual time when 0
	Fail       float64       // share of registrations that end as failed, with 400207
	Disable    float64       // share of registrations that are answered as disabled
	Slow       time.Duration // how much longer a registration is assigning
	Mute       float64       // share of polls that get no answer
	Close      float64       // share of registrations in whose middle the connection ends, before an answer
	WrongHub   string        // the hub that devices are told instead of theirs; "" for theirs
}

// Switch holds the faults of now. It is safe for concurrent use. The zero Switch has none.
type Switch struct {
	mu  sync.Mutex // protects now
	now Faults
}

// Set puts faults in the place of those before. The zero Faults end them all.
func (s *Switch) Set(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = f
}

// Now are the faults as they are.
func (s *Switch) Now() Faults {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// Draw decides whether something with a share happens this time.
func Draw(share float64) bool { return share > 0 && rand.Float64() < share }
