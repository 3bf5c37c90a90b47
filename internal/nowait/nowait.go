// Package nowait is connections that nobody waits for: a goroutine for each processor reads what has come on any of them, so that a
// connection on which nothing happens costs neither a goroutine nor a buffer.
package nowait

import (
	"crypto/tls"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
)

// Conn is a connection that can be made one on which no call waits.
type Conn interface {
	net.Conn
	// SetNoWait has Write keep what the other side does not take, and send it later; and Read return ErrAgain instead of waiting.
	// Nobody else may use the connection meanwhile.
	SetNoWait()
	// Kept is how many bytes the other side has yet to take; 0 when nothing waits.
	Kept() int
	// Watch has a poller tell w whenever there may be something to read, from now on and until stop is called, before the connection is
	// closed. An error says that this connection cannot be watched.
	Watch(p *Poller, w *Watched) (stop func(), err error)
}

// Through is a connection that hands on what the one below gives, and so goes on reading where that stopped because there was no more.
type Through interface{ Through() net.Conn }

// Of is the Conn at the bottom of a connection that goes on reading where it stopped, as TLS does; ok is false when there is none, or
// when what lies between does not: a WebSocket.
func Of(nc net.Conn) (c Conn, ok bool) {
	for {
		switch x := nc.(type) {
		case Conn:
			return x, true
		case *tls.Conn:
			nc = x.NetConn()
		case Through:
			nc = x.Through()
		default:
			return nil, false
		}
	}
}

// again is why nothing was read.
type again struct{}

func (again) Error() string   { return "nothing to read yet" }
func (again) Timeout() bool   { return false }
func (again) Temporary() bool { return true } // with which crypto/tls goes on later

// ErrAgain is returned by Read when there is nothing to read. It is a net.Error, and temporary.
var ErrAgain net.Error = again{}

// readBuffer is how much is read at once, by each poller.
const readBuffer = 32 << 10

// Pollers are as many as the program has processors. The zero value is ready. They run while there is something to watch.
type Pollers struct {
	once sync.Once
	all  []*Poller
	next atomic.Uint32
}

// Watch has one of the pollers call readable, with a buffer of its own, whenever there may be something to read: one call at a time
// for each connection. After stop there is no further call, but one may be under way.
func (ps *Pollers) Watch(c Conn, readable func(buffer []byte)) (stop func(), err error) {
	ps.once.Do(func() {
		for range runtime.GOMAXPROCS(0) {
			ps.all = append(ps.all, new(Poller))
		}
	})
	p := ps.all[int(ps.next.Add(1))%len(ps.all)]
	w := &Watched{poller: p, readable: readable}
	p.begin()
	unwatch, err := c.Watch(p, w)
	if err != nil {
		p.end()
		return nil, err
	}
	w.Later() // for what has come before
	return sync.OnceFunc(func() {
		unwatch()
		p.end()
	}), nil
}

// Watched is a connection that somebody watches.
type Watched struct {
	poller   *Poller
	readable func([]byte)
	queued   atomic.Bool
	reading  sync.Mutex
}

// Now has what came read by the caller, into its buffer.
func (w *Watched) Now(buffer []byte) {
	w.reading.Lock()
	defer w.reading.Unlock()
	w.readable(buffer)
}

// Later has it read by the poller.
func (w *Watched) Later() {
	if w.queued.Swap(true) {
		return
	}
	p := w.poller
	p.mu.Lock()
	p.queue = append(p.queue, w)
	p.mu.Unlock()
	p.wake.Signal()
}

// Poller is goroutines that read: one what the kernel tells of, and one what is in the queue.
type Poller struct {
	mu      sync.Mutex // protects the following fields
	queue   []*Watched
	n       int        // what it watches
	running bool       // there is a goroutine
	wake    *sync.Cond // there is something in the queue, or nothing is watched
	system  system
}

// begin counts something to be watched, and starts the goroutine for the first.
func (p *Poller) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n++
	if p.wake == nil {
		p.wake = sync.NewCond(&p.mu)
	}
	if !p.running {
		p.running = true
		go p.run()
	}
}

// end counts it off. Without anything to watch the goroutine ends.
func (p *Poller) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n--
	if p.n == 0 {
		p.wake.Signal()
		p.system.close()
	}
}

// run reads what is in the queue until nothing is watched.
func (p *Poller) run() {
	buffer := make([]byte, readBuffer)
	var batch []*Watched
	for {
		p.mu.Lock()
		for len(p.queue) == 0 && p.n > 0 {
			p.wake.Wait()
		}
		if len(p.queue) == 0 {
			p.running = false
			p.mu.Unlock()
			return
		}
		batch, p.queue = p.queue, batch[:0]
		p.mu.Unlock()
		for i, w := range batch {
			w.queued.Store(false)
			w.Now(buffer)
			batch[i] = nil
		}
	}
}
