package engine

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/hub/stream"
)

// phase is how far a connection has come.
type phase uint8

const (
	atHeader phase = iota // of whichever layer the peer begins with
	atInit                // sasl-init
	atSecond              // the header after the security layer
	atOpen                // open
	atWork                // everything else
	atClose               // this side has closed: the peer's close
	atEnd                 // nothing is read any more
)

// limits are those of a connection.
type limits struct{ links, sessions int }

// Conn is one connection. It is safe for concurrent use.
type Conn struct {
	server *Server
	stream *stream.Conn
	user   User
	began  time.Time

	rest []byte // what has come of a frame that is not whole; of the reader, as deaf
	deaf bool   // what comes is no AMQP any more

	mu         sync.Mutex // protects the following fields, and those of sessions and links; no User and no Handler is called with it held
	phase      phase
	feeding    bool // Feed is under way
	corked     bool // what is written waits for the end of Feed
	identified bool
	buf        *buffer // what waits to be written; nil for nothing
	limits     limits
	sessions   map[uint16]*session
	links      int // also those that are refused, until the peer has said so
	assembled  int // bytes of deliveries that have come in part
	tags       uint64
	gone       []*Link // whose handlers have to be told

	peer        Peer
	peerFrame   uint32 // bytes, at most, of a frame that the peer takes
	peerChannel uint16
	heartbeat   time.Duration // how long nothing may be written
	heard       time.Time
	wrote       time.Time
	closing     time.Time // since when this side waits for the peer's close
	wake        time.Time // when the User wants to be called; zero for never
}

// Peer is what a peer says of itself in its open.
type Peer struct {
	Container string // its name
	Host      string // that it wants to reach; empty for none
}

// Peer is what the peer said of itself; the zero value before its open.
func (c *Conn) Peer() Peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peer
}

// Net is the connection below, for those who ask for its TLS state or its address.
func (c *Conn) Net() net.Conn { return c.stream.Net() }

// Server is the one that serves the connection.
func (c *Conn) Server() *Server { return c.server }

// Identified tells that the peer has shown who it is: it may stay.
func (c *Conn) Identified() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.identified = true
}

// SetLimits sets how many links and sessions the connection may have at most, in place of 16 each.
func (c *Conn) SetLimits(links, sessions int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limits = limits{links, sessions}
}

// Wake sets when User.Alarm is called, in place of a time that was set before; the zero time for never.
func (c *Conn) Wake(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wake = at
	c.arm()
}

// Close closes the connection with an error, as the peer sees it; nil for none. It waits for nobody.
func (c *Conn) Close(why *amqp.Error) {
	c.mu.Lock()
	defer c.leave()
	c.close(why)
}

// leave gives the lock back, for who may hold locks of its own: the handlers of links that are over are told by who feeds, or later.
func (c *Conn) leave() {
	if !c.feeding {
		c.tellLater()
	}
	c.mu.Unlock()
}

// close sends a close. The caller holds the lock.
func (c *Conn) close(why *amqp.Error) {
	switch c.phase {
	case atClose, atEnd:
		return
	case atOpen:
		c.open()
	case atWork:
	default: // nobody listens yet
		c.phase = atEnd
		c.stream.Close(failure(why))
		return
	}
	c.put(0, &amqp.Close{Error: why}, nil)
	c.phase, c.closing = atClose, time.Now()
	for _, s := range c.sessions {
		c.forget(s)
	}
	c.arm()
}

// failure is an error of the standard as a Go error.
func failure(e *amqp.Error) error {
	if e == nil {
		return errClosed
	}
	return e
}

var (
	errClosed  = errors.New("the connection was closed from this side")
	errTimeout = errors.New("the peer took too long to open the connection")
	errNobody  = errors.New("the peer has not shown who it is")
	errPeer    = fmt.Errorf("the peer closed the connection: %w", io.EOF)
)

// fail closes the connection for a mistake of the peer's. The caller holds the lock.
func (c *Conn) fail(condition, format string, args ...any) {
	c.close(&amqp.Error{Condition: condition, Description: fmt.Sprintf(format, args...)})
}

// buffer is what waits to be written.
type buffer struct{ b []byte }

const keepBuffer = 16 << 10 // larger ones are left to the collector

var buffers = sync.Pool{New: func() any { return &buffer{make([]byte, 0, 1<<10)} }}

// out is where to append what is written. The caller holds the lock, and calls written after that.
func (c *Conn) out() *buffer {
	if c.buf == nil {
		c.buf = buffers.Get().(*buffer)
		c.buf.b = c.buf.b[:0]
	}
	return c.buf
}

func (c *Conn) put(channel uint16, p amqp.Performative, payload []byte) {
	o := c.out()
	o.b = amqp.AppendFrame(o.b, channel, p, payload)
	c.written()
}

// most waits for the end of Feed at once: a peer's window is as much.
const mostCorked = 64 << 10

func (c *Conn) written() {
	if !c.corked || len(c.buf.b) > mostCorked {
		c.flush()
	}
}

// flush gives what waits to the connection below. The caller holds the lock.
func (c *Conn) flush() {
	if c.buf == nil {
		return
	}
	o := c.buf
	c.buf = nil
	c.stream.Write(o.b)
	c.wrote = time.Now()
	if cap(o.b) <= keepBuffer {
		buffers.Put(o)
	}
}

// Begin implements stream.Handler.
func (c *Conn) Begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard = c.began
	c.arm()
}

// arm sets when Alarm is called next. The caller holds the lock.
func (c *Conn) arm() {
	if c.phase != atEnd {
		c.stream.Wake(c.next())
	}
}

// next is when something is due.
func (c *Conn) next() time.Time {
	switch {
	case c.phase < atWork:
		return c.began.Add(openTimeout)
	case c.phase >= atClose:
		return c.closing.Add(closeTimeout)
	}
	at := c.heard.Add(idleTimeOut)
	earlier := func(t time.Time) {
		if t.Before(at) {
			at = t
		}
	}
	earlier(c.wrote.Add(c.heartbeat))
	if !c.identified {
		earlier(c.began.Add(namelessTime))
	}
	if !c.wake.IsZero() {
		earlier(c.wake)
	}
	return at
}

// Alarm implements stream.Handler.
func (c *Conn) Alarm() {
	c.mu.Lock()
	now := time.Now()
	call := false
	switch {
	case c.phase < atWork:
		if !now.Before(c.next()) {
			c.phase = atEnd
			c.stream.Close(errTimeout)
		}
	case c.phase >= atClose:
		if !now.Before(c.next()) {
			c.phase = atEnd
			c.stream.Close(errClosed)
		}
	default:
		call = c.due(now)
	}
	c.arm()
	c.leave()
	if call {
		c.user.Alarm()
	}
}

// due does what is due on an open connection, and reports whether the User is to be called. The caller holds the lock.
func (c *Conn) due(now time.Time) (call bool) {
	if c.feeding {
		c.heard = now // it has time: what it sent is being served
	}
	if !now.Before(c.heard.Add(idleTimeOut)) {
		c.fail(amqp.LimitExceeded, "nothing came for %v", idleTimeOut)
		return false
	}
	if !c.identified && !now.Before(c.began.Add(namelessTime)) {
		c.close(&amqp.Error{Condition: amqp.UnauthorizedAccess, Description: errNobody.Error()})
		return false
	}
	if !now.Before(c.wrote.Add(c.heartbeat)) {
		o := c.out()
		o.b = amqp.AppendHeartbeat(o.b)
		c.flush()
	}
	if !c.wake.IsZero() && !now.Before(c.wake) {
		c.wake = time.Time{}
		return true
	}
	return false
}

// Ended implements stream.Handler.
func (c *Conn) Ended(why error) {
	c.mu.Lock()
	c.phase = atEnd
	for _, s := range c.sessions {
		c.forget(s)
	}
	c.tell()
	c.rest, c.buf = nil, nil
	c.mu.Unlock()
	c.user.Ended(why)
}

// tell tells the handlers of links that are over. The caller holds the lock, which is released meanwhile.
func (c *Conn) tell() {
	for len(c.gone) > 0 {
		gone := c.gone
		c.gone = nil
		c.mu.Unlock()
		for _, l := range gone {
			l.handler.Detached()
		}
		c.mu.Lock()
	}
}

// tellLater is tell for who may hold locks of its own. The caller holds the lock.
func (c *Conn) tellLater() {
	gone := c.gone
	c.gone = nil
	if len(gone) == 0 {
		return
	}
	c.server.Go(func() {
		for _, l := range gone {
			l.handler.Detached()
		}
	})
}
