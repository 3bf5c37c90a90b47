package launch

import "syscall"

// attributes are those of a process: away from the terminal's signals, which this process gets, and killed with it unless it survives.
func attributes(survive bool) *syscall.SysProcAttr {
	if survive {
		return &syscall.SysProcAttr{Setsid: true}
	}
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
