// Package feed carries changes of twins to the queries after a delay.
package feed

import (
	"container/heap"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// Feed lets queries see changes later than they happen, as the index of the real service
// does (query-twins: results may lag). Every change has a delay of its own, but those of one
// twin never overtake each other. One goroutine carries the changes over.
type Feed struct {
	publish func(id string, t *twin.Twin)
	lag     func() time.Duration

	wake    chan struct{} // Holds a token when an earlier change has come, or the end.
	quit    chan struct{}
	stopped chan struct{}

	mu      sync.Mutex // Protects the following fields.
	waiting changes
	last    map[string]lastChange // Of the twins with changes that wait.
	next    uint64                // Numbers the changes.
}

// change is a state of a twin that queries shall see when it is due; nil is a deletion.
type change struct {
	due time.Time
	n   uint64
	id  string
	t   *twin.Twin
}

// lastChange is the latest change of a twin.
type lastChange struct {
	due time.Time
	n   uint64
}

// changes is a heap: the change that is due next comes first.
type changes []change

func (c changes) Len() int { return len(c) }
func (c changes) Less(i, j int) bool {
	if c[i].due.Equal(c[j].due) {
		return c[i].n < c[j].n
	}
	return c[i].due.Before(c[j].due)
}
func (c changes) Swap(i, j int) { c[i], c[j] = c[j], c[i] }

// Push is for package heap alone.
func (c *changes) Push(x any) { *c = append(*c, x.(change)) }

// Pop is for package heap alone.
func (c *changes) Pop() any {
	old := *c
	n := len(old) - 1
	x := old[n]
	old[n] = change{}
	*c = old[:n]
	return x
}

// Start makes a feed that publishes each change after a lag, which is asked for at the change. Calls of either function
// do not overlap, but for one of lag with one of publish.
func Start(publish func(id string, t *twin.Twin), lag func() time.Duration) *Feed {
	f := &Feed{
		publish: publish, lag: lag, last: make(map[string]lastChange),
		wake: make(chan struct{}, 1), quit: make(chan struct{}), stopped: make(chan struct{}),
	}
	go f.run()
	return f
}

// Stop ends the goroutine and waits for it. A second call does nothing more.
func (f *Feed) Stop() {
	f.mu.Lock()
	select {
	case <-f.quit:
	default:
		close(f.quit)
	}
	f.mu.Unlock()
	<-f.stopped
}

// Add takes a change; a nil twin is a deletion. Those of one twin must come in their order.
func (f *Feed) Add(id string, t *twin.Twin) {
	f.mu.Lock()
	defer f.mu.Unlock()
	due := time.Now().Add(max(0, f.lag()))
	if last, ok := f.last[id]; ok && due.Before(last.due) {
		due = last.due
	}
	f.next++
	f.last[id] = lastChange{due, f.next}
	heap.Push(&f.waiting, change{due: due, n: f.next, id: id, t: t})
	if f.waiting[0].n == f.next {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

// run carries changes over when they are due.
func (f *Feed) run() {
	defer close(f.stopped)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-f.quit:
			return
		case <-f.wake:
		case <-timer.C:
		}
		if wait, more := f.carry(); more {
			timer.Reset(wait)
		}
	}
}

// carry lets queries see all changes that are due. It returns how long to wait for the next
// one, if there is one.
func (f *Feed) carry() (wait time.Duration, more bool) {
	for {
		c, wait, ok := f.due()
		if !ok {
			return wait, wait > 0
		}
		f.publish(c.id, c.t)
	}
}

// due takes the next change if it is due, else says how long it will be; 0 for none.
func (f *Feed) due() (c change, wait time.Duration, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.waiting) == 0 {
		return change{}, 0, false
	}
	if wait = time.Until(f.waiting[0].due); wait > 0 {
		return change{}, wait, false
	}
	c = heap.Pop(&f.waiting).(change)
	if f.last[c.id].n == c.n {
		delete(f.last, c.id)
	}
	return c, 0, true
}
