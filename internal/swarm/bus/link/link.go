// Package link is the state of a connection that comes and goes: who waits for it, what ends when it breaks, and who is told.
package link

import (
	"context"
	"sync"

	"github.com/twinfleet/twinfleet/internal/swarm/bus"
)

// Link is the state. It begins connected.
type Link struct {
	mu      sync.Mutex
	up      chan struct{} // closed while connected
	epoch   context.Context
	broken  context.CancelCauseFunc // of epoch
	state   bus.State
	watches map[*watch]struct{}

	telling sync.Mutex // one call of a watch at a time; taken before mu
}

type watch struct {
	link   *Link
	handle func(bus.State)
}

// New returns a Link that is connected.
func New() *Link {
	l := &Link{up: make(chan struct{}), state: bus.State{Connected: true}, watches: map[*watch]struct{}{}}
	close(l.up)
	l.epoch, l.broken = context.WithCancelCause(context.Background())
	return l
}

// Up says that there is a connection. That there was one already is not told to anybody.
func (l *Link) Up() {
	l.change(func() bool {
		if l.state.Connected {
			return false
		}
		l.state = bus.State{Connected: true}
		l.epoch, l.broken = context.WithCancelCause(context.Background())
		close(l.up)
		return true
	})
}

// Down says that there is none, and why; more calls are told if the reason reads differently.
func (l *Link) Down(reason error) {
	l.change(func() bool {
		if !l.state.Connected {
			changed := text(l.state.Reason) != text(reason)
			l.state.Reason = reason
			return changed
		}
		l.state = bus.State{Reason: reason}
		l.up = make(chan struct{})
		l.broken(bus.ErrLost)
		return true
	})
}

// Close ends the epoch, if there is one, with ErrClosed, and tells nobody any more.
func (l *Link) Close() {
	l.telling.Lock()
	defer l.telling.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.watches)
	l.broken(bus.ErrClosed)
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (l *Link) change(f func() bool) {
	l.telling.Lock()
	defer l.telling.Unlock()
	l.mu.Lock()
	changed := f()
	state := l.state
	var all []*watch
	if changed {
		for w := range l.watches {
			all = append(all, w)
		}
	}
	l.mu.Unlock()
	for _, w := range all {
		w.handle(state)
	}
}

// Wait waits for a connection, or for the end of ctx, whose cause it returns. The context it gives lasts as long as the connection;
// its cause is then ErrLost.
func (l *Link) Wait(ctx context.Context) (context.Context, error) {
	for {
		l.mu.Lock()
		up, epoch, connected := l.up, l.epoch, l.state.Connected
		l.mu.Unlock()
		if connected {
			return epoch, context.Cause(ctx)
		}
		select {
		case <-up:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Connected reports whether there is a connection.
func (l *Link) Connected() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state.Connected
}

// States is bus.Bus's.
func (l *Link) States(handle func(bus.State)) bus.Subscription {
	w := &watch{link: l, handle: handle}
	l.telling.Lock()
	defer l.telling.Unlock()
	l.mu.Lock()
	l.watches[w] = struct{}{}
	state := l.state
	l.mu.Unlock()
	handle(state)
	return w
}

// Stop ends the watch and waits for its handler.
func (w *watch) Stop() {
	w.link.telling.Lock()
	defer w.link.telling.Unlock()
	w.link.mu.Lock()
	defer w.link.mu.Unlock()
	delete(w.link.watches, w)
}

// Bound returns a context that ends with ctx, or with epoch, with the cause of the first. Call the function when done.
func Bound(ctx, epoch context.Context) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancelCause(ctx)
	if epoch.Err() != nil {
		cancel(context.Cause(epoch))
	}
	stop := context.AfterFunc(epoch, func() { cancel(context.Cause(epoch)) })
	return out, func() { stop(); cancel(context.Canceled) }
}
