// Package servicetime is a model of the time that a hub takes for its operations: a queue with so many servers.
package servicetime

import (
	"container/heap"
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Model is the time that operations take: servers that work off one queue in the
// order of arrival. An operation is carried out and answered when its service is over.
//
//	reports, reads ──▶ queue ──▶ server 1 … server c ──▶ answers
//
// With Poisson arrivals it is M/M/c, or M/D/c when Exponential is false.
type Model struct {
	Servers     int           // at least 1
	Time        time.Duration // mean of one operation
	Exponential bool          // service times are exponential; else all are Time
	Seed        uint64        // the n-th operation's time follows from it
}

// Queue is the queue before the servers of a Model. Without a model nothing waits in it. As the times of service depend on nothing but
// chance, an operation's end is known when it arrives: the first server that is free takes it then. So no
// server has a goroutine that would wake up late; one goroutine waits for the next end while there is one.
type Queue struct {
	ctx        context.Context // ends the goroutines
	goroutines *sync.WaitGroup // waits for them

	active atomic.Int64 // a model is set, or operations are in the queue: counted so that an idle queue costs nothing

	mu      sync.Mutex // protects the following fields
	model   *Model
	chance  *rand.Rand
	free    []time.Time // when each server is
	arrived uint64
	jobs    jobs
	lines   map[string]*line
	running bool
	wake    chan struct{} // the next end has changed
}

// line is the operations of one device, by its name. Those of a device are carried out in the order of their arrival, also
// when one of them takes longer than the next.
type line struct {
	name  string
	open  int       // operations that are not over
	last  time.Time // when the last of them is to end
	ready []job     // those that are to be carried out now
	busy  bool      // somebody carries them out
}

// job is one operation in the queue.
type job struct {
	ends   time.Time
	number uint64 // in the order of arrival
	line   *line
	do     func()
}

// jobs is a heap: the job that ends first comes first.
type jobs []job

func (j jobs) Len() int { return len(j) }
func (j jobs) Less(a, b int) bool {
	if !j[a].ends.Equal(j[b].ends) {
		return j[a].ends.Before(j[b].ends)
	}
	return j[a].number < j[b].number
}
func (j jobs) Swap(a, b int) { j[a], j[b] = j[b], j[a] }
func (j *jobs) Push(x any)   { *j = append(*j, x.(job)) }
func (j *jobs) Pop() any {
	last := (*j)[len(*j)-1]
	(*j)[len(*j)-1] = job{}
	*j = (*j)[:len(*j)-1]
	return last
}

// New makes a queue without a model, whose goroutines end with ctx and are counted by a wait group.
func New(ctx context.Context, goroutines *sync.WaitGroup) *Queue {
	return &Queue{ctx: ctx, goroutines: goroutines, lines: make(map[string]*line), wake: make(chan struct{}, 1)}
}

// Serve lets operations take the time of a model, from now on. With nil they take none: what is in the queue is
// carried out at once.
func (q *Queue) Serve(s *Model) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if (q.model == nil) != (s == nil) {
		q.active.Add(map[bool]int64{true: 1, false: -1}[s != nil])
	}
	q.model = nil
	if s != nil {
		model := *s
		model.Servers = max(1, model.Servers)
		q.model, q.chance, q.free = &model, rand.New(rand.NewPCG(model.Seed, 0)), make([]time.Time, model.Servers)
		return
	}
	now := time.Now()
	for i := range q.jobs { // in the order of arrival, which is that of each device too
		q.jobs[i].ends = now
		q.jobs[i].line.last = now
	}
	heap.Init(&q.jobs)
	q.poke()
}

// poke tells the goroutine of the queue that the next end has changed. The caller holds the lock.
func (q *Queue) poke() {
	if q.running {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
}

// Idle reports whether there is no model and nothing waits: no operation need enter.
func (q *Queue) Idle() bool { return q.active.Load() == 0 }

// Enter puts an operation of a device into the queue, which carries it out when its service is over; it is false when
// the operation need not wait. Those of a device are carried out one after the other, in the order in which they entered.
func (q *Queue) Enter(device string, do func()) bool {
	now := time.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.lines[device]
	if q.model == nil && l == nil {
		return false
	}
	if l == nil {
		l = &line{name: device}
		q.lines[device] = l
	}
	ends := now
	if q.model != nil {
		ends = q.end(now)
	}
	if ends.Before(l.last) {
		ends = l.last
	}
	l.last = ends
	l.open++
	q.arrived++
	q.active.Add(1)
	heap.Push(&q.jobs, job{ends, q.arrived, l, do})
	if !q.running {
		q.running = true
		q.goroutines.Go(q.run)
		return true
	}
	if q.jobs[0].number == q.arrived {
		q.poke()
	}
	return true
}

// end is when the service of an operation ends that arrives now. The caller holds the lock.
func (q *Queue) end(now time.Time) time.Time {
	first := 0
	for i, at := range q.free {
		if at.Before(q.free[first]) {
			first = i
		}
	}
	took := q.model.Time
	if q.model.Exponential {
		took = time.Duration(q.chance.ExpFloat64() * float64(took))
	}
	begins := q.free[first]
	if begins.Before(now) {
		begins = now
	}
	q.free[first] = begins.Add(took)
	return q.free[first]
}

// run hands out what has ended until nothing is in the queue, or ctx ends.
func (q *Queue) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		q.mu.Lock()
		now := time.Now()
		for len(q.jobs) > 0 && !q.jobs[0].ends.After(now) {
			q.ready(heap.Pop(&q.jobs).(job))
		}
		if len(q.jobs) == 0 {
			q.running = false
			q.mu.Unlock()
			return
		}
		timer.Reset(q.jobs[0].ends.Sub(now))
		q.mu.Unlock()
		select {
		case <-timer.C:
		case <-q.wake:
		case <-q.ctx.Done():
			return // and with it all that would be answered
		}
	}
}

// ready lets an operation be carried out. A device that does not read its answers holds up itself alone. The caller
// holds the lock.
func (q *Queue) ready(j job) {
	j.line.ready = append(j.line.ready, j)
	if !j.line.busy {
		j.line.busy = true
		q.goroutines.Go(func() { q.carryOut(j.line) })
	}
}

// carryOut carries out what is ready of a device, one after the other.
func (q *Queue) carryOut(l *line) {
	for {
		q.mu.Lock()
		if len(l.ready) == 0 {
			l.busy = false
			q.mu.Unlock()
			return
		}
		j := l.ready[0]
		l.ready = l.ready[1:]
		q.mu.Unlock()
		j.do()
		q.mu.Lock()
		q.active.Add(-1)
		if l.open--; l.open == 0 {
			delete(q.lines, l.name)
		}
		q.mu.Unlock()
	}
}
