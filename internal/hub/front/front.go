// Package front is the device side of the embedded hub: MQTT 3.1.1 as Azure IoT Hub speaks it, without a
// goroutine a connection where the system tells which of them has said something. It keeps connections; what outlives them, and
// what devices do whatever they speak, is in package devices.
package front

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/deviceauth"
	"github.com/twinfleet/twinfleet/internal/hub/devices"
	"github.com/twinfleet/twinfleet/internal/hub/faults"
	"github.com/twinfleet/twinfleet/internal/hub/stream"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// Options of a Front.
type Options struct {
	Devices *devices.Table // required: what the hub remembers of devices, and their operations
	Logger  *slog.Logger   // nil logs nothing
	// Waits says that an operation of Devices may wait: for a disk, or for a tier's limits. It must be set when they keep sessions.
	Waits bool
	// ConnectTimeout is how long a connection may take to its CONNECT; 30 s when 0.
	ConnectTimeout time.Duration
	// WriteTimeout is how long a device may take to read one packet that it is sent, where a goroutine waits for that; 10 s when 0.
	// On a watched connection it has 10 s to read anything. What waits for it is bounded on either.
	WriteTimeout time.Duration
	// TokenGrace is how long after its token's expiry a connection is closed; 5 min when 0.
	// The service takes five to ten minutes (iot-hub-troubleshoot-connectivity).
	TokenGrace time.Duration
	// ThrottledCode and QuotaCode are the CONNACK return codes for a connection that a throttle sheds and
	// for one when the day's messages are used up; 3 and 5 when 0. No source says which the service sends.
	ThrottledCode, QuotaCode byte
}

func orDefault(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}

// Front serves devices. All its goroutines have ended when Close returns.
type Front struct {
	opts    Options
	log     *slog.Logger
	devices *devices.Table
	faults  *faults.Switch // of the devices

	stream *stream.Server  // of connections without a goroutine
	ctx    context.Context // ends when Close is called; its own

	// Of connections with a goroutine.
	conns  sync.WaitGroup
	closed atomic.Bool

	steps   chan *conn   // to workers that wait
	waiting atomic.Int64 // workers that wait

	startMu  sync.Mutex         // protects starting
	starting map[*conn]struct{} // those that are no device's yet; nil once the Front closes

	connections atomic.Int64

	received atomic.Uint64 // packets, of all connections
}

// New makes a Front.
func New(o Options) *Front {
	o.ConnectTimeout = orDefault(o.ConnectTimeout, 30*time.Second)
	o.WriteTimeout = orDefault(o.WriteTimeout, 10*time.Second)
	o.TokenGrace = orDefault(o.TokenGrace, 5*time.Minute)
	o.ThrottledCode = cmp.Or(o.ThrottledCode, mqtt.Unavailable)
	o.QuotaCode = cmp.Or(o.QuotaCode, mqtt.NotAuthorized)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	f := &Front{
		opts: o, devices: o.Devices, faults: o.Devices.Faults(), log: o.Logger,
		steps: make(chan *conn), starting: make(map[*conn]struct{}),
	}
	f.stream = stream.New(stream.Options{
		// What comes just before a stall is served as if it had come just before.
		Patient: func() bool { return o.Waits || f.faults.Stalling() },
	})
	f.ctx = f.stream.Context()
	return f
}

// errClosed is why connections end when the Front closes.
var errClosed = errors.New("the hub is closing")

// ServeConn serves one connection, in the goroutine that calls it, until it ends. It closes nc.
func (f *Front) ServeConn(nc net.Conn) {
	f.conns.Add(1)
	defer f.conns.Done()
	defer nc.Close()
	if f.faults.Refusing() {
		return
	}
	c := f.start(nc)
	if c == nil {
		return
	}
	f.connections.Add(1)
	err := c.serve()
	c.drained() // such as why it is refused
	f.connections.Add(-1)
	f.started(c)
	f.ended(c, err)
}

// start makes a connection that Close can end; nil when the Front closes.
func (f *Front) start(nc net.Conn) *conn {
	f.startMu.Lock()
	defer f.startMu.Unlock()
	if f.starting == nil {
		return nil
	}
	c := &conn{front: f, nc: nc, read: &reader{deep: deviceauth.TLS(nc) != nil}}
	f.starting[c] = struct{}{}
	return c
}

// started notes that a connection is its device's now, where Close finds it too.
func (f *Front) started(c *conn) {
	if c.watch != nil {
		return // stream has them all
	}
	f.startMu.Lock()
	defer f.startMu.Unlock()
	delete(f.starting, c)
}

func (f *Front) ended(c *conn, why error) {
	if f.log.Enabled(f.ctx, slog.LevelDebug) {
		f.log.Debug("connection ended", "device", c.client, "reason", why)
	}
}

// Accept serves a connection in a goroutine of the Front's, and returns at once.
func (f *Front) Accept(nc net.Conn) {
	if f.closed.Load() {
		nc.Close()
		return
	}
	f.conns.Go(func() { f.ServeConn(nc) })
}

// Close ends all connections and waits for their goroutines.
func (f *Front) Close() {
	f.closed.Store(true)
	f.startMu.Lock()
	starting := f.starting
	f.starting = nil
	f.startMu.Unlock()
	for c := range starting {
		c.Close(errClosed)
	}
	f.devices.EachOutlet(func(o devices.Outlet) {
		if c, ok := o.(*conn); ok && c.front == f {
			c.Close(errClosed)
		}
	})
	f.stream.Close()
	f.conns.Wait()
}

// Stats are numbers of the Front.
type Stats struct {
	Connections int    // sockets, also those before their CONNECT
	Packets     uint64 // received
}

// Stats tells the numbers as they are now.
func (f *Front) Stats() Stats {
	return Stats{f.stream.Connections() + int(f.connections.Load()), f.received.Load()}
}
