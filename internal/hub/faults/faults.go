// Package faults is the switches that make a hub misbehave on purpose, for tests and scenarios.
package faults

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/servicetime"
	"github.com/twinfleet/twinfleet/internal/wait"
)

// Switch makes a hub misbehave. It is safe for concurrent use.
type Switch struct {
	// Queue is where twin operations wait that take a time of service.
	*servicetime.Queue

	mu       sync.Mutex // protects the following fields
	refuse   time.Time
	stall    time.Time
	dropAcks float64
}

// New makes a switch with which a hub behaves well. What it makes wait ends with ctx and is counted by a wait group.
func New(ctx context.Context, goroutines *sync.WaitGroup) *Switch {
	return &Switch{Queue: servicetime.New(ctx, goroutines)}
}

// Refuse closes new connections at once, for a time.
func (f *Switch) Refuse(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = time.Now().Add(d)
}

// Stall makes the hub read and answer nothing, for a time.
func (f *Switch) Stall(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stall = time.Now().Add(d)
}

// DropAcks leaves a share, from 0 to 1, of the answers to devices unsent until it is set anew.
func (f *Switch) DropAcks(share float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dropAcks = share
}

// Refusing reports whether new connections are to be closed now.
func (f *Switch) Refusing() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Now().Before(f.refuse)
}

// Dropping draws whether the next answer is to be left unsent.
func (f *Switch) Dropping() bool {
	f.mu.Lock()
	share := f.dropAcks
	f.mu.Unlock()
	return share > 0 && rand.Float64() < share
}

// Stalling reports whether the hub stalls now.
func (f *Switch) Stalling() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Now().Before(f.stall)
}

// Wait holds the caller back while the hub stalls.
func (f *Switch) Wait(ctx context.Context) {
	for {
		f.mu.Lock()
		left := time.Until(f.stall)
		f.mu.Unlock()
		if left <= 0 || ctx.Err() != nil {
			return
		}
		_ = wait.For(ctx, left)
	}
}
