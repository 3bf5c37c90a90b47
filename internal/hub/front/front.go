// Package front is the device side of the embedded hub: MQTT 3.1.1 as Azure IoT Hub speaks it, without a
// goroutine a connection where the system tells which of them has said something. It keeps connections and sessions; identities and
// twins are the backend's.
package front

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"hash/maphash"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/c2d"
	"github.com/twinfleet/twinfleet/internal/hub/calls"
	"github.com/twinfleet/twinfleet/internal/hub/deviceauth"
	"github.com/twinfleet/twinfleet/internal/hub/faults"
	"github.com/twinfleet/twinfleet/internal/hub/filters"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/mqtt"
	"github.com/twinfleet/twinfleet/internal/nowait"
	"github.com/twinfleet/twinfleet/internal/timers"
)

// Backend is what the front needs of the hub. A device or a module is known by its client id: the device id, or device/module.
// Errors that are *iothub.Error reach the device.
type Backend interface {
	// Credentials of a device or a module, its own; iothub.ErrDeviceNotFound for an unknown one. A module of a disabled device
	// is disabled.
	Credentials(client string) (registry.Credentials, error)
	// DeviceTwin is the device's view of its twin, as JSON.
	DeviceTwin(client string) ([]byte, error)
	// Report merges a patch into the reported properties, if their version is expect or expect is
	// negative, and returns the new version. arrays says whether the client may use arrays.
	Report(ctx context.Context, client string, patch []byte, expect int64, arrays bool) (int64, error)
	// Connected tells of a device that came or went. Calls for one device come in order.
	Connected(client string, connected bool)
	// Active tells that a device sent something.
	Active(client string)
	// Telemetry takes a message of a device, and returns when it may be acknowledged: until then it may wait for a disk.
	Telemetry(ctx context.Context, client string, m Message) error
	// QueueLength tells how many cloud-to-device messages wait for a device.
	QueueLength(client string, n int)
	// ModelID takes the model that a device names when it connects, and returns when it is kept.
	ModelID(ctx context.Context, client, model string) error
}

// Keeper keeps sessions and messages when the program ends. Rows are written in the order of the calls: when one is durable, so are
// those before it.
type Keeper interface {
	// Put keeps a row, or with nil none. It waits for nobody; the function that it returns waits until that is durable.
	Put(bucket, key string, value []byte) (durable func(context.Context) error)
	// Rows hands over what is kept in a bucket, in the order of the keys.
	Rows(ctx context.Context, bucket string, each func(key string, value []byte) error) error
}

// Message is a device's telemetry message. Its payload is the receiver's to keep.
type Message struct {
	Properties topics.Bag // of the topic, and those that the hub adds
	Payload    []byte     // as it came
	Received   time.Time  // when the hub took it
	Will       bool       // it is a will, sent for a device that went without DISCONNECT
}

// Options of a Front.
type Options struct {
	Backend Backend      // required
	Keeper  Keeper       // nil: sessions and messages end with the program. With one Waits must be set, and Load be called
	Logger  *slog.Logger // nil logs nothing
	// Policy finds the keys of a shared access policy with the right DeviceConnect.
	Policy func(name string) (primary, secondary sas.Key, ok bool)
	// ClientCAs signed the certificates of devices that authenticate by certificateAuthority; nil for none.
	ClientCAs *x509.CertPool
	// Admit waits until an operation of a class may go on, or returns the error for the device.
	// bytes is the size that metering counts. Nil lets everything pass.
	Admit func(ctx context.Context, class tier.Class, bytes int) error
	// Waits says that Backend or Admit may wait: for a disk, or for a tier's limits.
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
	// MessageTTL is how long a cloud-to-device message waits for its device; 1 h when 0.
	MessageTTL time.Duration
}

func orDefault(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}

// maxMessage is the largest message of a device: body and properties (iot-hub-devguide-quotas-throttling).
const maxMessage = 256 << 10

// Front serves devices. All its goroutines have ended when Close returns.
type Front struct {
	opts   Options
	log    *slog.Logger
	faults *faults.Switch
	auth   deviceauth.Checker
	seed   maphash.Seed
	shards [shardCount]shard

	ctx    context.Context // ends when Close is called
	cancel context.CancelFunc
	conns  sync.WaitGroup
	closed atomic.Bool

	pollers nowait.Pollers // of connections without a goroutine
	alarms  timers.Set     // of them

	steps   chan *conn   // to workers that wait
	waiting atomic.Int64 // workers that wait

	startMu  sync.Mutex         // protects starting
	starting map[*conn]struct{} // connections that are no device's yet; nil once the Front closes

	lastCall    atomic.Uint64 // of all devices: a late answer of an earlier session meets no other call
	lastMessage atomic.Uint64 // of all devices, by which messages are kept in their order

	connections atomic.Int64
	received    atomic.Uint64 // packets
}

const shardCount = 64

// shard holds the devices whose ids hash to it.
type shard struct {
	mu      sync.Mutex // protects devices and the fields of each; the backend is never called with it held
	devices map[string]*deviceState

	// telling orders the calls that tell the backend of a device. It is taken before mu, so that the
	// backend may call the Front from within its own locks.
	telling sync.Mutex
}

// deviceState outlives connections: the session, the message queue, and who is connected now. There is one for a device or module
// of which there is something to remember.
type deviceState struct {
	conn    *conn
	filters filters.Set // of a session that is not clean
	kept    bool        // there is such a session
	queue   c2d.Queue
	calls   calls.Table

	durable func(context.Context) error // waits until the filters are kept as they are; nil when they have not changed
}

// empty reports whether there is nothing to remember.
func (d *deviceState) empty() bool {
	return d.conn == nil && !d.kept && d.queue.Len() == 0 && d.calls.Len() == 0
}

// New makes a Front.
func New(o Options) *Front {
	o.ConnectTimeout = orDefault(o.ConnectTimeout, 30*time.Second)
	o.WriteTimeout = orDefault(o.WriteTimeout, 10*time.Second)
	o.TokenGrace = orDefault(o.TokenGrace, 5*time.Minute)
	o.MessageTTL = orDefault(o.MessageTTL, time.Hour)
	o.ThrottledCode = cmp.Or(o.ThrottledCode, mqtt.Unavailable)
	o.QuotaCode = cmp.Or(o.QuotaCode, mqtt.NotAuthorized)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	f := &Front{
		opts: o, auth: deviceauth.Checker{Policy: o.Policy, ClientCAs: o.ClientCAs}, log: o.Logger, seed: maphash.MakeSeed(),
		steps: make(chan *conn), starting: make(map[*conn]struct{}),
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.faults = faults.New(f.ctx, &f.conns)
	for i := range f.shards {
		f.shards[i].devices = make(map[string]*deviceState)
	}
	return f
}

func (f *Front) shard(client string) *shard {
	return &f.shards[maphash.String(f.seed, client)%shardCount]
}

// device runs do with the state of a client id, which is made if there is none, under its shard's lock.
func (f *Front) device(client string, do func(*deviceState)) { f.state(client, true, do) }

// existing runs do with the state of a client id, if there is one, under its shard's lock.
func (f *Front) existing(client string, do func(*deviceState)) { f.state(client, false, do) }

func (f *Front) state(client string, create bool, do func(*deviceState)) {
	s := f.shard(client)
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.devices[client]
	if d == nil {
		if !create {
			return
		}
		d = &deviceState{}
		s.devices[client] = d
	}
	do(d)
	f.dropRows(client, d.queue.Removed())
	if d.empty() {
		delete(s.devices, client)
	}
}

// lookup is the connection of a client id, or nil.
func (f *Front) lookup(client string) *conn {
	s := f.shard(client)
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.devices[client]; d != nil {
		return d.conn
	}
	return nil
}

// tellPresence tells the backend whether a device is connected now. Of two calls that race, the
// later one tells the later state.
func (f *Front) tellPresence(client string) {
	s := f.shard(client)
	s.telling.Lock()
	defer s.telling.Unlock()
	f.opts.Backend.Connected(client, f.lookup(client) != nil)
}

// tellQueue tells the backend how many messages wait for a device now.
func (f *Front) tellQueue(client string) {
	s := f.shard(client)
	s.telling.Lock()
	defer s.telling.Unlock()
	n := 0
	f.existing(client, func(d *deviceState) { n = d.queue.Len() })
	f.opts.Backend.QueueLength(client, n)
}

// errClosed is why connections end when the Front closes.
var errClosed = errors.New("the hub is closing")

// ServeConn serves one connection until it ends. It closes nc.
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
	f.ended(c, err)
}

// start makes a connection that Close can end; nil when the Front closes.
func (f *Front) start(nc net.Conn) *conn {
	f.startMu.Lock()
	defer f.startMu.Unlock()
	if f.starting == nil {
		return nil
	}
	_, deep := connectionState(nc)
	c := &conn{front: f, nc: nc, deep: deep}
	f.starting[c] = struct{}{}
	return c
}

// started notes that a connection is its device's now, where Close finds it too.
func (f *Front) started(c *conn) {
	f.startMu.Lock()
	defer f.startMu.Unlock()
	delete(f.starting, c)
}

func (f *Front) ended(c *conn, why error) {
	f.started(c)
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

// Serve accepts connections until the listener closes; it returns when it does. A shortage of
// descriptors is waited out.
func (f *Front) Serve(l net.Listener) error {
	wait := 5 * time.Millisecond
	for {
		nc, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || f.closed.Load() {
				return nil
			}
			f.log.Warn("accepting a connection failed; trying again", "error", err)
			select {
			case <-time.After(wait):
				wait = min(2*wait, time.Second)
				continue
			case <-f.ctx.Done():
				return nil
			}
		}
		wait = 5 * time.Millisecond
		f.conns.Go(func() { f.ServeConn(nc) })
	}
}

// Disconnect ends the connection of a device or a module, if it has one. It waits for nobody: the store may call it.
func (f *Front) Disconnect(client string, reason error) {
	if c := f.lookup(client); c != nil {
		c.close(reason)
	}
}

// Forget ends the connection of a device or a module and drops its session and messages: it was deleted. It waits for nobody: the
// store may call it.
func (f *Front) Forget(client string) {
	s := f.shard(client)
	s.mu.Lock()
	d := s.devices[client]
	if d == nil {
		s.mu.Unlock()
		return
	}
	delete(s.devices, client)
	d.calls.FailAll(iothub.ErrDeviceNotOnline)
	d.queue.Purge()
	f.dropRows(client, d.queue.Removed())
	f.keepFilters(client, d, filters.Set{})
	c := d.conn
	s.mu.Unlock()
	if c != nil {
		c.close(iothub.ErrDeviceNotFound)
	}
}

// DisconnectAll ends all connections.
func (f *Front) DisconnectAll(reason error) {
	for i := range f.shards {
		f.shards[i].mu.Lock()
		var all []*conn
		for _, d := range f.shards[i].devices {
			if d.conn != nil {
				all = append(all, d.conn)
			}
		}
		f.shards[i].mu.Unlock()
		for _, c := range all {
			c.close(reason)
		}
	}
}

// Close ends all connections and waits for their goroutines.
func (f *Front) Close() {
	f.closed.Store(true)
	f.cancel()
	f.startMu.Lock()
	starting := f.starting
	f.starting = nil
	f.startMu.Unlock()
	for c := range starting {
		c.close(errClosed)
	}
	f.DisconnectAll(errClosed)
	f.conns.Wait()
}

// Stats are numbers of the Front.
type Stats struct {
	Connections int    // sockets, also those before their CONNECT
	Packets     uint64 // received
	Remembered  int    // devices and modules of which something is: a connection, a session, messages, or calls
}

// Stats tells the numbers as they are now.
func (f *Front) Stats() Stats {
	remembered := 0
	for i := range f.shards {
		s := &f.shards[i]
		s.mu.Lock()
		remembered += len(s.devices)
		s.mu.Unlock()
	}
	return Stats{int(f.connections.Load()), f.received.Load(), remembered}
}

// Faults is the switch that makes the Front misbehave on purpose.
func (f *Front) Faults() *faults.Switch { return f.faults }
