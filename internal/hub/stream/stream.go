// Package stream serves connections by what comes on them: whoever speaks a protocol is given the bytes, and writes without ever
// waiting. A connection has no goroutine where the system tells when something has come (internal/nowait), and one where it does not:
// over WebSocket.
package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/nowait"
	"github.com/twinfleet/twinfleet/internal/timers"
)

// Handler speaks a protocol on one connection.
type Handler interface {
	// Begin is called first, once, and must not wait.
	Begin()
	// Feed takes what has come, of which it must keep no part. There is one call at a time, which may wait if it is patient. An error
	// ends the connection, when what was written before has gone.
	Feed(b []byte, patient bool) error
	// Alarm is called when the time given to Conn.Wake has come, also while Feed is. It must not wait.
	Alarm()
	// Ended tells, once and after the last Feed, that the connection is over and why. It may wait.
	Ended(why error)
}

// Options of a Server.
type Options struct {
	// Patient reports whether Feed may wait, for a disk or a limit: each call has then a goroutine of its own, where else one of few
	// calls them all. Nil for never.
	Patient func() bool
}

// Server serves connections. All its goroutines have ended when Close returns.
type Server struct {
	opts    Options
	pollers nowait.Pollers
	alarms  timers.Set
	work    sync.WaitGroup

	ctx    context.Context // ends when Close is called
	cancel context.CancelFunc

	mu   sync.Mutex // protects open
	open map[*Conn]struct{}
}

// New makes a Server.
func New(o Options) *Server {
	if o.Patient == nil {
		o.Patient = func() bool { return false }
	}
	s := &Server{opts: o, open: make(map[*Conn]struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// ErrClosed is why connections end when the Server closes.
var ErrClosed = errors.New("the server is closing")

// Context ends when the Server closes.
func (s *Server) Context() context.Context { return s.ctx }

// Go runs do in a goroutine for which Close waits. It is called by who is served, before its connection has ended.
func (s *Server) Go(do func()) { s.work.Go(do) }

// Connections is how many connections there are.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

// Each calls do with the handler of each connection that is open now, without a lock.
func (s *Server) Each(do func(Handler)) {
	for _, c := range s.all() {
		do(c.handler)
	}
}

// Flush waits until what was written on the connections has gone, at most for a time.
func (s *Server) Flush(most time.Duration) {
	late := time.NewTimer(most)
	defer late.Stop()
	for _, c := range s.all() {
		if !c.drained(late.C) {
			return
		}
	}
}

func (s *Server) all() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*Conn, 0, len(s.open))
	for c := range s.open {
		all = append(all, c)
	}
	return all
}

// Close ends all connections and waits for their goroutines.
func (s *Server) Close() {
	s.cancel()
	s.mu.Lock()
	open := s.open
	s.open = nil
	s.mu.Unlock()
	for c := range open {
		c.Close(ErrClosed)
	}
	s.work.Wait()
}

// Take serves a connection, with the handler that is made for it, and closes it at its end. It returns at once, unless only a goroutine
// can wait for what comes.
func (s *Server) Take(nc net.Conn, handler func(*Conn) Handler) {
	c := &Conn{server: s, nc: nc, heard: time.Now()}
	quick, watchable := nowait.Of(nc)
	if watchable {
		c.quick = quick
	}
	if !s.enter(c, handler) {
		nc.Close()
		return
	}
	c.handler.Begin()
	if !watchable {
		defer s.work.Done()
		c.serve()
		return
	}
	quick.SetNoWait()
	c.mu.Lock()
	defer c.mu.Unlock()
	stop, err := s.pollers.Watch(quick, c.readable)
	c.stop = stop
	switch {
	case c.reason != nil: // it was closed meanwhile: who did that cleans up
		c.quit()
	case err != nil:
		c.reason = err
		c.end()
	}
}

// Accept is Take in a goroutine of the Server's; it returns at once.
func (s *Server) Accept(nc net.Conn, handler func(*Conn) Handler) {
	s.mu.Lock()
	closed := s.open == nil
	if !closed {
		s.work.Add(1)
	}
	s.mu.Unlock()
	if closed {
		nc.Close()
		return
	}
	go func() {
		defer s.work.Done()
		s.Take(nc, handler)
	}()
}

// enter makes a connection one that Close ends and waits for; false once the Server closes.
func (s *Server) enter(c *Conn, handler func(*Conn) Handler) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		return false
	}
	s.work.Add(1)
	c.handler = handler(c)
	s.alarms.Init(&c.alarm, c.handler.Alarm)
	s.open[c] = struct{}{}
	return true
}

func (s *Server) leave(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

// Conn is a connection. It is safe for concurrent use.
type Conn struct {
	server  *Server
	nc      net.Conn
	quick   nowait.Conn // below nc; nil for a connection with a goroutine
	handler Handler
	alarm   timers.Timer

	mu     sync.Mutex // protects the following fields, and orders writes
	out    *Outbox    // of a connection with a goroutine; nil before anything was written
	stop   func()     // ends the watch
	busy   bool       // somebody reads or cleans up; for ever once the connection is over
	more   bool       // something has come since
	heard  time.Time  // when what came last had been read
	reason error      // why the connection is over; nil while it is not
}

// Server is the one that serves the connection.
func (c *Conn) Server() *Server { return c.server }

// Net is the connection as it was given, for those who ask for its TLS state or its address.
func (c *Conn) Net() net.Conn { return c.nc }

// Wake sets the time at which the handler's Alarm is called, in place of one that was set before.
func (c *Conn) Wake(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason == nil {
		c.alarm.Reset(at)
	}
}

// Close ends the connection from this side, when what was written has gone or has had its time. It waits for nobody. The first reason
// holds.
func (c *Conn) Close(reason error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason != nil {
		return
	}
	c.reason = reason
	c.end()
}

// Heard is when what came last had been read; the connection's begin before that. busy says that something is read, or fed, now. Of a
// connection with a goroutine it tells neither.
func (c *Conn) Heard() (at time.Time, busy bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.heard, c.busy
}

// quit is the end of what calls for the connection. The caller holds the lock.
func (c *Conn) quit() {
	if c.stop != nil {
		c.stop()
	}
	c.alarm.Stop()
}

// end ends a connection that has a reason to. The caller holds the lock.
func (c *Conn) end() {
	c.quit()
	switch {
	case c.quick == nil: // the reader cleans up
		c.server.Go(func() {
			c.flush()
			c.nc.Close()
		})
	case c.busy: // who is busy cleans up; TLS says good-bye, which may wait
		c.server.Go(func() { c.nc.Close() })
	default:
		c.busy = true
		go c.over() // whoever closes it may hold locks
	}
}

// over closes the connection and tells the handler. Nobody reads any more.
func (c *Conn) over() {
	defer c.server.work.Done()
	c.ended()
}

func (c *Conn) ended() {
	c.nc.Close()
	c.server.leave(c)
	c.mu.Lock()
	why := c.reason
	c.mu.Unlock()
	c.alarm.Stop()
	c.handler.Ended(why)
}

// serve reads in a goroutine, until the connection is over.
func (c *Conn) serve() {
	b := buffers.Get().(*[bufferSize]byte)
	for {
		n, err := c.nc.Read(b[:])
		if n > 0 && c.alive() {
			if fed := c.handler.Feed(b[:n], true); fed != nil {
				err = fed
			}
		}
		if err != nil {
			c.Close(err)
		}
		if !c.alive() {
			break
		}
	}
	buffers.Put(b)
	c.flush()
	c.ended()
}

func (c *Conn) alive() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reason == nil
}

const bufferSize = 4 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// readable handles what has come, with a buffer of a poller's, which waits for nothing: what may wait has a goroutine of its own.
func (c *Conn) readable(buffer []byte) {
	c.mu.Lock()
	if c.busy {
		c.more = true
		c.mu.Unlock()
		return
	}
	c.busy = true
	c.mu.Unlock()
	if c.server.opts.Patient() {
		c.patiently(nil)
		return
	}
	c.pull(nil, buffer, false)
}

// patiently handles what has come, of which came is read, in a goroutine of its own.
func (c *Conn) patiently(came []byte) {
	c.server.Go(func() {
		b := buffers.Get().(*[bufferSize]byte)
		defer buffers.Put(b)
		c.pull(came, b[:], true)
	})
}

// pull handles what came, and reads until there is no more, or the connection is over.
func (c *Conn) pull(came, buffer []byte, patient bool) {
	for {
		rest, err := c.read(came, buffer, patient)
		if rest != nil {
			c.patiently(rest)
			return
		}
		came = nil
		c.mu.Lock()
		if err != nil && c.reason == nil {
			c.reason = err
			c.quit() // who is busy cleans up
		}
		over, again := c.reason != nil, c.more
		c.more, c.heard = false, time.Now()
		c.busy = over || again
		c.mu.Unlock()
		switch {
		case over:
			c.over()
			return
		case !again:
			return
		}
	}
}

// read hands over what came, and what else has come. The rest is what may wait since it began to read, and it may not.
func (c *Conn) read(came, buffer []byte, patient bool) (rest []byte, err error) {
	for {
		if len(came) == 0 {
			var n int
			n, err = c.nc.Read(buffer)
			came = buffer[:n]
		}
		if len(came) > 0 {
			switch {
			case !c.alive():
				return nil, nil
			case !patient && c.server.opts.Patient():
				return bytes.Clone(came), nil
			}
			if err := c.handler.Feed(came, patient); err != nil {
				return nil, err
			}
			came = nil
		}
		switch {
		case errors.Is(err, nowait.ErrAgain):
			return nil, nil
		case err != nil:
			return nil, err
		}
	}
}

// Unread is how many bytes were written that the peer has yet to take.
func (c *Conn) Unread() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.quick != nil:
		return c.quick.Kept()
	case c.out != nil:
		return len(c.out.waiting) + c.out.writing
	}
	return 0
}

// Write gives bytes to the connection, which are the caller's again when it returns. It does not wait: a peer that does not read loses
// its connection.
func (c *Conn) Write(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason != nil {
		return
	}
	var err error
	if c.quick != nil {
		err = WriteNow(c.nc, c.quick, b)
	} else {
		err = c.later(b)
	}
	if err != nil {
		c.reason = fmt.Errorf("writing: %w", err)
		c.end()
	}
}
