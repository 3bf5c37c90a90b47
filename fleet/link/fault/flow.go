package fault

import (
	"sync"
	"time"
)

// maxUnderWay bounds the bytes of one direction that are under way, as a window does.
const maxUnderWay = 64 << 10

// chunk is bytes that arrive at a time.
type chunk struct {
	at time.Time
	b  []byte
}

// flow is what is under way in one direction. It is safe for concurrent use by one who puts in and one
// who takes out.
type flow struct {
	mu     sync.Mutex // protects the following fields
	chunks []chunk
	size   int
	free   time.Time     // when the narrow part of the line is free
	room   chan struct{} // closed when something was taken; nil when nobody waits
	more   chan struct{} // closed when something was put in, came due or ended; nil when nobody waits
	timer  *time.Timer   // closes more when the first chunk is due
	err    error         // what follows the last chunk
}

func newFlow() *flow { return &flow{} }

// push puts a copy of b into the flow. When there is no room it returns what to wait for instead.
func (f *flow) push(b []byte, delay time.Duration, bandwidth float64) (room <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.size > 0 && f.size+len(b) > maxUnderWay {
		if f.room == nil {
			f.room = make(chan struct{})
		}
		return f.room
	}
	now := time.Now()
	if f.free.Before(now) {
		f.free = now
	}
	if bandwidth > 0 {
		f.free = f.free.Add(time.Duration(float64(len(b)) / bandwidth * float64(time.Second)))
	}
	at := f.free.Add(delay)
	if n := len(f.chunks); n > 0 && at.Before(f.chunks[n-1].at) {
		at = f.chunks[n-1].at // nothing overtakes
	}
	f.chunks = append(f.chunks, chunk{at, append([]byte(nil), b...)})
	f.size += len(b)
	f.tell()
	return nil
}

// take takes what is due: as much as fits into b, or the whole chunk when b is nil. When nothing is due it
// returns what to wait for.
func (f *flow) take(b []byte) (taken []byte, more <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.chunks) > 0 {
		first := &f.chunks[0]
		due := time.Until(first.at)
		if due <= 0 {
			if b == nil {
				taken = first.b
			} else {
				taken = b[:copy(b, first.b)]
			}
			f.taken(len(taken))
			return taken, nil
		}
		if f.timer != nil {
			f.timer.Stop()
		}
		f.timer = time.AfterFunc(due, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.tell()
		})
	}
	if f.more == nil {
		f.more = make(chan struct{})
	}
	return nil, f.more
}

// taken removes n bytes of the first chunk.
func (f *flow) taken(n int) {
	first := &f.chunks[0]
	first.b = first.b[n:]
	f.size -= n
	if len(first.b) == 0 {
		f.chunks = f.chunks[1:]
	}
	if f.room != nil {
		close(f.room)
		f.room = nil
	}
}

// tell wakes who waits for more.
func (f *flow) tell() {
	if f.more != nil {
		close(f.more)
		f.more = nil
	}
}

func (f *flow) empty() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.chunks) == 0
}

// end says what follows the last chunk.
func (f *flow) end(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
	f.tell()
}

// ended is what follows the last chunk, once all were taken.
func (f *flow) ended() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.chunks) > 0 {
		return nil
	}
	return f.err
}

// deadline is a time after which a wait is over. The zero value never is.
type deadline struct {
	mu    sync.Mutex // protects the following fields
	timer *time.Timer
	over  chan struct{}
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	over := make(chan struct{})
	waited := d.over
	d.over = over
	if waited != nil {
		select {
		case <-waited:
		default:
			close(waited) // who waits checks once more
		}
	}
	switch left := time.Until(t); {
	case t.IsZero():
		d.over = nil
	case left <= 0:
		close(over)
	default:
		d.timer = time.AfterFunc(left, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.over == over {
				select {
				case <-over:
				default:
					close(over)
				}
			}
		})
	}
}

// wait is closed when the deadline has passed; nil when there is none.
func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.over
}
