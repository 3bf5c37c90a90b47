package meter

import (
	"context"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/generator"
	"github.com/twinfleet/twinfleet/internal/host"
)

// peakEvery is how finely the use of processors is sampled: a burst is over within a second.
const peakEvery = 250 * time.Millisecond

// peaks keeps how many processors were in use in the busiest quarter of a second.
type peaks struct {
	mu           sync.Mutex // protects the following fields
	machine, own float64
}

// used is how much of the processors was used until a time.
type used struct {
	at           time.Time
	machine, own time.Duration
}

// run samples until ctx ends.
func (p *peaks) run(ctx context.Context) {
	tick := time.NewTicker(peakEvery)
	defer tick.Stop()
	before := useNow()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := useNow()
		p.add(before, now)
		before = now
	}
}

func useNow() used { return used{time.Now(), host.Count().Busy, host.OwnTime()} }

// add takes what was used between two times. What is too short to tell is passed over.
func (p *peaks) add(from, to used) {
	elapsed := to.at.Sub(from.at)
	if elapsed < generator.Briefest || to.machine == 0 || from.machine == 0 {
		return
	}
	machine, own := float64(to.machine-from.machine)/float64(elapsed), float64(to.own-from.own)/float64(elapsed)
	p.mu.Lock()
	defer p.mu.Unlock()
	if machine > p.machine || (machine == p.machine && own > p.own) {
		p.machine, p.own = machine, own
	}
}

// take returns the busiest quarter of a second since the last call.
func (p *peaks) take() (machine, own float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	machine, own = p.machine, p.own
	p.machine, p.own = 0, 0
	return machine, own
}
