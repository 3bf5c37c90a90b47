package front

import (
	"errors"
	"net"
	"os"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/stream"
	"github.com/twinfleet/twinfleet/internal/mqtt"
	"github.com/twinfleet/twinfleet/internal/mqtt/framing"
	"github.com/twinfleet/twinfleet/internal/nowait"
)

// watched is the part of a connection without a goroutine: package stream feeds what has come, and calls when nothing has.
type watched struct {
	stream *stream.Conn
	quick  nowait.Conn // below nc
	joiner framing.Joiner

	patient bool // who feeds may wait: it is no poller; of who feeds

	// The lock of the connection protects the following fields.
	patience time.Duration // after which a connection that says nothing ends
	until    time.Time     // when it ends in any case; zero for never
}

var _ stream.Handler = (*conn)(nil)

// Take serves a connection, and closes it at its end. It returns at once, unless only a goroutine can wait for what comes.
func (f *Front) Take(nc net.Conn) {
	quick, ok := nowait.Of(nc)
	if !ok {
		f.ServeConn(nc)
		return
	}
	if f.faults.Refusing() {
		nc.Close()
		return
	}
	f.stream.Take(nc, func(s *stream.Conn) stream.Handler {
		return &conn{front: f, nc: nc, watch: &watched{stream: s, quick: quick, patience: f.opts.ConnectTimeout}}
	})
}

// Begin implements stream.Handler.
func (c *conn) Begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.arm()
}

// Feed implements stream.Handler.
func (c *conn) Feed(b []byte, patient bool) error {
	c.watch.patient = patient
	return c.watch.joiner.Feed(b, 0, c.take)
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
	c.watch.patience, c.watch.until = c.keepAlive, c.expiry
	c.arm()
	return nil
}

// arm sets when Alarm is called if nothing comes until then. The caller holds the lock.
func (c *conn) arm() { c.watch.stream.Wake(c.watch.deadline(time.Now())) }

// deadline is when the connection ends if nothing comes after a time. The caller holds the lock.
func (w *watched) deadline(heard time.Time) time.Time {
	end := heard.Add(w.patience)
	if !w.until.IsZero() && end.After(w.until) {
		end = w.until
	}
	return end
}

// Alarm implements stream.Handler: it ends a connection of which nothing has come for too long, or whose credentials have expired. One
// that is busy has time.
func (c *conn) Alarm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	w, now := c.watch, time.Now()
	heard, busy := w.stream.Heard()
	if busy {
		heard = now
	}
	switch end := w.deadline(heard); {
	case end.After(now):
		w.stream.Wake(end)
	case busy: // it is to end, but not in the middle of what it does
		w.stream.Wake(now.Add(time.Second))
	default:
		w.stream.Close(os.ErrDeadlineExceeded)
	}
}

// Ended implements stream.Handler.
func (c *conn) Ended(why error) {
	if errors.Is(why, stream.ErrClosed) {
		why = errClosed
	}
	c.front.ended(c, c.finish(why))
}
