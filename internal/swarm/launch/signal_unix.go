//go:build unix

package launch

import (
	"os"
	"syscall"
	"time"
)

// ask asks a process to end.
func (p *process) ask() { _ = p.cmd.Process.Signal(syscall.SIGTERM) } // it has ended

// signalOf is the name of the signal that ended a process.
func signalOf(s *os.ProcessState) string {
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return w.Signal().String()
	}
	return ""
}

// input is the standard input, of which a read can be interrupted.
func input() (*os.File, error) {
	if err := syscall.SetNonblock(0, true); err != nil {
		return nil, err
	}
	return os.NewFile(0, "standard input"), nil
}

// interrupt ends a read.
func interrupt(in *os.File) { _ = in.SetReadDeadline(time.Unix(1, 0)) } // it waits for the end of the process then
