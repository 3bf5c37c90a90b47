// Package membus is a bus in memory, for tests of what talks over one: it can run in a bubble of testing/synctest, its connections can be
// cut and slow, its server can be stopped and started again with what its stores hold.
package membus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/swarm/bus"
	"github.com/twinfleet/twinfleet/internal/swarm/bus/link"
	"github.com/twinfleet/twinfleet/internal/wait"
)

// The bounds of a server that is not told others.
const (
	DefaultMaxPayload = 1<<20 - 1024
	DefaultBacklog    = 8 << 20
	DefaultStoreBytes = 256 << 20
)

// Server joins connections. Its zero value is ready to be used.
type Server struct {
	// MaxPayload is the most bytes of a message; 0 is DefaultMaxPayload.
	MaxPayload int
	// Backlog is the most bytes that a connection keeps while it is cut; 0 is DefaultBacklog.
	Backlog int
	// StoreBytes is the most bytes of keys and values in a store; 0 is DefaultStoreBytes.
	StoreBytes int

	mu      sync.Mutex
	stopped error // nil while it runs
	conns   []*Conn
	stores  map[string]*state
}

// errStopped is the reason while no other was given.
var errStopped = errors.New("stopped")

// Connect makes a connection. It is cut from the beginning while the server is stopped.
func (s *Server) Connect() *Conn {
	c := &Conn{server: s, link: link.New(), subs: map[*subscription]struct{}{}, services: map[*service]struct{}{}}
	c.life, c.end = context.WithCancelCause(context.Background())
	s.mu.Lock()
	s.conns = append(s.conns, c)
	stopped := s.stopped
	s.mu.Unlock()
	if stopped != nil {
		c.link.Down(stopped)
	}
	return c
}

// Stop cuts all connections until Start. Stores are kept.
func (s *Server) Stop(reason error) {
	s.mu.Lock()
	s.stopped = cmpErr(reason, errStopped)
	conns := slices.Clone(s.conns)
	s.mu.Unlock()
	for _, c := range conns {
		c.link.Down(s.stopped)
	}
}

// Fill leaves so many bytes for each store from now on, as a disk that others fill.
func (s *Server) Fill(bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.StoreBytes = bytes
}

// Start undoes Stop, but for connections that were cut by themselves. What a connection kept reaches those that are connected by then: all.
func (s *Server) Start() {
	s.mu.Lock()
	s.stopped = nil
	conns := slices.Clone(s.conns)
	s.mu.Unlock()
	for _, c := range conns {
		c.settle()
	}
	for _, c := range conns {
		c.flush()
	}
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

func orDefault(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}

// Conn is a connection: a bus.Bus.
type Conn struct {
	server *Server
	link   *link.Link
	life   context.Context
	end    context.CancelCauseFunc
	wg     sync.WaitGroup

	// Under the server's mu.
	cut      error // nil when the connection itself is whole
	up, down time.Duration
	kept     []message // said while there was no connection
	keptSize int
	subs     map[*subscription]struct{}
	services map[*service]struct{}
	closed   bool
}

var _ bus.Bus = (*Conn)(nil)

type message struct {
	subject string
	data    []byte
	due     time.Time
	from    *Conn
}

// Cut breaks this connection alone until Heal.
func (c *Conn) Cut(reason error) {
	c.server.mu.Lock()
	c.cut = cmpErr(reason, errors.New("cut"))
	c.server.mu.Unlock()
	c.link.Down(c.cut)
}

// Heal undoes Cut.
func (c *Conn) Heal() {
	c.server.mu.Lock()
	c.cut = nil
	c.server.mu.Unlock()
	c.settle()
	c.flush()
}

// Delay makes what this connection sends and receives from now on take that long; 0 is at once.
func (c *Conn) Delay(up, down time.Duration) {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.up, c.down = up, down
}

// settle makes the link what the connection is.
func (c *Conn) settle() {
	c.server.mu.Lock()
	whole := c.whole()
	c.server.mu.Unlock()
	if whole {
		c.link.Up()
	}
}

// whole needs the server's mu.
func (c *Conn) whole() bool { return c.cut == nil && c.server.stopped == nil && !c.closed }

func (c *Conn) flush() {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if !c.whole() {
		return
	}
	for _, m := range c.kept {
		c.server.route(m)
	}
	c.kept, c.keptSize = nil, 0
}

// route needs mu.
func (s *Server) route(m message) {
	m.due = time.Now().Add(m.from.up)
	for _, c := range s.conns {
		if !c.whole() {
			continue
		}
		for sub := range c.subs {
			if bus.Matches(sub.pattern, m.subject) {
				one := m
				one.data, one.due = bytes.Clone(m.data), m.due.Add(c.down)
				sub.queue = append(sub.queue, one)
				sub.wake()
			}
		}
	}
}

// Publish is bus.Bus's.
func (c *Conn) Publish(subject string, data []byte) error {
	if err := bus.CheckSubject(subject); err != nil {
		return err
	}
	if len(data) > c.MaxPayload() {
		return fmt.Errorf("publishing to %s: %d bytes: %w", subject, len(data), bus.ErrTooLarge)
	}
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	m := message{subject: subject, data: bytes.Clone(data), from: c}
	switch {
	case c.closed:
		return fmt.Errorf("publishing to %s: %w", subject, bus.ErrClosed)
	case c.whole():
		c.server.route(m)
	case c.keptSize >= orDefault(c.server.Backlog, DefaultBacklog):
		return fmt.Errorf("publishing to %s: %w", subject, bus.ErrBacklog)
	default:
		c.kept = append(c.kept, m)
		c.keptSize += len(data) + len(subject)
	}
	return nil
}

// MaxPayload is bus.Bus's.
func (c *Conn) MaxPayload() int { return orDefault(c.server.MaxPayload, DefaultMaxPayload) }

// States is bus.Bus's.
func (c *Conn) States(handle func(bus.State)) bus.Subscription { return c.link.States(handle) }

type subscription struct {
	conn    *Conn
	pattern string
	queue   []message     // under the server's mu
	ready   chan struct{} // has one when the queue has some
	quit    chan struct{} // closed by Stop
	ended   chan struct{}
	once    sync.Once
}

func (s *subscription) wake() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// Subscribe is bus.Bus's.
func (c *Conn) Subscribe(subject string, handle func(subject string, data []byte)) (bus.Subscription, error) {
	if err := bus.CheckPattern(subject); err != nil {
		return nil, err
	}
	sub := &subscription{conn: c, pattern: subject, ready: make(chan struct{}, 1), quit: make(chan struct{}), ended: make(chan struct{})}
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if c.closed {
		return nil, fmt.Errorf("listening to %s: %w", subject, bus.ErrClosed)
	}
	c.subs[sub] = struct{}{}
	c.wg.Go(func() {
		defer close(sub.ended)
		sub.run(handle)
	})
	return sub, nil
}

// run handles messages until it is stopped; when the connection closes it first handles what has come.
func (s *subscription) run(handle func(string, []byte)) {
	for {
		s.conn.server.mu.Lock()
		var next message
		some := len(s.queue) > 0
		if some {
			next, s.queue = s.queue[0], s.queue[1:]
		}
		closed := s.conn.closed
		s.conn.server.mu.Unlock()
		switch {
		case some:
			timer := time.NewTimer(time.Until(next.due))
			select {
			case <-timer.C:
			case <-s.quit:
				timer.Stop()
				return
			}
			select {
			case <-s.quit:
				return
			default:
				handle(next.subject, next.data)
			}
		case closed:
			return
		default:
			select {
			case <-s.ready:
			case <-s.quit:
				return
			}
		}
	}
}

// Stop is bus.Subscription's.
func (s *subscription) Stop() {
	s.conn.server.mu.Lock()
	delete(s.conn.subs, s)
	s.conn.server.mu.Unlock()
	s.once.Do(func() { close(s.quit) })
	<-s.ended
}

// Close is bus.Bus's. What was kept for want of a connection is lost.
func (c *Conn) Close() error {
	c.server.mu.Lock()
	c.closed = true
	for sub := range c.subs {
		sub.wake()
	}
	clear(c.subs)
	clear(c.services)
	c.kept = nil
	c.server.conns = slices.DeleteFunc(c.server.conns, func(other *Conn) bool { return other == c })
	c.server.mu.Unlock()
	c.end(bus.ErrClosed)
	c.link.Close()
	c.wg.Wait()
	return nil
}

// connected waits for a connection and the time of a message there.
func (c *Conn) connected(ctx context.Context) (epoch context.Context, err error) {
	epoch, err = c.link.Wait(ctx)
	if err != nil {
		return nil, err
	}
	c.server.mu.Lock()
	up := c.up
	c.server.mu.Unlock()
	return epoch, wait.For(ctx, up)
}

// back waits for the time of a message from there.
func (c *Conn) back(ctx context.Context) error {
	c.server.mu.Lock()
	down := c.down
	c.server.mu.Unlock()
	return wait.For(ctx, down)
}
