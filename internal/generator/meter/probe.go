package meter

import (
	"context"
	"slices"
	"sync"
	"time"
)

// probeEvery is how often the probe reads the clock: a hundred times a sample.
const probeEvery = 10 * time.Millisecond

// probe measures how late this process's timers fire.
type probe struct {
	mu       sync.Mutex // protects the following fields
	lateness []time.Duration
	due      time.Time // when the next wake-up is due; zero while nobody runs it
}

// run reads the clock until ctx ends.
func (p *probe) run(ctx context.Context) {
	next := time.Now().Add(probeEvery)
	timer := time.NewTimer(time.Until(next))
	defer timer.Stop()
	defer p.expect(time.Time{})
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		next = p.woke(time.Now(), next)
		p.expect(next)
		timer.Reset(time.Until(next))
	}
}

// expect says when the next wake-up is due.
func (p *probe) expect(due time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.due = due
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

// take returns the 99th percentile of what was noted since the last call, and the longest. A wake-up that is late already
// is the longest: whoever asks may have been woken first.
func (p *probe) take(now time.Time) (p99, longest time.Duration) {
	p.mu.Lock()
	all := p.lateness
	p.lateness = nil
	if !p.due.IsZero() {
		longest = max(0, now.Sub(p.due))
	}
	p.mu.Unlock()
	if len(all) == 0 {
		return 0, longest
	}
	slices.Sort(all)
	return all[(len(all)*99+99)/100-1], max(longest, all[len(all)-1])
}
