//go:build unix

package terminal

import (
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
)

// tty is the terminal that keys come from. While it is held it neither echoes what is typed into the picture nor waits for whole
// lines. All else stays as it was: Ctrl-C and Ctrl-Z are signals and lines end as ever, so that a run can be stopped whatever
// became of the view, and a shell is not left with a terminal that it cannot use. A nil tty is none.
type tty struct {
	fd     int
	before unix.Termios
	wake   [2]int // a pipe that ends a wait for keys
}

// openTTY is a terminal that is not held yet; nil when in is none.
func openTTY(in *os.File) *tty {
	if in == nil {
		return nil
	}
	t := &tty{fd: int(in.Fd())}
	before, err := unix.IoctlGetTermios(t.fd, getAttributes)
	if err != nil || unix.Pipe(t.wake[:]) != nil {
		return nil
	}
	for _, fd := range t.wake {
		unix.CloseOnExec(fd)
	}
	t.before = *before
	return t
}

// hold takes the terminal. What a shell has made of it meanwhile is what it is given back as.
func (t *tty) hold() {
	if t == nil {
		return
	}
	found, err := unix.IoctlGetTermios(t.fd, getAttributes)
	if err != nil {
		return
	}
	if found.Lflag&unix.ICANON != 0 { // else a shell has given it back as it was held
		t.before = *found
	}
	now := *found
	now.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON
	now.Cc[unix.VMIN], now.Cc[unix.VTIME] = 1, 0
	_ = unix.IoctlSetTermios(t.fd, setNow, &now)
}

// give gives it back.
func (t *tty) give() {
	if t == nil {
		return
	}
	// What was typed and not read was meant for nobody: the shell must not run it.
	_ = unix.IoctlSetTermios(t.fd, setFlushing, &t.before)
}

// flags are what hold takes away, as stty names it.
func (t *tty) flags() (names []string) {
	for _, f := range []struct {
		bit  uint64
		name string
	}{{unix.ICANON, "icanon"}, {unix.ECHO, "echo"}, {unix.ECHONL, "echonl"}} {
		if uint64(t.before.Lflag)&f.bit != 0 {
			names = append(names, f.name)
		}
	}
	return names
}

// canRead says that keys are read.
const canRead = true

// restWait is how long a terminal that cannot be read is left alone: one that hung up, or that another program has.
const restWait = 250 * time.Millisecond

// read hands over what is typed, until stop. Nothing stands for a pause after some bytes.
func (t *tty) read(press func(b []byte)) {
	signal.Ignore(unix.SIGTTIN) // reading in the background is an error then, and does not stop the run
	defer signal.Reset(unix.SIGTTIN)
	buf := make([]byte, 256)
	wait := -1
	for {
		fds := []unix.PollFd{{Fd: int32(t.wake[0]), Events: unix.POLLIN}, {Fd: int32(t.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, wait)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil, fds[0].Revents != 0:
			return
		case n == 0:
			press(nil)
			wait = -1
			continue
		}
		if n, err = unix.Read(t.fd, buf); n > 0 && err == nil {
			press(buf[:n])
			wait = int(escapeWait / time.Millisecond)
			continue
		}
		if rest, _ := unix.Poll(fds[:1], int(restWait/time.Millisecond)); rest > 0 {
			return
		}
	}
}

// stop ends a read, now or as soon as it begins.
func (t *tty) stop() {
	if t != nil {
		_, _ = unix.Write(t.wake[1], []byte{0})
	}
}

// close frees what the tty has; the terminal stays open.
func (t *tty) close() {
	if t != nil {
		unix.Close(t.wake[0])
		unix.Close(t.wake[1])
	}
}

// Foreground reports whether this process may draw on a terminal: one in the background of a shell must not.
func Foreground(f *os.File) bool {
	group, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// Background reports whether a terminal of this process is another's now: a shell's, or that of a program which it runs.
func Background(f *os.File) bool {
	group, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPGRP)
	return err == nil && group != unix.Getpgrp()
}

// suspensions delivers Ctrl-Z until stop is called.
func suspensions() (signals <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, unix.SIGTSTP)
	return c, func() { signal.Stop(c) }
}

// suspend stands still, as Ctrl-Z has it, until the shell lets the process go on. Where no shell has jobs nobody would: the process
// goes on then. SIGTSTP, once asked for, has no effect of its own any more.
func suspend() {
	if session, err := unix.Getsid(0); err != nil || session == unix.Getpgrp() || unix.Getppid() == 1 {
		return
	}
	on := make(chan os.Signal, 1)
	signal.Notify(on, unix.SIGCONT)
	defer signal.Stop(on)
	_ = unix.Kill(unix.Getpid(), unix.SIGSTOP)
	timer := time.NewTimer(restWait) // it is not known by when a process stands still
	defer timer.Stop()
	select {
	case <-on:
	case <-timer.C:
	}
}
