// Package devices is what the embedded hub remembers of each device and module while it runs, whatever they speak: by which
// outlet each is reached now, which messages and calls wait for it, what it listens to when it comes back. The fronts, one a
// protocol, attach outlets and carry out the operations of devices here.
package devices

import (
	"context"
	"crypto/x509"
	"errors"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/calls"
	"github.com/twinfleet/twinfleet/internal/hub/deviceauth"
	"github.com/twinfleet/twinfleet/internal/hub/events"
	"github.com/twinfleet/twinfleet/internal/hub/faults"
	"github.com/twinfleet/twinfleet/internal/hub/filters"
	"github.com/twinfleet/twinfleet/internal/hub/keep"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/internal/timers"
)

// Backend is what the table needs of the hub. A device or a module is known by its client id: the device id, or device/module.
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
	// Telemetry takes messages that a device sent at once, all of them or none, and returns when they may be acknowledged: until
	// then it may wait for a disk. What Batch.Messages makes is good until it returns.
	Telemetry(ctx context.Context, client string, b Batch) error
	// QueueLength tells how many cloud-to-device messages wait for a device.
	QueueLength(client string, n int)
	// ModelID takes the model that a device names when it connects, and returns when it is kept.
	ModelID(ctx context.Context, client, model string) error
}

// Durable waits until something that was done is kept, and tells why it is not; nil when there is nothing to wait for.
type Durable func(context.Context) error

// Wait waits, also for nothing.
func (d Durable) Wait(ctx context.Context) error {
	if d == nil {
		return nil
	}
	return d(ctx)
}

// Batch is telemetry messages that a device sent at once.
type Batch struct {
	Auth  events.Auth // how their sender showed who it is
	Count int         // how many messages they are
	Size  int         // bytes of all, as limits and metering count them
	Will  bool        // it is a will, sent for a device that went without DISCONNECT
	// Messages makes them, without what the hub says of their sender: most are never read, and cost nothing then. Their payloads may be
	// where they were received, and are not kept longer than the call that takes the Batch.
	Messages func() []events.Message
}

// BatchOf is a batch of messages that are made anyhow.
func BatchOf(auth events.Auth, all []events.Message) Batch {
	b := Batch{Auth: auth, Count: len(all), Messages: func() []events.Message { return all }}
	for i := range all {
		b.Size += all[i].Metered()
	}
	return b
}

// Kind is what a device or a module may listen to, whatever it speaks.
type Kind uint8

// The kinds.
const (
	TwinResponses Kind = iota // answers to twin requests
	Desired                   // changes of desired properties
	Methods                   // direct methods
	Messages                  // cloud-to-device messages
	Inputs                    // messages to the inputs of a module
	kinds                     // how many there are
)

// Outlet is the connection, or the part of one, by which a device or a module is reached now. It is compared by identity: use a
// pointer. None of its methods waits, for the store may call them; Listens is called with a lock of the table held and must not call
// the table, the others are called without one.
type Outlet interface {
	// Close ends it: another one took over, the identity was disabled or deleted, the hub restarts. On a connection of many
	// identities it ends the links of this one only. The first reason holds. Whoever attached the outlet detaches it.
	Close(reason error)
	// Listens reports whether the device listens to a kind now.
	Listens(kind Kind) bool
	// Desired tells of changed desired properties; false when that failed. The payload must not be kept.
	Desired(payload []byte, version int64) bool
	// Call sends a direct method call, whose answer comes to Table.Answer with the id, which no other call of any device has. An
	// error that is an *iothub.Error reaches the caller; for any other the device counts as gone.
	Call(id uint64, method string, payload []byte) error
	// Deliver tells that messages may wait, which it takes by Table.Receive, or over MQTT by Table.Deliver.
	Deliver()
}

// Options of a Table.
type Options struct {
	Backend Backend      // required
	Keeper  keep.Keeper  // nil: sessions and messages end with the program. With one Load must be called
	Logger  *slog.Logger // nil logs nothing
	// Policy finds the keys of a shared access policy with the right DeviceConnect; nil for no policies.
	Policy func(name string) (primary, secondary sas.Key, ok bool)
	// ClientCAs signed the certificates of devices that authenticate by certificateAuthority; nil for none.
	ClientCAs *x509.CertPool
	// Admit waits until an operation of a class may go on, or returns the error for the device.
	// bytes is the size that metering counts. Nil lets everything pass.
	Admit func(ctx context.Context, class tier.Class, bytes int) error
	// Feedback takes what became of a message whose sender wants to know, before the message is forgotten. It is called with a lock of
	// the Table held: it waits for nobody and does not call the Table. Nil for nobody.
	Feedback func(Feedback)
	// Reported says of messages that are kept, by Feedback.Origin, that their feedback was given: they have ended. It is asked by Load
	// only. Nil for none.
	Reported func(origin string) bool
	// MessageTTL is how long a cloud-to-device message waits for its device; 1 h when 0.
	MessageTTL time.Duration
}

// Table is the devices and modules of which there is something to remember. It is safe for concurrent use.
type Table struct {
	opts   Options
	log    *slog.Logger
	faults *faults.Switch
	auth   deviceauth.Checker
	seed   maphash.Seed
	shards [shardCount]shard

	ctx    context.Context // ends when Close is called
	cancel context.CancelFunc
	work   sync.WaitGroup // operations that take their time of service, and alarms

	alarms  timers.Set // of messages
	closing sync.Mutex // protects closed
	closed  bool       // no alarm begins any more

	lastCall    atomic.Uint64 // of all devices: a late answer of an earlier session meets no other call
	lastMessage atomic.Uint64 // of all devices, by which messages are kept in their order
}

const shardCount = 64

// shard holds the devices whose ids hash to it.
type shard struct {
	mu      sync.Mutex // protects devices and the fields of each; neither the backend nor an outlet is called with it held, but for Listens
	devices map[string]*state

	// telling orders the calls that tell the backend of a device. It is taken before mu, so that the
	// backend may call the Table from within its own locks.
	telling sync.Mutex
}

// state outlives connections: the session, the message queue, and by what the device is reached now. There is one for a device or
// module of which there is something to remember.
type state struct {
	outlet  Outlet
	filters filters.Set // of an MQTT session that is not clean
	kept    bool        // there is such a session
	waiting *waiting    // messages; nil for none
	calls   calls.Table

	durable Durable // waits until the filters are kept as they are; nil when they have not changed
}

// empty reports whether there is nothing to remember.
func (d *state) empty() bool {
	return d.outlet == nil && !d.kept && d.waiting == nil && d.calls.Len() == 0
}

// New makes a Table.
func New(o Options) *Table {
	if o.MessageTTL == 0 {
		o.MessageTTL = time.Hour
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	t := &Table{opts: o, auth: deviceauth.Checker{Policy: o.Policy, ClientCAs: o.ClientCAs}, log: o.Logger, seed: maphash.MakeSeed()}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.faults = faults.New(t.ctx, &t.work)
	for i := range t.shards {
		t.shards[i].devices = make(map[string]*state)
	}
	return t
}

// Close ends what goes on in the Table and waits for it. The fronts are closed before.
func (t *Table) Close() {
	t.closing.Lock()
	t.closed = true
	t.closing.Unlock()
	t.cancel()
	t.stopAlarms()
	t.work.Wait()
}

// Faults is the switch that makes the hub misbehave on purpose. Fronts ask it where its faults show on the wire: refused
// connections, a stall before something is read, answers that are not sent.
func (t *Table) Faults() *faults.Switch { return t.faults }

func (t *Table) shard(client string) *shard {
	return &t.shards[maphash.String(t.seed, client)%shardCount]
}

// device runs do with the state of a client id, which is made if there is none, under its shard's lock.
func (t *Table) device(client string, do func(*state)) { t.state(client, true, do) }

// existing runs do with the state of a client id, if there is one, under its shard's lock. ended is when the end of the messages that
// leave the queue is durable.
func (t *Table) existing(client string, do func(*state)) (ended Durable) {
	return t.state(client, false, do)
}

func (t *Table) state(client string, create bool, do func(*state)) (ended Durable) {
	s := t.shard(client)
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.devices[client]
	if d == nil {
		if !create {
			return nil
		}
		d = &state{}
		s.devices[client] = d
	}
	do(d)
	ended = t.tidy(client, d)
	if d.empty() {
		delete(s.devices, client)
	}
	return ended
}

// lookup is the outlet of a client id, or nil.
func (t *Table) lookup(client string) Outlet {
	s := t.shard(client)
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.devices[client]; d != nil {
		return d.outlet
	}
	return nil
}

// tellPresence tells the backend whether a device is connected now. Of two calls that race, the
// later one tells the later state.
func (t *Table) tellPresence(client string) {
	s := t.shard(client)
	s.telling.Lock()
	defer s.telling.Unlock()
	t.opts.Backend.Connected(client, t.lookup(client) != nil)
}

// tellQueue tells the backend how many messages wait for a device now.
func (t *Table) tellQueue(client string) {
	s := t.shard(client)
	s.telling.Lock()
	defer s.telling.Unlock()
	n := 0
	t.existing(client, func(d *state) { n = d.messages() })
	t.opts.Backend.QueueLength(client, n)
}

// Attach makes an outlet that of its device or module; an older one is closed with iothub.ErrConnectionForceClosed. When others find
// the outlet, check says whether its identity may still connect: whoever disables or deletes it from then on closes the outlet. An
// error is check's. Either way the outlet is detached at its end.
func (t *Table) Attach(client string, o Outlet, check func() error) error {
	return t.attach(client, o, check, func(*state) {})
}

func (t *Table) attach(client string, o Outlet, check func() error, also func(*state)) error {
	var old Outlet
	t.device(client, func(d *state) {
		old, d.outlet = d.outlet, o
		also(d)
		d.calls.FailAll(iothub.ErrDeviceNotOnline)
		d.release(old)
	})
	if old != nil {
		old.Close(iothub.ErrConnectionForceClosed)
	}
	if err := check(); err != nil {
		if errors.Is(err, iothub.ErrDeviceNotFound) || errors.Is(err, iothub.ErrModuleNotFound) {
			// Whoever deleted it has forgotten the session before it was made.
			t.existing(client, func(d *state) { d.kept = d.kept && d.outlet != o })
		}
		return err
	}
	t.tellPresence(client)
	return nil
}

// Detach takes an outlet away at its end, unless a newer one took its place.
func (t *Table) Detach(client string, o Outlet) {
	t.existing(client, func(d *state) {
		if d.outlet != o {
			return
		}
		d.outlet = nil
		d.calls.FailAll(iothub.ErrDeviceNotOnline)
		d.release(o)
	})
	t.tellPresence(client)
}

// Disconnect closes the outlet of a device or a module, if it has one. It waits for nobody: the store may call it.
func (t *Table) Disconnect(client string, reason error) {
	if o := t.lookup(client); o != nil {
		o.Close(reason)
	}
}

// Forget closes the outlet of a device or a module and drops its session and messages, without feedback: it was deleted. It waits for
// nobody: the store may call it.
func (t *Table) Forget(client string) {
	s := t.shard(client)
	s.mu.Lock()
	d := s.devices[client]
	if d == nil {
		s.mu.Unlock()
		return
	}
	delete(s.devices, client)
	d.calls.FailAll(iothub.ErrDeviceNotOnline)
	t.drop(client, d)
	t.keepFilters(client, d, filters.Set{})
	o := d.outlet
	s.mu.Unlock()
	if o != nil {
		o.Close(iothub.ErrDeviceNotFound)
	}
}

// DisconnectAll closes the outlets of all devices.
func (t *Table) DisconnectAll(reason error) {
	t.EachOutlet(func(o Outlet) { o.Close(reason) })
}

// EachOutlet hands over the outlets of all devices, without a lock: a front closes its own at its end.
func (t *Table) EachOutlet(do func(Outlet)) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		var all []Outlet
		for _, d := range s.devices {
			if d.outlet != nil {
				all = append(all, d.outlet)
			}
		}
		s.mu.Unlock()
		for _, o := range all {
			do(o)
		}
	}
}
