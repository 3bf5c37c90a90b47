// Package wire is a connection whose owner waits for nothing: what is sent is written as far as the other side takes it and kept
// beyond that, and what comes is told by the pollers of package nowait. A transport whose calls wait, as WebSocket, has a goroutine that
// reads, and one that writes while there is something to write.
package wire

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/nowait"
)

const (
	mostKept = 256 << 10 // bytes that may be owed to a target that does not read
	mostOwed = 1 << 20   // bytes of them with answers to what it sends all the same
)

// Owner is who speaks over a connection. Its methods are called without the lock, one at a time.
type Owner interface {
	// Take acts on what came; b is valid until it returns. Its error ends the connection by way of Fail.
	Take(b []byte) error
	// Fail is told why nothing more comes, or what Take returned. It must end the connection, with End.
	Fail(why error)
	// Finished is told once, when nothing is read or written any more, and the connection is closed.
	Finished()
}

// Conn is one connection. Its owner has it as a part, and protects with its lock also what it has to say itself: what is written goes
// out in the order of Send.
type Conn struct {
	nc      net.Conn
	bottom  net.Conn
	quick   nowait.Conn // below nc, when no call on it waits; nil otherwise
	owner   Owner
	writers sync.WaitGroup // where writes wait; one at a time
	reading sync.Mutex     // one call of the owner at a time; before Mutex

	sync.Mutex        // protects the following fields, and the order of what is written
	unwatch    func() // ends the watch of the connection; nil without one
	over       error  // why nothing more is sent; nil while it lives
	out        []byte // that the writer has yet to write
	writing    bool   // there is a writer
	said       bool   // all that was sent before Leave is written
	left       error  // why the connection ends when all is written; nil while it stays
}

// Begin takes over a connection, of which bottom is the one below all handshakes: from now on no call waits.
func (c *Conn) Begin(nc, bottom net.Conn, owner Owner) {
	c.nc, c.bottom, c.owner = nc, bottom, owner
	if quick, ok := nowait.Of(nc); ok {
		quick.SetNoWait()
		c.quick = quick
	}
}

// Serve begins to read: when something has come, where a connection tells that, and else with a goroutine that waits for it. It is
// called once; from then on Finished will be. The caller holds the lock.
func (c *Conn) Serve(pollers *nowait.Pollers) {
	if c.quick != nil && c.over == nil {
		stop, err := pollers.Watch(c.quick, c.readable)
		if err == nil {
			c.unwatch = stop
			return
		}
		c.End(errUnwatched)
	}
	go c.read()
}

// errUnwatched is why a connection ends that was to be watched, and cannot be.
var errUnwatched = errors.New("the system does not tell when something has come")

// readable reads what has come. One that polls calls it, with a buffer.
func (c *Conn) readable(buffer []byte) {
	c.reading.Lock()
	defer c.reading.Unlock()
	err := c.receive(buffer)
	for err == nil {
		err = c.receive(buffer)
	}
	if !errors.Is(err, nowait.ErrAgain) {
		c.owner.Fail(err)
	}
}

// receive reads once, and has the owner act on what came.
func (c *Conn) receive(buffer []byte) error {
	n, err := c.nc.Read(buffer)
	if n > 0 {
		if err := c.owner.Take(buffer[:n]); err != nil {
			return err
		}
	}
	return err
}

// read is the goroutine of a connection whose reads wait.
func (c *Conn) read() {
	buffer := make([]byte, 512)
	err := c.receive(buffer)
	for err == nil {
		err = c.receive(buffer)
	}
	c.owner.Fail(err)
	c.finish()
}

// finish tells the owner when nothing is read or written any more.
func (c *Conn) finish() {
	c.writers.Wait()
	c.reading.Lock()
	defer c.reading.Unlock()
	c.nc.Close()
	c.owner.Finished()
}

// Quietly calls f while the owner acts on nothing that came. The caller holds no lock.
func (c *Conn) Quietly(f func()) {
	c.reading.Lock()
	defer c.reading.Unlock()
	f()
}

// Over is why the connection is over; nil while it lives. The caller holds the lock.
func (c *Conn) Over() error { return c.over }

// End cuts the connection, and notes why unless it is over as it is. The caller holds the lock.
func (c *Conn) End(why error) {
	if c.over != nil {
		return
	}
	c.over = why
	if c.unwatch != nil {
		c.unwatch()
		go c.finish() // whoever is told may hold locks
	}
	c.bottom.Close()
}

// Leave ends a connection when all that was sent is written, for which a transport whose writes wait has so long. Nothing is sent after
// it. The caller holds the lock.
func (c *Conn) Leave(why error, within time.Duration) {
	c.left = why
	if c.writing { // whose end is the connection's
		_ = c.nc.SetWriteDeadline(time.Now().Add(within)) // a connection that is over has no use for it
		return
	}
	c.leave()
}

// leave ends a connection that said what it had to say. The caller holds the lock.
func (c *Conn) leave() {
	if c.over != nil {
		return
	}
	c.said = c.owed() == 0
	if c.unwatch != nil && c.bottom != c.nc {
		c.unwatch()
		c.nc.Close() // says goodbye in its own words, where there are some
	}
	c.End(c.left)
}

// buffers are for what is written: a connection needs one only while it writes.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// Send writes what build appends, without waiting. The caller holds the lock.
func (c *Conn) Send(build func([]byte) []byte) {
	if c.quick == nil {
		c.out = build(c.out)
		if !c.writing {
			c.writing = true
			c.writers.Go(c.write)
		}
		return
	}
	buffer := buffers.Get().(*[]byte)
	*buffer = build((*buffer)[:0])
	if _, err := c.nc.Write(*buffer); err != nil {
		c.End(err)
	}
	if cap(*buffer) <= 4<<10 {
		buffers.Put(buffer)
	}
}

// write writes what there is on a transport whose writes wait.
func (c *Conn) write() {
	c.Lock()
	defer c.Unlock()
	var err error
	for len(c.out) > 0 && c.over == nil {
		b := c.out
		c.out = nil
		c.Unlock()
		_, err = c.nc.Write(b)
		c.Lock()
		if err != nil {
			c.End(err)
		}
	}
	c.writing = false
	if c.left != nil {
		c.leave()
		c.said = err == nil && len(c.out) == 0 // also when the other side, which heard it, ended the connection before this
	}
}

// Full reports whether the target owes so much reading that nothing more is to be sent. The caller holds the lock.
func (c *Conn) Full() bool { return c.owed() > mostKept }

// Swamped reports whether a target that does not read is owed so much that it is not even answered any more. The caller holds the lock.
func (c *Conn) Swamped() bool { return c.owed() > mostOwed }

// Said reports whether all that was sent before Leave was written to the transport; false without Leave. It is final when the owner is
// told that the connection is finished. The caller holds the lock.
func (c *Conn) Said() bool { return c.said }

// owed is how many bytes the target has yet to take. The caller holds the lock.
func (c *Conn) owed() int {
	if c.quick != nil {
		return c.quick.Kept()
	}
	return len(c.out)
}
