//go:build unix

package link

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// writeTimeout is how long the other side may take nothing of what is kept for it, before the connection is given up.
const writeTimeout = 10 * time.Second

// eagerConn is a TCP connection that is Eager.
type eagerConn struct {
	*net.TCPConn
	raw   syscall.RawConn
	eager bool // set before others write
	once  func(fd uintptr) bool

	mu      sync.Mutex // protects the following fields
	b       []byte     // that once is to write
	n       int        // bytes of b that were taken
	err     error      // of the write
	kept    []byte
	moving  bool
	under   int // bytes that move is writing
	movings sync.WaitGroup
}

// eagerly makes a TCP connection that can be Eager of one that cannot; others it leaves as they are.
func eagerly(nc net.Conn) net.Conn {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nc
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nc
	}
	c := &eagerConn{TCPConn: tcp, raw: raw}
	c.once = c.try
	return c
}

func (c *eagerConn) SetEager() { c.eager = true }

func (c *eagerConn) Kept() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.kept) + c.under
}

func (c *eagerConn) Write(b []byte) (int, error) {
	if !c.eager {
		return c.TCPConn.Write(b)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	taken := 0
	if !c.moving {
		c.b, c.n = b, 0
		err := c.raw.Write(c.once)
		c.b, taken = nil, c.n
		if c.err == nil {
			c.err = err
		}
		if c.err != nil {
			return taken, c.err
		}
	}
	if taken < len(b) {
		c.kept = append(c.kept, b[taken:]...)
		if !c.moving {
			c.moving = true
			c.movings.Go(c.move)
		}
	}
	return len(b), nil
}

// try writes what the other side takes at once. The caller of Write holds the lock.
func (c *eagerConn) try(fd uintptr) bool {
	for c.n < len(c.b) {
		n, err := syscall.Write(int(fd), c.b[c.n:])
		if n > 0 {
			c.n += n
		}
		switch {
		case err == nil, errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EAGAIN):
			return true
		default:
			c.err = &net.OpError{Op: "write", Net: "tcp", Err: err}
			return true
		}
	}
	return true
}

// move writes what is kept as the other side takes it.
func (c *eagerConn) move() {
	for {
		c.mu.Lock()
		b := c.kept
		c.kept, c.under = nil, len(b)
		if len(b) == 0 {
			c.moving = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		_ = c.SetWriteDeadline(time.Now().Add(writeTimeout)) // a connection that is closed says so when it is written to
		if _, err := c.TCPConn.Write(b); err != nil {
			c.mu.Lock()
			c.err, c.moving, c.kept, c.under = err, false, nil, 0
			c.mu.Unlock()
			_ = c.TCPConn.Close() // who reads is told that it is over
			return
		}
	}
}

// Close closes the connection; what is kept is not sent.
func (c *eagerConn) Close() error {
	err := c.TCPConn.Close()
	c.movings.Wait()
	return err
}
