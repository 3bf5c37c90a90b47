package front

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/devices"
	"github.com/twinfleet/twinfleet/internal/hub/events"
	"github.com/twinfleet/twinfleet/internal/hub/filters"
	"github.com/twinfleet/twinfleet/internal/hub/stream"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/username"
	"github.com/twinfleet/twinfleet/internal/mqtt"
	"github.com/twinfleet/twinfleet/internal/mqtt/framing"
)

// maxKeepAlive caps the time-out of a connection: 1,767 seconds (iot-mqtt-connect-to-iot-hub).
const maxKeepAlive = 1767 * time.Second

// errDisconnect ends a connection whose client said DISCONNECT: its will is not sent.
var errDisconnect = errors.New("the client disconnected")

// conn is one connection. It has no goroutine when calls on it need not wait: see watched. Else it has a reader. Anyone may write.
type conn struct {
	front  *Front
	nc     net.Conn
	watch  *watched      // nil for a connection with a goroutine
	read   *reader       // nil for one without
	user   username.Name // without what nobody asks for again
	client string        // client id: the device id, or device/module
	will   *will         // nil for none
	auth   events.Auth   // how it showed who it is
	arrays bool          // the client may use arrays
	clean  bool          // the session ends with the connection

	keepAlive time.Duration
	expiry    time.Time // when the credentials are no longer good; zero for never

	mu      sync.Mutex // protects the following fields, and orders writes
	filters filters.Set
	nextID  uint16
}

// reader is the part of a connection with a goroutine, which runs serve: what it reads is handled by a worker, for which it waits. That of
// package stream is not used for it: it has a larger buffer and a deeper stack for each connection, and closes one only when what was
// written has gone.
type reader struct {
	deadline time.Time // of reads, that is set now
	deep     bool      // its stack is deep anyhow: it needs no worker

	// What the worker is to do, and what came of it.
	step   func(*conn, mqtt.Packet) error
	packet mqtt.Packet
	err    error
	busy   sync.WaitGroup

	// The lock of the connection protects the following fields.
	out    *stream.Outbox // nil before anything was sent
	reason error          // why the connection was closed by this side
}

var _ devices.Outlet = (*conn)(nil)

// Close ends the connection from this side; a reader wakes with an error. The first reason holds.
func (c *conn) Close(reason error) {
	if c.watch != nil {
		c.watch.stream.Close(reason)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.read.reason == nil { // TLS says good-bye, which may wait; whoever closes it must not
		c.read.reason = reason
		c.front.conns.Go(func() { c.nc.Close() })
	}
}

// serve runs the connection to its end and returns why it ended. A connection waits here for most of
// its life: what is called from here, and what stays on the stack meanwhile, decides its memory.
func (c *conn) serve() error {
	err := c.nc.SetReadDeadline(time.Now().Add(c.front.opts.ConnectTimeout))
	if err != nil {
		return err
	}
	step, reader := (*conn).handshake, framing.NewReader(c.nc)
	for {
		p, err := reader.Next()
		if err == nil {
			err = c.work(step, p)
		}
		if err == nil {
			step = (*conn).handle
			err = c.extend()
		}
		if err != nil {
			return c.work((*conn).leave, mqtt.Packet{}, err)
		}
	}
}

// leave finishes a connection with a goroutine.
func (c *conn) leave(mqtt.Packet) error {
	err := c.read.err
	c.mu.Lock()
	if c.read.reason != nil {
		err = c.read.reason
	}
	c.read.reason = err // from here on nothing is sent, and nobody else closes it
	c.mu.Unlock()
	return c.finish(err)
}

// finish cleans up after a connection that ended with an error, and returns why that was.
func (c *conn) finish(err error) error {
	switch {
	case c.keepAlive == 0: // it never came as far as to be the device's
		return err
	case errors.Is(err, io.EOF):
		err = fmt.Errorf("the client closed the connection: %w", err)
	case errors.Is(err, os.ErrDeadlineExceeded) && !c.expiry.IsZero() && !time.Now().Before(c.expiry):
		err = sas.ErrExpired
	}
	c.front.devices.Detach(c.client, c)
	if c.will != nil && !errors.Is(err, errDisconnect) {
		c.front.devices.Will(c.client, batchOf(c.auth, c.will.bag, c.will.payload))
	}
	return err
}

// extend moves the read deadline when a quarter of the keep-alive has gone by: setting it for every
// packet would cost more than reading one. The deadline is never later than the credentials' end.
func (c *conn) extend() error {
	now := time.Now()
	if c.read.deadline.Sub(now) > c.keepAlive*3/4 {
		return nil
	}
	deadline := now.Add(c.keepAlive)
	if !c.expiry.IsZero() && deadline.After(c.expiry) {
		deadline = c.expiry
	}
	if deadline.Equal(c.read.deadline) {
		return nil
	}
	c.read.deadline = deadline
	return c.nc.SetReadDeadline(deadline)
}

// stall waits while the hub stalls, unless a poller reads, for which all its connections would.
func (c *conn) stall() {
	if c.watch == nil || c.watch.patient {
		c.front.faults.Wait(c.front.ctx)
	}
}

// handle serves one packet after the CONNECT.
func (c *conn) handle(p mqtt.Packet) error {
	c.front.received.Add(1)
	c.stall()
	switch p.Type {
	case mqtt.PUBLISH:
		return c.handlePublish(p)
	case mqtt.PUBACK:
		id, err := mqtt.DecodeAck(p.Body)
		if err != nil {
			return err
		}
		return c.front.devices.Complete(c.client, c, id)
	case mqtt.SUBSCRIBE:
		return c.handleSubscribe(p.Body)
	case mqtt.UNSUBSCRIBE:
		return c.handleUnsubscribe(p.Body)
	case mqtt.PINGREQ:
		return c.write(func(b []byte) []byte { return mqtt.AppendEmpty(b, mqtt.PINGRESP) })
	case mqtt.DISCONNECT:
		return errDisconnect
	default:
		return fmt.Errorf("%w: packet type %d from a client", mqtt.ErrProtocol, p.Type)
	}
}

// buffers holds write buffers between writes.
type writeBuffer struct{ b []byte }

const keepBuffer = 4 << 10 // larger ones are left to the collector

var buffers = sync.Pool{New: func() any { return &writeBuffer{make([]byte, 0, 512)} }}

// write sends what build appends to an empty buffer. It does not wait for the device: one that does not read in time loses its
// connection, as does one for which build appends nothing, since no packet holds it.
func (c *conn) write(build func([]byte) []byte) error {
	w := buffers.Get().(*writeBuffer)
	w.b = build(w.b[:0])
	err := errUnwritable
	if len(w.b) > 0 {
		c.mu.Lock()
		err = c.send(w.b)
		c.mu.Unlock()
	}
	if cap(w.b) <= keepBuffer {
		buffers.Put(w)
	}
	if err != nil {
		c.Close(fmt.Errorf("writing to the device: %w", err))
	}
	return err
}

// answer is write for acknowledgements and responses, which a fault may drop.
func (c *conn) answer(build func([]byte) []byte) error {
	if c.front.faults.Dropping() {
		return nil
	}
	return c.write(build)
}

// publish sends a message with QoS 0.
func (c *conn) publish(topic string, payload []byte) error {
	return c.answer(func(b []byte) []byte { return mqtt.AppendPublish(b, topic, payload, 0, false, false, 0) })
}

// Listens reports whether the device has a filter for a kind.
func (c *conn) Listens(kind devices.Kind) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return devices.Listens(c.filters, kind)
}

func (c *conn) handleSubscribe(body []byte) error {
	var codes []byte
	var bad error
	messages := false
	id, err := mqtt.DecodeSubscribe(body, func(s mqtt.Subscription) {
		kind, ok := filters.KindOf(string(s.Filter), c.user)
		if !ok {
			bad = fmt.Errorf("unsupported topic filter %q", s.Filter)
			return
		}
		qos := min(s.QoS, 1)
		c.mu.Lock()
		c.filters[kind] = qos + 1
		c.mu.Unlock()
		messages = messages || kind == filters.C2D || kind == filters.Module || kind == filters.ModuleInputs
		codes = append(codes, qos)
	})
	if err := errors.Join(err, bad); err != nil {
		return err
	}
	if err := c.keepSession(); err != nil {
		return err
	}
	if err := c.write(func(b []byte) []byte { return mqtt.AppendSuback(b, id, codes...) }); err != nil {
		return err
	}
	if messages {
		return c.deliver()
	}
	return nil
}

func (c *conn) handleUnsubscribe(body []byte) error {
	id, err := mqtt.DecodeUnsubscribe(body, func(filter []byte) {
		if kind, ok := filters.KindOf(string(filter), c.user); ok {
			c.mu.Lock()
			c.filters[kind] = 0
			c.mu.Unlock()
		}
	})
	if err != nil {
		return err
	}
	if err := c.keepSession(); err != nil {
		return err
	}
	return c.write(func(b []byte) []byte { return mqtt.AppendAck(b, mqtt.UNSUBACK, id) })
}

// keepSession copies the filters into the session, which outlives the connection unless it is clean, and returns when it is kept.
func (c *conn) keepSession() error {
	if c.clean {
		return nil
	}
	c.mu.Lock()
	set := c.filters
	c.mu.Unlock()
	return c.front.devices.Keep(c.client, c, set)
}
