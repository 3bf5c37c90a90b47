// Package gc tunes the garbage collector of a process in which many devices or connections live.
package gc

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

const (
	most   = 4.0  // a small heap may grow by so many times what lives in it: collecting less often costs memory only
	least  = 1.0  // a large one by so many: a collection of it takes long
	budget = 32e6 // bytes by which a heap between may grow

	// One that is filled fast may grow by more: a collection takes some 1.5 ns of a processor for each byte that lives, so that so many bytes
	// a second, for each time that the heap may grow, cost a twentieth of two processors, and devices start late meanwhile.
	pace = 40e6
	fast = 2.5 // by so many at most
)

// Policy is how a heap may grow.
type Policy uint8

// The policies.
const (
	// Sparing lets a heap grow by less the larger it is.
	Sparing Policy = iota
	// Generous lets any heap grow to five times what lives in it. It is for many goroutines: while the collector marks what ten of them a
	// device are made of, devices help it, and start late; with 5,000 devices a collection is some 200 ms long.
	Generous
)

// Growth is by how many times of what lives in it, in bytes, a heap may grow until it is collected, of which so many bytes a second are
// allocated.
func (p Policy) Growth(live, rate float64) float64 {
	if live <= 0 || p == Generous {
		return most
	}
	return min(most, max(least, budget/live, min(fast, rate/pace)))
}

// For is the policy of a process whose devices a client drives.
func For(client string) Policy {
	if client == "paho" {
		return Generous
	}
	return Sparing
}

// Tune keeps the collector at the Growth of what lives, which it looks at once a second, until stop is called. It leaves alone what the
// environment variable GOGC says.
func (p Policy) Tune() (stop func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	debug.SetGCPercent(int(100 * most))
	over := make(chan struct{})
	var tuning sync.WaitGroup
	tuning.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}}
		metrics.Read(sample)
		set, allocated, rate := most, sample[1].Value.Uint64(), 0.0
		for {
			select {
			case <-over:
				return
			case <-tick.C:
			}
			metrics.Read(sample)
			const share = 0.1 // of the last second in the rate: what comes every ten seconds, as queries do, counts all along
			now := sample[1].Value.Uint64()
			rate += share * (float64(now-allocated) - rate)
			allocated = now
			// A change stops the world for a moment: small ones are not worth it.
			if g := p.Growth(float64(sample[0].Value.Uint64()), rate); g < 0.9*set || g > 1.1*set {
				debug.SetGCPercent(int(100 * g))
				set = g
			}
		}
	})
	return sync.OnceFunc(func() {
		close(over)
		tuning.Wait()
	})
}
