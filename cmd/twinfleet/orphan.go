package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/swarm/launch"
)

const (
	// orphanKeep is how long a process that outlives the run that started it waits, unused, for somebody who takes the run over: a bit longer than
	// agents keep what they know.
	orphanKeep = 11 * time.Minute
	// orphanLook is how often it is looked whether it is used.
	orphanLook = 10 * time.Second
)

// whenOrphaned calls gone once the process that started this one is no more, if one did. The returned function ends the watching, and waits for it.
func whenOrphaned(ctx context.Context, log *slog.Logger, gone func(ctx context.Context)) (done func()) {
	ctx, cancel := context.WithCancel(ctx)
	var own sync.WaitGroup
	own.Go(func() {
		switch err := launch.Orphaned(ctx); {
		case err == nil:
			log.Info("the process that started this one is gone")
			gone(ctx)
		case ctx.Err() == nil && !errors.Is(err, launch.ErrNotLaunched):
			log.Warn("it is not told when the process that started this one is gone", "error", err)
		}
	})
	return func() {
		cancel()
		own.Wait()
	}
}

// unused waits until used has returned 0 for so long, or ctx ends.
func unused(ctx context.Context, long time.Duration, used func() uint64) {
	tick := time.NewTicker(orphanLook)
	defer tick.Stop()
	used() // what was before does not count
	for since := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if used() > 0 {
				since = now
			} else if now.Sub(since) >= long {
				return
			}
		}
	}
}

// errand is a process's part in runs, which is ended when nobody will ever need it again.
type errand struct {
	end  func()
	once bool // it ends after its first run

	mu      sync.Mutex // protects the following fields
	running bool
	orphan  bool
}

// ran notes that a run has begun, or is over.
func (x *errand) ran(over bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.running = !over
	if over && (x.once || x.orphan) {
		x.end()
	}
}

// orphaned notes that who started this process is gone: unless it survives it ends at once, and else with its run.
func (x *errand) orphaned(survives bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.orphan = true
	if !survives || !x.running {
		x.end()
	}
}
