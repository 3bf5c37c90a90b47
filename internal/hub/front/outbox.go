package front

import (
	"errors"
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/stream"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// errUnwritable is why a connection ends to which something would have to be sent that no packet holds, such as the answer to
// a request id that fills a topic.
var errUnwritable = fmt.Errorf("%w: what is to be sent fits into no packet (section 1.5.3)", mqtt.ErrProtocol)

// errEnded is why nothing can be sent on a connection that is over.
var errEnded = errors.New("the connection is over")

// send gives bytes to the connection without waiting for the device. The caller holds the lock.
func (c *conn) send(b []byte) error {
	if c.watch != nil {
		return stream.WriteNow(c.nc, c.watch.quick, b)
	}
	if c.read.reason != nil {
		return errEnded
	}
	if c.read.out == nil {
		c.read.out = new(stream.Outbox)
	}
	return c.read.out.Add(b, func() { c.front.conns.Go(c.drain) })
}

// drain writes what waits. A device that does not read a packet in time loses its connection.
func (c *conn) drain() {
	if err := c.read.out.Drain(&c.mu, c.nc, c.front.opts.WriteTimeout); err != nil {
		c.Close(fmt.Errorf("writing to the device: %w", err))
	}
}

// drained waits until all that waits was written, or cannot be; at most for the time that one packet may take.
func (c *conn) drained() {
	c.mu.Lock()
	out := c.read.out
	c.mu.Unlock()
	if out == nil {
		return
	}
	late := time.NewTimer(c.front.opts.WriteTimeout)
	defer late.Stop()
	out.Drained(&c.mu, late.C)
}
