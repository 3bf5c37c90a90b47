package engine

import (
	"os"
	"runtime/debug"
)

// gcPercent lets the heap grow to five times what lives in it. While the collector marks what some
// 20 KiB and ten goroutines a device are made of, devices help it, and start late: with 5,000 devices and
// the hub in one process a collection is some 200 ms long. Collecting less often costs memory only.
const gcPercent = 400

// RelaxGC tunes the garbage collector of a process that runs an Engine, and nothing beside it, for starts
// on time. It leaves alone what the environment variable GOGC says.
func RelaxGC() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
