package generator

import (
	"context"
	"slices"
	"sync"
	"time"
)

// probeEvery is how often the probe looks at the clock: a hundred times a sample.
const probeEvery = 10 * time.Millisecond

// probe measures how late this process's timers fire.
type probe struct {
	mu       sync.Mutex // protects lateness
	lateness []time.Duration
}

// run looks at the clock until ctx ends.
func (p *probe) run(ctx context.Context) {
	next := time.Now().Add(probeEvery)
	timer := time.NewTimer(time.Until(next))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		next = p.woke(time.Now(), next)
		timer.Reset(time.Until(next))
	}
}

// mostLate bounds what is noted between two samples: what comes after a pause of minutes tells no more.
const mostLate = 10_000

// woke notes by how much the wake-up was late, and all others that should have come meanwhile: a pause
// of a second is a hundred late wake-ups, not one. It returns the time of the next.
func (p *probe) woke(now, due time.Time) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	for ; !due.After(now); due = due.Add(probeEvery) {
		if len(p.lateness) < mostLate {
			p.lateness = append(p.lateness, now.Sub(due))
		}
	}
	return due
}

// take returns the 99th percentile of what was noted since the last call, and the longest.
func (p *probe) take() (p99, longest time.Duration) {
	p.mu.Lock()
	all := p.lateness
	p.lateness = nil
	p.mu.Unlock()
	if len(all) == 0 {
		return 0, 0
	}
	slices.Sort(all)
	return all[(len(all)*99+99)/100-1], all[len(all)-1]
}
