// Package gate tells the service side which stage runs, so that it waits for its own.
package gate

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/internal/worker/pace"
)

// Gate knows which stage runs. It is safe for concurrent use.
type Gate struct {
	mu      sync.Mutex // protects the following fields
	number  int        // of the stage that runs, from 1; 0 before the first and between two
	name    string
	began   time.Time
	length  time.Duration // 0 when the stage ends with its last step
	ctx     context.Context
	started map[string]time.Time // of stages that began, by name
	first   time.Time            // start of the first stage
	changed chan struct{}        // closed at the next change
}

// New makes a Gate before the first stage.
func New() *Gate {
	return &Gate{started: make(map[string]time.Time), changed: make(chan struct{})}
}

// Enter begins a stage, which ends with its last step when its length is 0; the function that it returns ends it. The index
// counts stages from 0: names repeat.
func (g *Gate) Enter(index int, name string, length time.Duration) (leave func()) {
	ctx, cancel := context.WithCancel(context.Background())
	g.mu.Lock()
	defer g.mu.Unlock()
	g.number, g.name, g.began, g.length, g.ctx = index+1, name, time.Now(), length, ctx
	g.started[name] = g.began
	if g.first.IsZero() {
		g.first = g.began
	}
	g.notify()
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		cancel()
		g.number = 0
		g.notify()
	}
}

// notify wakes who waits for a change. The caller holds the lock.
func (g *Gate) notify() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// await waits until the gate is as wanted, which it sees under the lock.
func (g *Gate) await(ctx context.Context, wanted func() bool) error {
	for {
		g.mu.Lock()
		ok, changed := wanted(), g.changed
		g.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Windows are the stretches of time in which something is wanted: the named stages, one after the
// other, or without names the whole run of a length from its first stage on.
func (g *Gate) Windows(stages []string, whole time.Duration) pace.Windows {
	last := 0
	return func(ctx context.Context) (pace.Window, error) {
		var w pace.Window
		err := g.await(ctx, func() bool {
			if len(stages) == 0 {
				w = pace.Window{Start: g.first, Length: whole, Context: ctx}
				return last == 0 && !g.first.IsZero()
			}
			if g.number <= last || !slices.Contains(stages, g.name) {
				return false
			}
			last = g.number
			w = pace.Window{Start: g.began, Length: g.length, Context: g.ctx}
			return true
		})
		if len(stages) == 0 {
			last = 1
		}
		return w, err
	}
}

// Active reports whether one of the named stages runs; without names it always is.
func (g *Gate) Active(stages []string) func() bool {
	if len(stages) == 0 {
		return nil
	}
	return func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.number > 0 && slices.Contains(stages, g.name)
	}
}

// Begin waits until a time after the start of a stage, of the first when it has no name.
func (g *Gate) Begin(ctx context.Context, stage string, after time.Duration) error {
	var from time.Time
	err := g.await(ctx, func() bool {
		if from = g.first; stage != "" {
			from = g.started[stage]
		}
		return !from.IsZero()
	})
	if err != nil {
		return err
	}
	return wait.For(ctx, time.Until(from.Add(after)))
}
