package nowait

import (
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// events is how many are taken from the kernel at once.
const events = 256

// system is what the kernel watches for a poller. Its own goroutine waits for the kernel as for any other file.
type system struct {
	mu      sync.Mutex // protects the following fields
	file    *os.File   // nil when nothing is watched
	fd      int
	watched []*tcp // by descriptor
}

// watch has the kernel tell whenever a connection becomes readable, or writable after it was not.
func (s *system) watch(c *tcp) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		if err := s.open(); err != nil {
			return err
		}
	}
	if more := c.fd + 1 - len(s.watched); more > 0 {
		s.watched = append(s.watched, make([]*tcp, more)...)
	}
	s.watched[c.fd] = c
	e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(c.fd)}
	if err := unix.EpollCtl(s.fd, unix.EPOLL_CTL_ADD, c.fd, &e); err != nil {
		s.watched[c.fd] = nil
		return fmt.Errorf("watching a connection: %w", err)
	}
	return nil
}

// unwatch ends that. The kernel does when the connection is closed.
func (s *system) unwatch(c *tcp) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watched[c.fd] == c {
		s.watched[c.fd] = nil
	}
}

func (s *system) open() error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("watching connections: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return fmt.Errorf("watching connections: %w", err)
	}
	file := os.NewFile(uintptr(fd), "epoll")
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return fmt.Errorf("watching connections: %w", err)
	}
	s.file, s.fd = file, fd
	go s.wait(raw) // until the file is closed
	return nil
}

// wait tells of descriptors that have become readable, until the file is closed.
func (s *system) wait(raw syscall.RawConn) {
	var list [events]unix.EpollEvent
	var told [events]*tcp
	buffer := make([]byte, readBuffer)
	for {
		n := 0
		err := raw.Read(func(fd uintptr) bool {
			var err error
			n, err = unix.EpollWait(int(fd), list[:], 0)
			return n > 0 || err != nil && err != unix.EINTR //nolint:errorlint // it is no other
		})
		if err != nil {
			return
		}
		n = max(n, 0)
		s.mu.Lock()
		for i, e := range list[:n] {
			told[i] = s.watched[e.Fd]
		}
		s.mu.Unlock()
		for i, c := range told[:n] {
			if c != nil {
				c.became(list[i].Events, buffer)
			}
		}
		clear(told[:n])
	}
}

// close ends the watch. It is called when nothing is watched any more.
func (s *system) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != nil {
		s.file.Close()
		s.file = nil
	}
}
