package stream

import (
	"fmt"
	"time"
)

// outbox is what waits for a peer to read it, on a connection on which a write waits: so that whoever has something to tell the peer,
// the store among them, never does. A goroutine writes while there is something. The connection's lock protects it.
type outbox struct {
	waiting []byte
	ends    []int // of the writes in waiting
	writing int   // bytes that the goroutine has taken
	idle    chan struct{}
}

// later has bytes written by a goroutine. The caller holds the lock.
func (c *Conn) later(b []byte) error {
	o := c.out
	if o == nil {
		o = &outbox{idle: make(chan struct{})}
		c.out = o
		c.server.Go(c.drain)
	}
	if len(o.waiting)+o.writing+len(b) > mostKept {
		o.waiting, o.ends = nil, nil
		return errUnread
	}
	o.waiting = append(o.waiting, b...)
	o.ends = append(o.ends, len(o.waiting))
	return nil
}

// drain writes what waits, each piece as it was given, until there is no more. A peer that does not read a piece in time loses its
// connection.
func (c *Conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.out
	defer func() {
		close(o.idle)
		c.out = nil
	}()
	for len(o.ends) > 0 {
		b, ends := o.waiting, o.ends
		o.waiting, o.ends, o.writing = nil, nil, len(b)
		c.mu.Unlock()
		err := c.pieces(b, ends)
		c.mu.Lock()
		if err == nil {
			continue
		}
		o.waiting, o.ends = nil, nil
		if c.reason == nil {
			c.reason = fmt.Errorf("writing: %w", err)
			c.end()
		}
		return
	}
}

func (c *Conn) pieces(b []byte, ends []int) error {
	begin := 0
	for _, end := range ends {
		if err := c.nc.SetWriteDeadline(time.Now().Add(c.server.opts.WriteTimeout)); err != nil {
			return err
		}
		if _, err := c.nc.Write(b[begin:end]); err != nil {
			return err
		}
		begin = end
	}
	return nil
}

// drained waits until all that waits was written, or cannot be; at most for the time that one piece may take.
func (c *Conn) drained() {
	c.mu.Lock()
	o := c.out
	c.mu.Unlock()
	if o == nil {
		return
	}
	late := time.NewTimer(c.server.opts.WriteTimeout)
	defer late.Stop()
	select {
	case <-o.idle:
	case <-late.C:
	}
}
