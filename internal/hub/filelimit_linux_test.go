package hub_test

import (
	"os/signal"
	"syscall"
)

// ignoreFileLimit makes a write beyond a limit of the file's size an error, and not the end.
func ignoreFileLimit() { signal.Ignore(syscall.SIGXFSZ) }
