package agent

import (
	"sort"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/swarm/clock"
)

// times has times of this process as the run's clock has them. What holds of a moment is what was known of the clocks then, or first: so the
// same moment is told as the same time, whenever that is, and no clock is read for it.
type times struct {
	mu    sync.Mutex // protects the following field
	bases []base     // by time, the latest last
}

// base is what was known of the clocks from a time on.
type base struct {
	here   time.Time      // by this process's clock, which nobody sets
	ours   time.Time      // by the one that was compared with the run's
	within time.Duration  // by how much these two may not be of the same moment
	what   clock.Estimate // of that one
}

// mostBases is how many are kept: of five minutes, as one is made every few seconds.
const mostBases = 64

// add says what is known of the clocks from now on.
func (t *times) add(e clock.Estimate, ours clock.Clock) {
	x := base{here: time.Now(), ours: ours(), what: e}
	x.within = time.Since(x.here)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.bases) >= mostBases {
		t.bases = append(t.bases[:0], t.bases[len(t.bases)-mostBases+1:]...)
	}
	t.bases = append(t.bases, x)
}

// known reports whether something is known of the clocks.
func (t *times) known() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.bases) > 0
}

// told is a time as the run's clock has it, and by how much that may be wrong. While nothing is known it is the time itself.
func (t *times) told(at time.Time) (theirs time.Time, within time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.bases) == 0 {
		return at.Round(0), 0
	}
	i := sort.Search(len(t.bases), func(i int) bool { return t.bases[i].here.After(at) })
	x := &t.bases[max(0, i-1)]
	ours := x.ours.Round(0).Add(at.Sub(x.here)) // by what went by, and not by a clock that was set since
	return x.what.Theirs(ours), x.what.Within(ours) + x.within
}

// here is the time of this process that told has as a time of the run's clock, and by how much it may be wrong. Where clocks were set, several may be: it is
// the latest.
func (t *times) here(theirs time.Time) (at time.Time, within time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at = theirs
	for i := len(t.bases) - 1; i >= 0; i-- {
		x := &t.bases[i]
		ours := x.what.Ours(theirs)
		at, within = x.here.Add(ours.Sub(x.ours.Round(0))), x.what.Within(ours)+x.within
		if !at.Before(x.here) {
			break
		}
	}
	return at, within
}
