//go:build unix

package terminal

import (
	"os"

	"golang.org/x/sys/unix"
)

// quiet keeps a terminal from echoing what is typed into the picture, ^C among it, and returns what gives the
// echo back. The terminal stays as it is otherwise: lines are edited and Ctrl-C is a signal, so that a run can
// be stopped whatever became of the view. What is no terminal is left alone.
func quiet(in *os.File) (restore func()) {
	none := func() {}
	if in == nil {
		return none
	}
	fd := int(in.Fd())
	before, err := unix.IoctlGetTermios(fd, getAttributes)
	if err != nil {
		return none
	}
	after := *before
	after.Lflag &^= unix.ECHO | unix.ECHONL
	if unix.IoctlSetTermios(fd, setNow, &after) != nil {
		return none
	}
	// What was typed meanwhile was meant for nobody: the shell must not run it.
	return func() { _ = unix.IoctlSetTermios(fd, setFlushing, before) }
}

// Foreground reports whether this process may draw on a terminal: one in the background of a shell must not.
func Foreground(f *os.File) bool {
	group, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}
