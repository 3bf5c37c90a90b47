package front

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/wait"
)

// Faults make the Front misbehave, for tests and scenarios. The zero value behaves well.
// It is safe for concurrent use.
type Faults struct {
	mu       sync.Mutex // protects the following fields
	refuse   time.Time
	stall    time.Time
	dropAcks float64

	service serviceQueue // has a lock of its own
}

// Refuse closes new connections at once, for a time.
func (f *Faults) Refuse(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = time.Now().Add(d)
}

// Stall makes the Front read and answer nothing, for a time.
func (f *Faults) Stall(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stall = time.Now().Add(d)
}

// DropAcks leaves a share, from 0 to 1, of the answers to devices unsent until it is set again.
func (f *Faults) DropAcks(share float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dropAcks = share
}

func (f *Faults) refusing() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Now().Before(f.refuse)
}

func (f *Faults) dropping() bool {
	f.mu.Lock()
	share := f.dropAcks
	f.mu.Unlock()
	return share > 0 && rand.Float64() < share
}

// Wait holds the caller back while the Front stalls.
func (f *Faults) Wait(ctx context.Context) {
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
