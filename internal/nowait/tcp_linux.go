package nowait

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// writeTimeout is how long the other side may take nothing of what is kept for it, before the connection is given up.
const writeTimeout = 10 * time.Second

// tcp is a TCP connection.
type tcp struct {
	*net.TCPConn
	raw   syscall.RawConn
	quick bool // no call waits; set before others use the connection

	reading  []byte // that take is to fill
	got      int
	readErr  error
	readOnce func(fd uintptr) bool

	mu        sync.Mutex // protects the following fields
	writing   []byte     // that put is to write
	put       int        // bytes of it that were taken
	err       error      // of a write
	writeOnce func(fd uintptr) bool
	kept      []byte
	under     int // bytes that move is writing
	moving    bool
	movings   sync.WaitGroup
}

// TCP makes a Conn of a TCP connection; others it leaves as they are.
func TCP(nc net.Conn) net.Conn {
	t, ok := nc.(*net.TCPConn)
	if !ok {
		return nc
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return nc
	}
	return &tcp{TCPConn: t, raw: raw}
}

func (c *tcp) SetNoWait() {
	c.readOnce, c.writeOnce = c.take, c.give
	c.quick = true
}

func (c *tcp) Kept() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.kept) + c.under
}

func (c *tcp) Read(b []byte) (int, error) {
	if !c.quick {
		return c.TCPConn.Read(b)
	}
	c.reading, c.got, c.readErr = b, 0, nil
	err := c.raw.Read(c.readOnce)
	c.reading = nil
	if c.readErr != nil {
		err = c.readErr
	}
	return c.got, err
}

// take reads what is there.
func (c *tcp) take(fd uintptr) bool {
	for {
		n, err := syscall.Read(int(fd), c.reading)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			c.readErr = ErrAgain
		case err != nil:
			c.readErr = &net.OpError{Op: "read", Net: "tcp", Err: err}
		case n == 0 && len(c.reading) > 0:
			c.readErr = io.EOF
		default:
			c.got = n
		}
		return true
	}
}

func (c *tcp) Write(b []byte) (int, error) {
	if !c.quick {
		return c.TCPConn.Write(b)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	taken := 0
	if !c.moving {
		c.writing, c.put = b, 0
		err := c.raw.Write(c.writeOnce)
		c.writing, taken = nil, c.put
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

// give writes what the other side takes at once. The caller holds the lock.
func (c *tcp) give(fd uintptr) bool {
	for c.put < len(c.writing) {
		n, err := syscall.Write(int(fd), c.writing[c.put:])
		if n > 0 {
			c.put += n
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
func (c *tcp) move() {
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
			_ = c.TCPConn.CloseRead() // who reads is told that it is over
			return
		}
	}
}

// Close closes the connection; what is kept is not sent.
func (c *tcp) Close() error {
	err := c.TCPConn.Close()
	c.movings.Wait()
	return err
}

// Watch implements Conn.
func (c *tcp) Watch(p *Poller, w *Watched) (stop func(), err error) {
	var fd int
	outer := c.raw.Control(func(f uintptr) {
		fd = int(f)
		err = p.system.watch(fd, w)
	})
	if outer != nil {
		return nil, fmt.Errorf("watching a connection: %w", outer)
	}
	if err != nil {
		return nil, err
	}
	return func() {
		// A connection that is closed is watched no more; its descriptor may be another's.
		_ = c.raw.Control(func(uintptr) { p.system.unwatch(fd) })
	}, nil
}
