package front

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/mqtt"
	"github.com/twinfleet/twinfleet/internal/mqtt/framing"
	"github.com/twinfleet/twinfleet/internal/nowait"
	"github.com/twinfleet/twinfleet/internal/timers"
)

// watched is the part of a connection without a goroutine: a poller calls when something has come, and a timer when nothing has.
type watched struct {
	quick  nowait.Conn // below nc
	joiner framing.Joiner
	alarm  timers.Timer

	patient bool // who reads may wait: it is no poller; under busy

	// The lock of the connection protects the following fields.
	stop     func() // ends the watch
	busy     bool   // somebody reads or cleans up; for ever once the connection is over
	more     bool   // something has come since
	heard    time.Time
	patience time.Duration // after which a connection that says nothing ends
	until    time.Time     // when it ends in any case; zero for never
}

// Take serves a connection, and closes it at its end. It returns at once, unless only a goroutine can wait for what comes.
func (f *Front) Take(nc net.Conn) {
	quick, ok := nowait.Of(nc)
	if !ok {
		f.ServeConn(nc)
		return
	}
	f.conns.Add(1)
	c := (*conn)(nil)
	if !f.faults.Refusing() {
		c = f.start(nc)
	}
	if c == nil {
		nc.Close()
		f.conns.Done()
		return
	}
	f.connections.Add(1)
	quick.SetNoWait()
	w := &watched{quick: quick, heard: time.Now(), patience: f.opts.ConnectTimeout}
	f.alarms.Init(&w.alarm, c.late)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watch = w
	stop, err := f.pollers.Watch(quick, c.readable)
	if err != nil {
		if c.reason == nil {
			c.reason = err
		}
		w.close(c)
		return
	}
	w.stop = stop
	if c.reason != nil { // the Front closes
		w.close(c)
		return
	}
	w.alarm.Reset(w.heard.Add(w.patience))
}

// end is the end of what calls for the connection. The caller holds the lock.
func (w *watched) end() {
	if w.stop != nil {
		w.stop()
	}
	w.alarm.Stop()
}

// close ends a connection that has a reason to. The caller holds the lock.
func (w *watched) close(c *conn) {
	w.end()
	if w.busy { // who is busy cleans up
		c.front.conns.Go(func() { c.nc.Close() })
		return
	}
	w.busy = true
	go c.over() // whoever closes it may hold locks
}

// over closes the connection and cleans up. Nobody reads any more.
func (c *conn) over() {
	defer c.front.conns.Done()
	c.nc.Close()
	err := c.finish(mqtt.Packet{})
	c.front.connections.Add(-1)
	c.front.ended(c, err)
}

// readable handles what has come, with a buffer of a poller's, which waits for nothing: what may wait has a goroutine of its own.
func (c *conn) readable(buffer []byte) {
	c.mu.Lock()
	if c.watch.busy {
		c.watch.more = true
		c.mu.Unlock()
		return
	}
	c.watch.busy = true
	c.mu.Unlock()
	// What comes just before a stall is served as if it had come just before.
	if c.watch.patient = c.front.opts.Waits || c.front.faults.Stalling(); c.watch.patient {
		c.front.conns.Go(func() {
			b := readBuffers.Get().(*[4 << 10]byte)
			defer readBuffers.Put(b)
			c.pull(b[:])
		})
		return
	}
	c.pull(buffer)
}

var readBuffers = sync.Pool{New: func() any { return new([4 << 10]byte) }}

// pull reads until there is no more, or the connection is over.
func (c *conn) pull(buffer []byte) {
	w := c.watch
	for {
		err := c.read(buffer)
		c.mu.Lock()
		if err != nil && c.reason == nil {
			c.reason = err
			w.end()
		}
		over, again := c.reason != nil, w.more
		w.more, w.heard = false, time.Now()
		w.busy = over || again
		c.mu.Unlock()
		switch {
		case over:
			c.over()
			return
		case !again:
			return
		}
	}
}

// read handles the packets that have come.
func (c *conn) read(buffer []byte) error {
	for {
		n, err := c.nc.Read(buffer)
		if n > 0 {
			if err := c.watch.joiner.Feed(buffer[:n], 0, c.take); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, nowait.ErrAgain):
			return nil
		case err != nil:
			return err
		}
	}
}

// take handles a packet.
func (c *conn) take(p mqtt.Packet) error {
	if c.keepAlive > 0 {
		return c.handle(p)
	}
	if err := c.handshake(p); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.watch
	w.patience, w.until = c.keepAlive, c.expiry
	if c.reason == nil {
		w.alarm.Reset(w.deadline(time.Now()))
	}
	return nil
}

// deadline is when the connection ends if nothing comes after a time. The caller holds the lock.
func (w *watched) deadline(heard time.Time) time.Time {
	end := heard.Add(w.patience)
	if !w.until.IsZero() && end.After(w.until) {
		end = w.until
	}
	return end
}

// late ends a connection of which nothing has come for too long, or whose credentials have expired. One that is busy has time.
func (c *conn) late() {
	c.mu.Lock()
	defer c.mu.Unlock()
	w, now := c.watch, time.Now()
	if c.reason != nil {
		return
	}
	if w.busy {
		w.heard = now
	}
	if end := w.deadline(w.heard); end.After(now) {
		w.alarm.Reset(end)
		return
	}
	if w.busy { // it is to end, but not in the middle of what it does
		w.alarm.Reset(now.Add(time.Second))
		return
	}
	c.reason = os.ErrDeadlineExceeded
	w.close(c)
}
