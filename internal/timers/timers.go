// Package timers is many times to wait for on few timers of the runtime: what a hundred thousand devices wait for costs each of
// them a place in a heap, and not a timer of its own.
package timers

import (
	"sync"
	"sync/atomic"
	"time"
)

// shards is how many heaps there are: their locks are held for microseconds, by who sets a time and by who fires it.
const shards = 32

// Set is times to wait for. The zero value is ready. It has no goroutine of its own: as long as something is due later there is a
// timer of the runtime for each heap.
type Set struct {
	next   atomic.Uint32
	shards [shards]shard
}

// Timer is a time that somebody waits for. It must not be copied after Init, and belongs to one Set.
type Timer struct {
	fire  func()
	shard *shard
	at    time.Time
	place int // in the heap, from 1; 0 when it is in none
}

// Init makes a timer that calls fire, from a goroutine of the set and without a lock, when its time has come. fire must not block:
// others wait for it.
func (s *Set) Init(t *Timer, fire func()) {
	t.fire, t.shard = fire, &s.shards[s.next.Add(1)%shards]
}

// Reset sets the time, in place of one that was set before. A call of fire that is under way is not undone.
func (t *Timer) Reset(at time.Time) {
	s := t.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.place == 0 {
		t.at = at
		s.heap = append(s.heap, t)
		t.place = len(s.heap)
		s.up(t.place)
	} else {
		earlier := at.Before(t.at)
		t.at = at
		if earlier {
			s.up(t.place)
		} else {
			s.down(t.place)
		}
	}
	s.arm()
}

// Stop takes the time away. A call of fire that is under way is not waited for.
func (t *Timer) Stop() {
	if t.shard == nil {
		return // it was never made
	}
	t.shard.mu.Lock()
	defer t.shard.mu.Unlock()
	if t.place > 0 {
		t.shard.remove(t.place)
		t.shard.arm()
	}
}

// shard is a heap of times, the earliest first, with one timer of the runtime.
type shard struct {
	mu     sync.Mutex
	heap   []*Timer
	timer  *time.Timer
	armed  time.Time // what timer waits for; zero for nothing
	firing bool      // a goroutine fires what is due, and arms the timer when it is done
}

// arm sets the timer of the runtime to the earliest time. The caller holds the lock.
func (s *shard) arm() {
	switch {
	case s.firing:
	case len(s.heap) == 0:
		if !s.armed.IsZero() {
			s.timer.Stop()
			s.armed = time.Time{}
		}
	case !s.armed.Equal(s.heap[0].at):
		s.armed = s.heap[0].at
		if s.timer == nil {
			s.timer = time.AfterFunc(time.Until(s.armed), s.fire)
		} else {
			s.timer.Reset(time.Until(s.armed))
		}
	}
}

// fire calls what is due.
func (s *shard) fire() {
	s.mu.Lock()
	if s.firing {
		s.mu.Unlock()
		return
	}
	s.firing, s.armed = true, time.Time{}
	for now := time.Now(); len(s.heap) > 0; {
		if t := s.heap[0]; t.at.After(now) {
			if now = time.Now(); t.at.After(now) {
				break
			}
		}
		t := s.heap[0]
		s.remove(1)
		s.mu.Unlock()
		t.fire()
		s.mu.Lock()
	}
	s.firing = false
	s.arm()
	s.mu.Unlock()
}

// remove takes the timer at a place, from 1, out of the heap.
func (s *shard) remove(place int) {
	last := len(s.heap)
	s.heap[place-1].place = 0
	if place != last {
		s.heap[place-1] = s.heap[last-1]
		s.heap[place-1].place = place
	}
	s.heap[last-1] = nil
	s.heap = s.heap[:last-1]
	if place != last {
		s.down(place)
		s.up(place)
	}
}

func (s *shard) swap(a, b int) {
	h := s.heap
	h[a-1], h[b-1] = h[b-1], h[a-1]
	h[a-1].place, h[b-1].place = a, b
}

func (s *shard) before(a, b int) bool { return s.heap[a-1].at.Before(s.heap[b-1].at) }

func (s *shard) up(place int) {
	for place > 1 && s.before(place, place/2) {
		s.swap(place, place/2)
		place /= 2
	}
}

func (s *shard) down(place int) {
	for {
		child := 2 * place
		if child > len(s.heap) {
			return
		}
		if child < len(s.heap) && s.before(child+1, child) {
			child++
		}
		if !s.before(child, place) {
			return
		}
		s.swap(place, child)
		place = child
	}
}
