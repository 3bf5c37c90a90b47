package crew

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/wait"
)

// errChanged is why a part of a stage's load ends when somebody changes it by hand.
var errChanged = errors.New("the load was changed by hand")

// knob is a part of a stage's load: first what the scenario says, then, each time it is turned, something else. Two never go on at once.
type knob struct {
	ctx context.Context // ends with the stage

	mu     sync.Mutex // protects the following fields
	stop   context.CancelCauseFunc
	over   chan struct{} // closed when what goes on has ended
	turned bool
	hand   sync.WaitGroup // what goes on by hand
}

// beginLocked makes room for what goes on next: its context, which the next one ends; what to wait for first; and what to call when it is over.
// The caller holds the lock.
func (k *knob) beginLocked() (ctx context.Context, before <-chan struct{}, over func()) {
	if k.stop != nil {
		k.stop(errChanged)
	}
	last, done := k.over, make(chan struct{})
	ctx, k.stop = context.WithCancelCause(k.ctx)
	k.over = done
	return ctx, last, func() { close(done) }
}

// run does what the scenario says until it is over or the knob is turned. Then it waits for the time that the
// stage takes, as if it went on, or in a stage without a time until what goes on instead is over.
func (k *knob) run(part func(context.Context) error, lasts time.Duration) error {
	began := time.Now()
	k.mu.Lock()
	if !k.turned {
		ctx, _, over := k.beginLocked()
		k.mu.Unlock()
		err := part(ctx)
		over()
		if !errors.Is(err, errChanged) {
			return err
		}
	} else {
		k.mu.Unlock()
	}
	if lasts == 0 { // the stage ends when what goes on instead is over
		return k.await()
	}
	if err := wait.For(k.ctx, max(0, lasts-time.Since(began))); err != nil {
		return context.Cause(k.ctx)
	}
	return nil
}

// await waits for the last that goes on.
func (k *knob) await() error {
	for {
		k.mu.Lock()
		over := k.over
		k.mu.Unlock()
		select {
		case <-over:
		case <-k.ctx.Done():
			return context.Cause(k.ctx)
		}
		k.mu.Lock()
		last := k.over == over
		k.mu.Unlock()
		if last {
			return nil
		}
	}
}

// turn has another part go on until the stage is over.
func (k *knob) turn(part func(context.Context) error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.turned = true
	ctx, before, over := k.beginLocked()
	k.hand.Go(func() {
		defer over()
		if before != nil {
			<-before
		}
		_ = part(ctx) // it fails only of its context
	})
}
