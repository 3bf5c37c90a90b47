package nowait

import (
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// writeTimeout is how long the other side may take nothing of what is kept for it, before the connection is given up.
const writeTimeout = 10 * time.Second

// tcp is a TCP connection. Once no call on it waits it is none of the Go runtime's any more, which would be woken, and look at it, for
// all that comes and for all that goes.
type tcp struct {
	*net.TCPConn // nil when the descriptor is ours
	quick        bool
	fd           int
	ends         [2]netip.AddrPort // local, remote
	size         atomic.Int64      // of kept
	watched      *Watched          // set before the kernel tells of anything

	reading sync.Mutex // held by a read, so that none finds the descriptor closed, or another's
	mu      sync.Mutex // protects the following fields, of which closed is changed with both held
	closed  bool
	err     error // of a write
	kept    []byte
	taken   time.Time   // when the other side took something of it, or it was empty
	stalled *time.Timer // runs while something is kept
}

// TCP makes a Conn of a TCP connection; others it leaves as they are.
func TCP(nc net.Conn) net.Conn {
	if t, ok := nc.(*net.TCPConn); ok {
		return &tcp{TCPConn: t}
	}
	return nc
}

func (c *tcp) SetNoWait() {
	if c.quick {
		return
	}
	c.quick = true
	ours := false
	raw, err := c.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			own, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
			if ours = err == nil; ours {
				c.fd = own
			} else { // there are as many as there may be: both use one
				c.fd = int(fd)
			}
		})
	}
	if err != nil { // it is closed
		c.closed = true
		return
	}
	if !ours {
		return
	}
	for i, a := range []net.Addr{c.TCPConn.LocalAddr(), c.TCPConn.RemoteAddr()} {
		if t, ok := a.(*net.TCPAddr); ok {
			c.ends[i] = t.AddrPort()
		}
	}
	_ = c.TCPConn.Close() // the runtime's descriptor; the connection stays
	c.TCPConn = nil
}

func (c *tcp) Kept() int { return int(c.size.Load()) }

func (c *tcp) Read(b []byte) (int, error) {
	if !c.quick {
		return c.TCPConn.Read(b)
	}
	c.reading.Lock()
	defer c.reading.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	for {
		n, err := call(unix.SYS_RECVFROM, c.fd, b, 0)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return 0, ErrAgain
		case err != 0:
			return 0, &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("recv", err)}
		case n == 0 && len(b) > 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// call is one of the calls that receive or send. It is raw, as it does not wait: telling the runtime that it may costs as much as a
// small message. Package unix has none of them that tells how much was sent.
func call(number uintptr, fd int, b []byte, flags uintptr) (int, unix.Errno) {
	n, _, err := unix.RawSyscall6(number, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT|flags, 0, 0)
	return int(n), err
}

func (c *tcp) Write(b []byte) (int, error) {
	if !c.quick {
		return c.TCPConn.Write(b)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	n := 0
	if len(c.kept) == 0 {
		n = c.give(b)
	}
	if c.err != nil {
		return n, c.err
	}
	if n < len(b) {
		c.keep(b[n:])
	}
	return len(b), nil
}

// give writes what the other side takes at once. The caller holds the lock.
func (c *tcp) give(b []byte) (n int) {
	for n < len(b) && c.err == nil {
		m, err := call(unix.SYS_SENDTO, c.fd, b[n:], unix.MSG_NOSIGNAL)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return n
		case err != 0:
			c.err = &net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("send", err)}
		default:
			n += m
		}
	}
	return n
}

// keep keeps what the other side does not take yet. The caller holds the lock.
func (c *tcp) keep(b []byte) {
	if len(c.kept) == 0 {
		c.taken = time.Now()
		c.stalled = time.AfterFunc(writeTimeout, c.giveUp)
	}
	c.kept = append(c.kept, b...)
	c.size.Store(int64(len(c.kept)))
}

// flush sends what is kept, as much as the other side takes.
func (c *tcp) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.kept) == 0 {
		return
	}
	n := c.give(c.kept)
	if c.err != nil {
		c.forsake()
		return
	}
	if n > 0 {
		c.taken = time.Now()
	}
	if c.kept = c.kept[n:]; len(c.kept) == 0 {
		c.kept = nil // its array may be large
		c.stalled.Stop()
	}
	c.size.Store(int64(len(c.kept)))
}

// giveUp ends the connection when the other side has taken nothing for long.
func (c *tcp) giveUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.kept) == 0 {
		return
	}
	if left := writeTimeout - time.Since(c.taken); left > 0 {
		c.stalled.Reset(left)
		return
	}
	c.err = &net.OpError{Op: "write", Net: "tcp", Err: os.ErrDeadlineExceeded}
	c.forsake()
}

// forsake drops what is kept, and tells who reads that the connection is over. The caller holds the lock.
func (c *tcp) forsake() {
	c.kept = nil
	c.size.Store(0)
	c.stalled.Stop()
	_ = unix.Shutdown(c.fd, unix.SHUT_RD) // it fails when the connection is over as it is
}

// Close closes the connection; what is kept is not sent.
func (c *tcp) Close() error {
	if !c.quick {
		return c.TCPConn.Close()
	}
	c.reading.Lock()
	defer c.reading.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.closed, c.kept = true, nil
	c.size.Store(0)
	if c.stalled != nil {
		c.stalled.Stop()
	}
	if c.TCPConn != nil {
		return c.TCPConn.Close()
	}
	return os.NewSyscallError("close", unix.Close(c.fd))
}

// Watch implements Conn.
func (c *tcp) Watch(p *Poller, w *Watched) (stop func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, net.ErrClosed
	}
	c.watched = w
	if err := p.system.watch(c); err != nil {
		return nil, err
	}
	return func() { p.system.unwatch(c) }, nil
}

// became acts on what the kernel tells of the connection.
func (c *tcp) became(events uint32, buffer []byte) {
	if events&unix.EPOLLOUT != 0 && c.size.Load() > 0 {
		c.flush()
	}
	if events&^unix.EPOLLOUT != 0 {
		c.watched.Now(buffer)
	}
}

func (c *tcp) LocalAddr() net.Addr  { return c.end(0) }
func (c *tcp) RemoteAddr() net.Addr { return c.end(1) }

func (c *tcp) end(i int) net.Addr {
	switch {
	case c.TCPConn == nil:
		return net.TCPAddrFromAddrPort(c.ends[i])
	case i == 0:
		return c.TCPConn.LocalAddr()
	default:
		return c.TCPConn.RemoteAddr()
	}
}

// SetDeadline does nothing once no call waits.
func (c *tcp) SetDeadline(t time.Time) error {
	if c.quick {
		return nil
	}
	return c.TCPConn.SetDeadline(t)
}

// SetReadDeadline does nothing once no call waits.
func (c *tcp) SetReadDeadline(t time.Time) error {
	if c.quick {
		return nil
	}
	return c.TCPConn.SetReadDeadline(t)
}

// SetWriteDeadline does nothing once no call waits.
func (c *tcp) SetWriteDeadline(t time.Time) error {
	if c.quick {
		return nil
	}
	return c.TCPConn.SetWriteDeadline(t)
}
