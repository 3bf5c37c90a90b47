// Package memnet is connections that never touch the network. Like those of TCP they have room for what nobody has read yet:
// both ends may write before they read, as TLS does.
package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/nowait"
)

// window is how many bytes one direction has room for, as much as a TCP connection on loopback begins with.
const window = 64 << 10

// Pipe is the two ends of a connection. It can be waited for in virtual time.
func Pipe() (a, b net.Conn) {
	there, back := newStream(), newStream()
	return &conn{in: back, out: there}, &conn{in: there, out: back}
}

// conn is one end.
type conn struct{ in, out *stream }

func (c *conn) Read(b []byte) (int, error)  { return c.in.read(b) }
func (c *conn) Write(b []byte) (int, error) { return c.out.write(b) }

// Close ends both directions: the other end reads what was written, and then io.EOF.
func (c *conn) Close() error {
	c.out.close(false)
	c.in.close(true)
	return nil
}

// SetNoWait implements nowait.Conn.
func (c *conn) SetNoWait() {
	c.out.mu.Lock()
	c.out.roomy = true
	c.out.mu.Unlock()
	c.in.mu.Lock()
	c.in.quick = true
	c.in.mu.Unlock()
}

// Kept implements nowait.Conn: it is what is more than a connection has room for.
func (c *conn) Kept() int {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return max(0, len(c.out.buffer)-window)
}

// Watch implements nowait.Conn.
func (c *conn) Watch(_ *nowait.Poller, w *nowait.Watched) (stop func(), err error) {
	c.in.watch(w)
	return func() { c.in.watch(nil) }, nil
}

func (c *conn) LocalAddr() net.Addr  { return addr{} }
func (c *conn) RemoteAddr() net.Addr { return addr{} }

func (c *conn) SetDeadline(t time.Time) error {
	c.in.reading.set(c.in, t)
	c.out.writing.set(c.out, t)
	return nil
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.reading.set(c.in, t)
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.writing.set(c.out, t)
	return nil
}

// addr is where a connection in memory comes from and goes to.
type addr struct{}

func (addr) Network() string { return "memory" }
func (addr) String() string  { return "memory" }

// stream is one direction.
type stream struct {
	mu       sync.Mutex // protects the following fields
	changed  *sync.Cond
	buffer   []byte
	ended    bool            // nothing more is written
	deserted bool            // nothing more is read
	roomy    bool            // there is always room
	quick    bool            // who reads does not wait
	watcher  *nowait.Watched // of who reads; nil for nobody

	reading, writing deadline
}

func newStream() *stream {
	s := &stream{}
	s.changed = sync.NewCond(&s.mu)
	return s
}

func (s *stream) read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.deserted:
			return 0, net.ErrClosed
		case s.reading.passed:
			return 0, os.ErrDeadlineExceeded
		case len(s.buffer) > 0:
			n := copy(b, s.buffer)
			if s.buffer = s.buffer[n:]; len(s.buffer) == 0 {
				s.buffer = nil // its array may be large
			}
			s.changed.Broadcast()
			return n, nil
		case s.ended:
			return 0, io.EOF
		case len(b) == 0:
			return 0, nil
		case s.quick:
			return 0, nowait.ErrAgain
		}
		s.changed.Wait()
	}
}

func (s *stream) watch(w *nowait.Watched) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watcher = w
}

// tell tells all who wait that something has changed. The caller holds the lock.
func (s *stream) tell() {
	s.changed.Broadcast()
	if s.watcher != nil {
		s.watcher.Later()
	}
}

func (s *stream) write(b []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		room := window - len(s.buffer)
		if s.roomy {
			room = len(b)
		}
		switch {
		case s.ended:
			return n, net.ErrClosed
		case s.deserted:
			return n, io.ErrClosedPipe
		case s.writing.passed:
			return n, os.ErrDeadlineExceeded
		case n == len(b):
			return n, nil
		case room > 0:
			part := b[n:min(len(b), n+room)]
			s.buffer = append(s.buffer, part...)
			n += len(part)
			s.tell()
			continue
		}
		s.changed.Wait()
	}
}

// close ends a stream: on the side of its reader, or of its writer.
func (s *stream) close(reader bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if reader {
		s.deserted, s.buffer = true, nil
	} else {
		s.ended = true
	}
	for _, d := range []*deadline{&s.reading, &s.writing} {
		if d.timer != nil {
			d.timer.Stop()
		}
	}
	s.tell()
}

// deadline is when one side of a stream waits no longer. Its stream's lock protects it.
type deadline struct {
	timer   *time.Timer
	changes int // counts changes, so that a timer that fires late changes nothing
	passed  bool
}

func (d *deadline) set(s *stream, t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.changes++
	d.passed = !t.IsZero() && !t.After(time.Now())
	if !t.IsZero() && !d.passed {
		mine := d.changes
		d.timer = time.AfterFunc(time.Until(t), func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if d.changes == mine {
				d.passed = true
				s.changed.Broadcast()
			}
		})
	}
	s.changed.Broadcast()
}
