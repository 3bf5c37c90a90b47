package stream

import (
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/nowait"
)

// mostKept is how many bytes are kept for a peer that does not read, before its connection ends: more than fifty messages of 64 KB.
const mostKept = 8 << 20

// writeTimeout is how long a peer may take to read one piece that it is sent, where a goroutine waits for that. On a watched connection it has
// as long to read anything. What waits for it is bounded on either.
const writeTimeout = 10 * time.Second

// errUnread is why a connection ends whose peer does not read.
var errUnread = fmt.Errorf("%d bytes wait for it: %w", mostKept, os.ErrDeadlineExceeded)

// WriteNow writes to a connection on which no call waits; quick is what is below it. It is Conn.Write for who has an order of its own for
// what is written, and ends the connection itself. An error is the connection's end: also that of a
// peer which does not read.
func WriteNow(nc net.Conn, quick nowait.Conn, b []byte) error {
	_, err := nc.Write(b)
	if err == nil && quick.Kept() > mostKept {
		err = errUnread
	}
	return err
}

// Outbox is what waits for a peer to read it, on a connection on which a write waits: so that whoever has something to tell the peer,
// the store among them, never does. A goroutine writes while there is something. The zero Outbox is empty; a lock of its owner's, which
// all methods are about, protects it.
type Outbox struct {
	waiting []byte
	ends    []int // of the writes in waiting
	writing int   // bytes that the goroutine has taken
	idle    chan struct{}
	failed  error // why nothing is written any more
}

// Add takes a copy of bytes that are to be written. Unless a goroutine writes already it calls start, which starts one that calls Drain.
// The caller holds the lock. An error is the connection's end: too much waits, or a write has failed.
func (o *Outbox) Add(b []byte, start func()) error {
	if o.failed == nil && len(o.waiting)+o.writing+len(b) > mostKept {
		o.waiting, o.ends, o.failed = nil, nil, errUnread
	}
	if o.failed != nil {
		return o.failed
	}
	o.waiting = append(o.waiting, b...)
	o.ends = append(o.ends, len(o.waiting))
	if o.idle == nil {
		o.idle = make(chan struct{})
		start()
	}
	return nil
}

// Drain writes what waits, each piece as it was given, until there is no more. A piece that the peer does not read in time is an error:
// nothing is written after it. The caller does not hold the lock.
func (o *Outbox) Drain(lock *sync.Mutex, nc net.Conn, timeout time.Duration) error {
	lock.Lock()
	defer lock.Unlock()
	for len(o.ends) > 0 && o.failed == nil {
		b, ends := o.waiting, o.ends
		o.waiting, o.ends, o.writing = nil, nil, len(b)
		lock.Unlock()
		err := pieces(nc, timeout, b, ends)
		lock.Lock()
		o.writing = 0
		if o.failed == nil { // else too much came meanwhile
			o.failed = err
		}
	}
	close(o.idle)
	o.waiting, o.ends, o.idle = nil, nil, nil
	return o.failed
}

func pieces(nc net.Conn, timeout time.Duration, b []byte, ends []int) error {
	begin := 0
	for _, end := range ends {
		if err := nc.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
			return err
		}
		if _, err := nc.Write(b[begin:end]); err != nil {
			return err
		}
		begin = end
	}
	return nil
}

// Drained waits until all that waits was written, or cannot be; false when it is late before. The caller does not hold the lock.
func (o *Outbox) Drained(lock *sync.Mutex, late <-chan time.Time) bool {
	lock.Lock()
	idle := o.idle
	lock.Unlock()
	if idle == nil {
		return true
	}
	select {
	case <-idle:
		return true
	case <-late:
		return false
	}
}

// later has bytes written by a goroutine. The caller holds the lock.
func (c *Conn) later(b []byte) error {
	if c.out == nil {
		c.out = new(Outbox)
	}
	return c.out.Add(b, func() { c.server.Go(c.drain) })
}

func (c *Conn) drain() {
	if err := c.out.Drain(&c.mu, c.nc, writeTimeout); err != nil {
		c.Close(fmt.Errorf("writing: %w", err))
	}
}

// flush waits until all that waits was written, or cannot be; at most for the time that one piece may take.
func (c *Conn) flush() {
	late := time.NewTimer(writeTimeout)
	defer late.Stop()
	c.drained(late.C)
}

// drained waits until nothing waits to be written; false when it is late before.
func (c *Conn) drained(late <-chan time.Time) bool {
	c.mu.Lock()
	out := c.out
	c.mu.Unlock()
	return out == nil || out.Drained(&c.mu, late)
}
