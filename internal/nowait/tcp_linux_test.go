package nowait

import (
	"io"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// Room may come after a write found none, and before the rest of it is kept: nobody tells of that once more.
func TestRoomThatComesMeanwhile(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	c := TCP(near).(*tcp)
	defer c.Close()
	c.SetNoWait()
	c.mu.Lock()
	defer c.mu.Unlock()
	b := make([]byte, 64<<20)
	n := c.give(b)
	if n == len(b) || c.err != nil {
		t.Fatalf("%d bytes were taken, %v", n, c.err)
	}
	if _, err := io.CopyN(io.Discard, far, int64(n)); err != nil {
		t.Fatal(err)
	}
	for room := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLOUT}}; room[0].Revents&unix.POLLOUT == 0; {
		if _, err := unix.Poll(room, 1000); err != nil && err != unix.EINTR { //nolint:errorlint // it is no other
			t.Fatal(err)
		}
	}
	c.became(unix.EPOLLOUT, nil)
	c.keep([]byte("the rest"))
	if len(c.kept) > 0 {
		t.Errorf("%d bytes wait although there is room", len(c.kept))
	}
}
