//go:build linux && !portable

package host

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Read reads the facts of this process.
func Read() (Facts, error) {
	f := facts(os.DirFS("/"))
	var err error
	f.Descriptors, err = descriptorLimit()
	return f, err
}

// Use reads what the process uses now. It is cheap enough for once a second with 100,000 connections.
func Use() (Usage, error) {
	u := Usage{CPU: OwnTime()}
	return u, u.readFiles(os.DirFS("/"), os.Getpagesize())
}

func countNow() Processors { return count(os.DirFS("/")) }

// awake is the clock that package time goes by, of the kernel itself: in a test's virtual time that of package time stands still however long
// the machine takes, and what it took would be a time for which it was suspended.
func awake() time.Time {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) != nil {
		return time.Now()
	}
	return time.Unix(t.Unix())
}
