// Package fault is the network between devices and their target when it is bad: slow, narrow, lossy,
// cut off. It wraps transports below TLS and WebSocket, so that drivers see what they would see on a
// bad network. While no fault is active it costs a load of a pointer for each read and write.
package fault

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/schedule/chance"
)

// Fault is one thing that is wrong with the network for a while. The zero value is nothing.
type Fault struct {
	Covers    func(index int) bool // the devices that it is for; nil for all
	Latency   time.Duration        // one way, in each direction; dialling takes a round trip more
	Jitter    time.Duration        // up to so much more, evenly random; nothing overtakes
	Loss      float64              // the probability with which a write of a device resets its connection
	Bandwidth float64              // bytes a second of each connection in each direction; 0 for no limit
	// HalfOpen is the share of the devices whose connections, as they are when the fault begins, go dead for
	// good: what is sent vanishes, nothing arrives, and nobody says so. New connections work.
	HalfOpen float64
	// Partition is the share of the devices from and to which nothing passes while the fault lasts. What
	// was sent meanwhile arrives after it.
	Partition float64
}

// rule is a fault that is active.
type rule struct {
	Fault
	round int64 // counts faults, so that chance hits others each time
	over  chan struct{}
}

func (r *rule) covers(index int) bool { return r.Covers == nil || r.Covers(index) }

// Network is the network between a fleet and its target. It is safe for concurrent use.
type Network struct {
	loss, jitter, dead, apart chance.Stream
	lines                     []line
	active                    atomic.Pointer[[]*rule] // nil when there is none

	mu      sync.Mutex // protects the following fields
	round   int64
	running sync.WaitGroup // goroutines of connections
}

// line is what belongs to one device, whichever connection it has.
type line struct {
	conn           atomic.Pointer[conn]
	writes, chunks atomic.Int64
}

// New is a good network for devices with indexes from 0 to devices-1. Whom faults hit follows from the seed.
func New(seed uint64, devices int) *Network {
	return &Network{
		loss: chance.NewStream(seed, "loss"), jitter: chance.NewStream(seed, "jitter"),
		dead: chance.NewStream(seed, "half-open"), apart: chance.NewStream(seed, "partition"), lines: make([]line, devices),
	}
}

// Begin makes a fault active until end is called, which may be called more than once.
func (n *Network) Begin(f Fault) (end func()) {
	n.mu.Lock()
	n.round++
	r := &rule{Fault: f, round: n.round, over: make(chan struct{})}
	n.change(func(rules []*rule) []*rule { return append(rules, r) })
	n.mu.Unlock()
	if f.HalfOpen > 0 {
		for i := range n.lines {
			if c := n.lines[i].conn.Load(); c != nil && r.covers(i) && n.dead.Unit(i, r.round) < f.HalfOpen {
				c.dead.Store(true)
			}
		}
	}
	return sync.OnceFunc(func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.change(func(rules []*rule) []*rule {
			var left []*rule
			for _, x := range rules {
				if x != r {
					left = append(left, x)
				}
			}
			return left
		})
		close(r.over)
	})
}

// change replaces the list of active faults; nobody sees it half done.
func (n *Network) change(edit func([]*rule) []*rule) {
	var now []*rule
	if p := n.active.Load(); p != nil {
		now = append(now, *p...)
	}
	now = edit(now)
	if len(now) == 0 {
		n.active.Store(nil)
		return
	}
	n.active.Store(&now)
}

// Wait waits until all connections have ended that were closed.
func (n *Network) Wait() { n.running.Wait() }

// partition is closed when the device is no longer cut off; nil when it is not.
func (n *Network) partition(index int) <-chan struct{} {
	rules := n.active.Load()
	if rules == nil {
		return nil
	}
	for _, r := range *rules {
		if r.Partition > 0 && r.covers(index) && n.apart.Unit(index, r.round) < r.Partition {
			return r.over
		}
	}
	return nil
}

// lost draws whether a write of a device resets its connection.
func (n *Network) lost(index int) bool {
	rules := n.active.Load()
	if rules == nil {
		return false
	}
	passes := 1.0
	for _, r := range *rules {
		if r.covers(index) {
			passes *= 1 - r.Loss
		}
	}
	return passes < 1 && n.loss.Unit(index, n.lines[index].writes.Add(1)) >= passes
}

// slowness is how long a chunk of a device is under way, and the bytes a second that pass; 0 for no limit.
func (n *Network) slowness(index int) (delay time.Duration, bandwidth float64) {
	rules := n.active.Load()
	if rules == nil {
		return 0, 0
	}
	var jitter time.Duration
	for _, r := range *rules {
		if !r.covers(index) {
			continue
		}
		delay += r.Latency
		jitter += r.Jitter
		if r.Bandwidth > 0 && (bandwidth == 0 || r.Bandwidth < bandwidth) {
			bandwidth = r.Bandwidth
		}
	}
	if jitter > 0 {
		delay += time.Duration(n.jitter.Unit(index, n.lines[index].chunks.Add(1)) * float64(jitter))
	}
	return delay, bandwidth
}

// Dial is how the device of an index dials on this network.
func (n *Network) Dial(index int, dial link.Dialer) link.Dialer {
	return func(ctx context.Context) (net.Conn, error) {
		if err := n.reach(ctx, index); err != nil {
			return nil, err
		}
		nc, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		c := &conn{Conn: nc, network: n, index: index, closed: make(chan struct{}), gone: make(chan struct{})}
		n.lines[index].conn.Store(c)
		return c, nil
	}
}

// reach takes as long as a dialling device needs to reach the target, beyond what a good network takes.
func (n *Network) reach(ctx context.Context, index int) error {
	if n.active.Load() == nil {
		return nil
	}
	for over := n.partition(index); over != nil; over = n.partition(index) {
		select {
		case <-over:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	there, _ := n.slowness(index)
	back, _ := n.slowness(index)
	return wait.For(ctx, there+back)
}
