package agent

import (
	"time"

	"golang.org/x/sys/unix"
)

// threadTime is the processor time of the thread that calls (clock_gettime(2), CLOCK_THREAD_CPUTIME_ID).
func threadTime() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
