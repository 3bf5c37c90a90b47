package engine

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/worker"
	"github.com/twinfleet/twinfleet/scenario"
)

// stageGate tells the service side which stage runs.
type stageGate struct {
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

func newStageGate() *stageGate {
	return &stageGate{started: make(map[string]time.Time), changed: make(chan struct{})}
}

// enter begins a stage; the function that it returns ends it.
func (g *stageGate) enter(index int, t *scenario.Stage) (leave func()) {
	ctx, cancel := context.WithCancel(context.Background())
	g.mu.Lock()
	defer g.mu.Unlock()
	g.number, g.name, g.began, g.length, g.ctx = index+1, t.Name, time.Now(), t.Duration, ctx
	g.started[t.Name] = g.began
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
func (g *stageGate) notify() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// await waits until look is pleased with the gate, which it sees under the lock.
func (g *stageGate) await(ctx context.Context, look func() bool) error {
	for {
		g.mu.Lock()
		ok, changed := look(), g.changed
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

// windows are the stretches of time in which something is wanted: the named stages, one after the
// other, or without names the whole run of a length from its first stage on.
func (g *stageGate) windows(stages []string, whole time.Duration) worker.Windows {
	last := 0
	return func(ctx context.Context) (worker.Window, error) {
		var w worker.Window
		err := g.await(ctx, func() bool {
			if len(stages) == 0 {
				w = worker.Window{Start: g.first, Length: whole, Context: ctx}
				return last == 0 && !g.first.IsZero()
			}
			if g.number <= last || !slices.Contains(stages, g.name) {
				return false
			}
			last = g.number
			w = worker.Window{Start: g.began, Length: g.length, Context: g.ctx}
			return true
		})
		if len(stages) == 0 {
			last = 1
		}
		return w, err
	}
}

// active reports whether one of the named stages runs; without names it always is.
func (g *stageGate) active(stages []string) func() bool {
	if len(stages) == 0 {
		return nil
	}
	return func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.number > 0 && slices.Contains(stages, g.name)
	}
}

// begin waits until a time after the start of a stage, of the first when it has no name.
func (g *stageGate) begin(ctx context.Context, stage string, after time.Duration) error {
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
	return worker.Pause(ctx, time.Until(from.Add(after)))
}
