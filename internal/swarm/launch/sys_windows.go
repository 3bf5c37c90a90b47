package launch

import (
	"os"
	"syscall"
)

// attributes are those of a process: away from the console's Ctrl-C, which this process gets.
func attributes(bool) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// ask asks a process to end: there is no signal for it, and so it is told what it would notice if this process were gone. One that survives
// cannot be asked.
func (p *process) ask() {
	if p.survives {
		_ = p.cmd.Process.Kill()
		return
	}
	_ = p.stdin.Close()
}

// signalOf is empty: there are no signals.
func signalOf(*os.ProcessState) string { return "" }

// input is the standard input.
func input() (*os.File, error) { return os.Stdin, nil }

// interrupt does nothing: a read of a pipe cannot be interrupted, and lasts until the process ends.
func interrupt(*os.File) {}
