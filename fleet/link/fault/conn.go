package fault

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// ErrReset is returned by the write that a loss on the network hit.
var ErrReset = fmt.Errorf("reset by the simulated network: %w", syscall.ECONNRESET)

// closeTime bounds how long a closed connection still delivers what was written to it.
const closeTime = 2 * time.Second

// conn is a connection on a Network. As long as no fault slows it, reads and writes go straight through.
// From then on each direction has a flow, and a goroutine that moves what was sent when its time has come.
type conn struct {
	net.Conn
	network *Network
	index   int
	dead    atomic.Bool // half-open: nothing passes any more

	out, in         atomic.Pointer[flow]
	reading         deadline
	writing         deadline
	closed          chan struct{} // no more reads and writes
	gone            chan struct{} // nothing is moved any more
	once, cut       sync.Once
	startOut, start sync.Once
}

func (c *conn) Write(b []byte) (int, error) {
	if c.out.Load() == nil && c.network.active.Load() == nil && !c.dead.Load() {
		return c.Conn.Write(b)
	}
	select {
	case <-c.closed:
		return 0, net.ErrClosed
	default:
	}
	if c.network.lost(c.index) {
		c.reset()
		return 0, ErrReset
	}
	if c.dead.Load() {
		return len(b), nil
	}
	c.startOut.Do(func() {
		_ = c.Conn.SetWriteDeadline(time.Time{}) // from now on it is the flow's room that one waits for
		c.out.Store(newFlow())
		c.network.running.Go(c.deliver)
	})
	return c.send(c.out.Load(), b)
}

// send puts data into the outgoing flow, once there is room.
func (c *conn) send(f *flow, b []byte) (int, error) {
	for {
		if err := c.over(&c.writing); err != nil {
			return 0, err
		}
		delay, bandwidth := c.network.slowness(c.index)
		room := f.push(b, delay, bandwidth)
		if room == nil {
			return len(b), nil
		}
		select {
		case <-room:
		case <-c.closed:
		case <-c.writing.wait():
		}
	}
}

// over is why one may not wait any longer; nil when one may.
func (c *conn) over(d *deadline) error {
	select {
	case <-c.closed:
		return net.ErrClosed
	default:
	}
	select {
	case <-d.wait():
		return os.ErrDeadlineExceeded
	default:
		return nil
	}
}

// deliver writes what is due to the target until the connection is gone, or closed and empty.
func (c *conn) deliver() {
	defer c.shut()
	f := c.out.Load()
	closed, deadline := c.closed, make(<-chan time.Time)
	for {
		b, more := c.next(f, nil)
		if b != nil && !c.dead.Load() {
			if _, err := c.Conn.Write(b); err != nil {
				return
			}
		}
		if b != nil {
			continue
		}
		if closed == nil && f.empty() {
			return
		}
		select { // nothing is due
		case <-more:
		case <-closed:
			closed, deadline = nil, time.After(closeTime)
		case <-deadline:
			return
		case <-c.gone:
			return
		}
	}
}

// next takes what is due from a flow into b, or into memory of its own when b is nil. When nothing is due
// it returns what to wait for.
func (c *conn) next(f *flow, b []byte) (taken []byte, wait <-chan struct{}) {
	if over := c.network.partition(c.index); over != nil {
		return nil, over
	}
	return f.take(b)
}

func (c *conn) Read(b []byte) (int, error) {
	if c.in.Load() == nil {
		n, err := c.Conn.Read(b)
		if c.network.active.Load() == nil && !c.dead.Load() {
			return n, err
		}
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			return n, err
		}
		c.start.Do(func() {
			_ = c.Conn.SetReadDeadline(time.Time{})
			f := newFlow()
			c.arrived(f, b[:n])
			c.in.Store(f)
			if err != nil {
				f.end(err)
				return
			}
			c.network.running.Go(func() { c.receive(f) })
		})
	}
	f := c.in.Load()
	for {
		if err := c.over(&c.reading); err != nil {
			return 0, err
		}
		var wait <-chan struct{}
		if !c.dead.Load() {
			var taken []byte
			if taken, wait = c.next(f, b); taken != nil {
				return len(taken), nil
			}
			if err := f.ended(); err != nil {
				return 0, err
			}
		}
		select {
		case <-wait:
		case <-c.closed:
		case <-c.reading.wait():
		}
	}
}

// arrived puts what came from the target into the incoming flow; it returns what to wait for when there
// is no room.
func (c *conn) arrived(f *flow, b []byte) <-chan struct{} {
	if c.dead.Load() || len(b) == 0 {
		return nil
	}
	delay, bandwidth := c.network.slowness(c.index)
	return f.push(b, delay, bandwidth)
}

// receive reads from the target until its connection ends.
func (c *conn) receive(f *flow) {
	buf := make([]byte, 4096)
	for {
		n, err := c.Conn.Read(buf)
		for room := c.arrived(f, buf[:n]); room != nil; room = c.arrived(f, buf[:n]) {
			select {
			case <-room:
			case <-c.closed:
				return
			}
		}
		if err != nil {
			f.end(err)
			return
		}
	}
}

// Close closes the connection. What was written to a slow one still arrives, as it does on a network,
// unless that takes longer than closeTime.
func (c *conn) Close() error {
	err := net.ErrClosed
	c.once.Do(func() {
		err = nil
		close(c.closed)
		c.network.lines[c.index].conn.CompareAndSwap(c, nil)
		if c.out.Load() == nil || c.dead.Load() {
			err = c.shut()
		}
	})
	return err
}

// shut closes the transport at once.
func (c *conn) shut() (err error) {
	c.cut.Do(func() {
		close(c.gone)
		err = c.Conn.Close()
	})
	return err
}

// reset ends the connection as a network does that forgot it.
func (c *conn) reset() {
	if t, ok := c.Conn.(interface{ SetLinger(seconds int) error }); ok {
		_ = t.SetLinger(0) // the target sees RST instead of FIN
	}
	_ = c.shut()
	_ = c.Close()
}

func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.reading.set(t)
	if c.in.Load() != nil {
		return nil
	}
	if err := c.Conn.SetReadDeadline(t); !c.dead.Load() {
		return err
	}
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.writing.set(t)
	if c.out.Load() != nil {
		return nil
	}
	if err := c.Conn.SetWriteDeadline(t); !c.dead.Load() {
		return err
	}
	return nil
}
