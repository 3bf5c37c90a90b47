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
	watched map[int32]*Watched // by descriptor
}

// watch has the kernel tell whenever a descriptor becomes readable.
func (s *system) watch(fd int, w *Watched) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		if err := s.open(); err != nil {
			return err
		}
	}
	e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(fd)}
	s.watched[int32(fd)] = w
	if err := unix.EpollCtl(s.fd, unix.EPOLL_CTL_ADD, fd, &e); err != nil {
		delete(s.watched, int32(fd))
		return fmt.Errorf("watching a connection: %w", err)
	}
	return nil
}

// unwatch ends that, while the descriptor is open.
func (s *system) unwatch(fd int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.watched, int32(fd))
	if s.file != nil {
		_ = unix.EpollCtl(s.fd, unix.EPOLL_CTL_DEL, fd, nil)
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
	s.file, s.fd, s.watched = file, fd, make(map[int32]*Watched)
	go s.wait(raw) // until the file is closed
	return nil
}

// wait tells of descriptors that have become readable, until the file is closed.
func (s *system) wait(raw syscall.RawConn) {
	var list [events]unix.EpollEvent
	var calls []*Watched
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
		s.mu.Lock()
		for _, e := range list[:max(n, 0)] {
			if w := s.watched[e.Fd]; w != nil {
				calls = append(calls, w)
			}
		}
		s.mu.Unlock()
		for i, w := range calls {
			w.Now(buffer)
			calls[i] = nil
		}
		calls = calls[:0]
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
