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
	waiting atomic.Pointer[net.TCPConn] // the runtime's; nil once no call waits
	fd      int                         // then, as the next
	ends    [2]netip.AddrPort           // local, remote
	size    atomic.Int64                // of kept

	reading sync.Mutex // held by a read, so that none finds the descriptor closed, or another's; before mu
	dry     bool       // all was read that came before the kernel last told of something; under reading
	hungUp  bool       // and it told of the end, which is to be read as well; under reading

	mu       sync.Mutex // protects the following fields, of which closed is changed with both held
	closed   bool
	borrowed *net.TCPConn // whose descriptor this is, when it could not be had alone
	err      error        // of a write
	kept     []byte
	taken    time.Time   // when the other side took something of it, or it was empty
	stalled  *time.Timer // runs while something is kept
	watched  *Watched
}

// TCP makes a Conn of a TCP connection; others it leaves as they are.
func TCP(nc net.Conn) net.Conn {
	t, ok := nc.(*net.TCPConn)
	if !ok {
		return nc
	}
	c := new(tcp)
	c.waiting.Store(t)
	return c
}

func (c *tcp) SetNoWait() {
	c.reading.Lock()
	defer c.reading.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.waiting.Load()
	if t == nil || c.closed {
		return
	}
	for i, a := range []net.Addr{t.LocalAddr(), t.RemoteAddr()} {
		if a, ok := a.(*net.TCPAddr); ok {
			c.ends[i] = a.AddrPort()
		}
	}
	raw, err := t.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			own, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
			if err != nil { // there are as many as there may be: both use one
				own, c.borrowed = int(fd), t
			}
			c.fd = own
		})
	}
	c.closed = err != nil // it says so
	c.waiting.Store(nil)
	if c.borrowed == nil {
		_ = t.Close() // the runtime's descriptor; the connection stays
	}
}

func (c *tcp) Kept() int { return int(c.size.Load()) }

func (c *tcp) Read(b []byte) (int, error) {
	if t := c.waiting.Load(); t != nil {
		return t.Read(b)
	}
	c.reading.Lock()
	defer c.reading.Unlock()
	switch {
	case c.closed:
		return 0, net.ErrClosed
	case c.dry: // the kernel tells when there is more
		return 0, ErrAgain
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
			return 0, c.ended()
		}
		c.dry = n < len(b) && !c.hungUp
		return n, nil
	}
}

// ended is why nothing more comes.
func (c *tcp) ended() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	return io.EOF
}

func (c *tcp) Write(b []byte) (int, error) {
	if t := c.waiting.Load(); t != nil {
		return t.Write(b)
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

// call is one of the calls that receive or send. It is raw, as it does not wait: telling the runtime that it may costs as much as a
// small message. Package unix has none of them that tells how much was sent.
func call(number uintptr, fd int, b []byte, flags uintptr) (int, unix.Errno) {
	n, _, err := unix.RawSyscall6(number, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT|flags, 0, 0)
	return int(n), err
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
	c.push() // who was told that there is room saw nothing kept until now
}

// flush sends what is kept.
func (c *tcp) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed && len(c.kept) > 0 {
		c.push()
	}
}

// push sends of what is kept as much as the other side takes. The caller holds the lock.
func (c *tcp) push() {
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

// Close closes the connection; what is kept is not sent. Who watches it is told.
func (c *tcp) Close() error {
	c.reading.Lock()
	defer c.reading.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.waiting.Load()
	if c.closed {
		return net.ErrClosed
	}
	c.closed, c.kept = true, nil
	c.size.Store(0)
	if c.stalled != nil {
		c.stalled.Stop()
	}
	if c.watched != nil {
		c.watched.Later() // the kernel tells nobody
	}
	switch {
	case t != nil:
		return t.Close()
	case c.borrowed != nil:
		return c.borrowed.Close()
	}
	return os.NewSyscallError("close", unix.Close(c.fd))
}

// Watch implements Conn.
func (c *tcp) Watch(p *Poller, w *Watched) (stop func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.waiting.Load() != nil {
		return nil, net.ErrClosed
	}
	c.watched = w
	if err := p.system.watch(c); err != nil {
		c.watched = nil
		return nil, err
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.watched = nil
		p.system.unwatch(c)
	}, nil
}

// became acts on what the kernel tells of the connection.
func (c *tcp) became(events uint32, buffer []byte) {
	if events&unix.EPOLLOUT != 0 && c.size.Load() > 0 {
		c.flush()
	}
	if events&^unix.EPOLLOUT == 0 {
		return
	}
	c.reading.Lock()
	c.dry, c.hungUp = false, c.hungUp || events&^(unix.EPOLLIN|unix.EPOLLOUT) != 0
	c.reading.Unlock()
	c.mu.Lock()
	w := c.watched
	c.mu.Unlock()
	if w != nil {
		w.Now(buffer)
	}
}

func (c *tcp) LocalAddr() net.Addr {
	if t := c.waiting.Load(); t != nil {
		return t.LocalAddr()
	}
	return net.TCPAddrFromAddrPort(c.ends[0])
}

func (c *tcp) RemoteAddr() net.Addr {
	if t := c.waiting.Load(); t != nil {
		return t.RemoteAddr()
	}
	return net.TCPAddrFromAddrPort(c.ends[1])
}

// SetLinger says what becomes of what was not sent when the connection is closed.
func (c *tcp) SetLinger(seconds int) error {
	if t := c.waiting.Load(); t != nil {
		return t.SetLinger(seconds)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	return os.NewSyscallError("setsockopt", unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: int32(seconds)}))
}

// SetDeadline does nothing once no call waits.
func (c *tcp) SetDeadline(at time.Time) error {
	if t := c.waiting.Load(); t != nil {
		return t.SetDeadline(at)
	}
	return nil
}

// SetReadDeadline does nothing once no call waits.
func (c *tcp) SetReadDeadline(at time.Time) error {
	if t := c.waiting.Load(); t != nil {
		return t.SetReadDeadline(at)
	}
	return nil
}

// SetWriteDeadline does nothing once no call waits.
func (c *tcp) SetWriteDeadline(at time.Time) error {
	if t := c.waiting.Load(); t != nil {
		return t.SetWriteDeadline(at)
	}
	return nil
}
