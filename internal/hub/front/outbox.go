package front

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// mostKept is how many bytes are kept for a device that does not read, before its connection ends: more than fifty messages of 64 KB.
const mostKept = 8 << 20

// errUnread is why a connection ends whose device does not read.
var errUnread = fmt.Errorf("%d bytes wait for it: %w", mostKept, os.ErrDeadlineExceeded)

// errUnwritable is why a connection ends to which something would have to be sent that no packet holds, such as the answer to
// a request id that fills a topic.
var errUnwritable = fmt.Errorf("%w: what is to be sent fits into no packet (section 1.5.3)", mqtt.ErrProtocol)

// errEnded is why nothing can be sent on a connection that is over.
var errEnded = errors.New("the connection is over")

// outbox is what waits for a device to read it, on a connection on which a write waits: so that whoever has something to tell the
// device, the store among them, never does. A goroutine writes while there is something. The connection's lock protects it.
type outbox struct {
	waiting []byte
	ends    []int // of the writes in waiting
	writing int   // bytes that the goroutine has taken
	idle    chan struct{}
}

// send gives bytes to the connection without waiting for the device. The caller holds the lock.
func (c *conn) send(b []byte) error {
	if c.watch != nil {
		_, err := c.nc.Write(b)
		if err == nil && c.watch.quick.Kept() > mostKept {
			err = errUnread
		}
		return err
	}
	if c.reason != nil {
		return errEnded
	}
	o := &c.out
	if len(o.waiting)+o.writing+len(b) > mostKept {
		return errUnread
	}
	o.waiting = append(o.waiting, b...)
	o.ends = append(o.ends, len(o.waiting))
	if o.idle == nil {
		o.idle = make(chan struct{})
		c.front.conns.Go(c.drain)
	}
	return nil
}

// drain writes what waits, each piece as it was given, until there is no more. A device that does not read a piece in time loses its connection.
func (c *conn) drain() {
	o := &c.out
	for {
		c.mu.Lock()
		b, ends := o.waiting, o.ends
		o.waiting, o.ends, o.writing = nil, nil, len(b)
		if len(ends) == 0 {
			close(o.idle)
			o.idle = nil
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		begin := 0
		for _, end := range ends {
			err := c.nc.SetWriteDeadline(time.Now().Add(c.front.opts.WriteTimeout))
			if err == nil {
				_, err = c.nc.Write(b[begin:end])
			}
			if err != nil {
				c.Close(fmt.Errorf("writing to the device: %w", err)) // from here on nothing is sent
				c.mu.Lock()
				o.waiting, o.ends = nil, nil
				close(o.idle)
				o.idle = nil
				c.mu.Unlock()
				return
			}
			begin = end
		}
	}
}

// drained waits until all that waits was written, or cannot be; at most for the time that one packet may take.
func (c *conn) drained() {
	c.mu.Lock()
	idle := c.out.idle
	c.mu.Unlock()
	if idle == nil {
		return
	}
	late := time.NewTimer(c.front.opts.WriteTimeout)
	defer late.Stop()
	select {
	case <-idle:
	case <-late.C:
	}
}
