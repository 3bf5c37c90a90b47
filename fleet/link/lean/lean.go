// Package lean drives devices without a goroutine for each: who has something to say writes it, and what comes is read by a few
// goroutines that all connections have in common, as they have timers.
package lean

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/mqtt"
	"github.com/twinfleet/twinfleet/internal/mqtt/framing"
	"github.com/twinfleet/twinfleet/internal/mqtt/v5"
	"github.com/twinfleet/twinfleet/internal/nowait"
	"github.com/twinfleet/twinfleet/internal/timers"
	"github.com/twinfleet/twinfleet/internal/wire"
)

const farewellTime = 50 * time.Millisecond

// Driver makes connections. Make it with New.
type Driver struct {
	timers  *timers.Set
	pollers *nowait.Pollers
}

var (
	_ link.Driver  = Driver{}
	_ link.Keeping = Driver{}
	_ link.Greeted = (*conn)(nil)
	_ link.Ender   = (*conn)(nil)
)

// New is a Driver.
func New() Driver { return Driver{new(timers.Set), new(nowait.Pollers)} }

// Keeping implements link.Keeping.
func (d Driver) Keeping() bool { return true }

// conn is one connection.
type conn struct {
	pollers *nowait.Pollers
	handler func(link.Message)

	keepAlive time.Duration
	pinging   timers.Timer

	joiner framing.Joiner // of what is read

	*more // nil for MQTT 3.1.1 with a session that ends with the connection

	wire     wire.Conn   // its lock protects the following fields, and the order of what is written
	told     func(error) // of the end
	ours     bool        // this side ended it
	present  bool        // the target has the session; with clean, which asked for none, what MQTT 3.1.1 says of link.Greeting
	clean    bool
	written  time.Time // when something was sent last
	came     time.Time // when something came last
	asked    time.Time // when a PINGREQ was sent that has no answer; zero for none
	id       uint16    // the last packet identifier
	awaited  []awaited
	received []uint16 // identifiers of messages with QoS 2 that the target may send once more
}

// awaited is a packet that waits for its acknowledgement.
type awaited struct {
	id   uint16
	by   mqtt.Type // what ends it, or with PUBREC what comes next
	due  due       // of a message
	done func(error)
	kept *link.Message // of a message that may have to be sent later; of a SUBSCRIBE, the payload is the QoS of its filters
}

// Connect makes a connection.
func (d Driver) Connect(ctx context.Context, o link.Options) (link.Conn, error) {
	ctx, cancel := link.Connecting(ctx)
	defer cancel()
	nc, err := o.Dial(ctx)
	if err != nil {
		return nil, link.ConnectError(ctx, err)
	}
	c := &conn{handler: o.Handler, keepAlive: o.KeepAlive, pollers: d.pollers, clean: o.CleanSession}
	bottom := link.Bottom(nc)
	before := takeState(o.Session)
	if err := c.shakeHands(ctx, nc, bottom, o); err != nil {
		if before != nil {
			o.Session.Leave(before)
		}
		bottom.Close()
		nc.Close()
		return nil, link.ConnectError(ctx, err)
	}
	c.wire.Begin(nc, bottom, c)
	now := time.Now()
	c.written, c.came = now, now
	switch {
	case before != nil && c.Greeting().Present:
		c.resume(before)
	case before != nil:
		before.Forget(link.ErrLost)
	}
	if c.keepAlive > 0 {
		d.timers.Init(&c.pinging, c.ping)
		c.pinging.Reset(now.Add(c.keepAlive))
	}
	return c, nil
}

// shakeHands sends CONNECT and reads CONNACK, within the time of ctx.
func (c *conn) shakeHands(ctx context.Context, nc, bottom net.Conn, o link.Options) error {
	deadline, _ := ctx.Deadline()
	if err := nc.SetDeadline(deadline); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { bottom.Close() }) // the deadline does not mind an end before it
	defer stop()
	var hello []byte
	if o.Version == link.V5 {
		hello = v5.AppendConnect(nil, connect5(o))
	} else {
		hello = mqtt.AppendConnect(nil, connect(o))
	}
	if len(hello) == 0 {
		return errConnect
	}
	if _, err := nc.Write(hello); err != nil {
		var alert *net.OpError // of who refused a certificate, said so, and was gone before it read
		if _, heard := nc.Read(make([]byte, 1)); errors.As(heard, &alert) && alert.Op == "remote error" {
			return heard
		}
		return err
	}
	body, err := readConnack(nc, o)
	if err != nil {
		return err
	}
	if err := c.greeted(body, o); err != nil {
		return err
	}
	if !stop() {
		return context.Cause(ctx)
	}
	return nc.SetDeadline(time.Time{})
}

// greeted takes what the target says in its CONNACK.
func (c *conn) greeted(body []byte, o link.Options) error {
	if o.Version == link.V5 {
		f, err := greeted(body, o)
		if err != nil {
			return err
		}
		c.more = &more{session: o.Session, lasting: f.greeting.Expiry > 0, five: f}
		if f.keepAlive >= 0 {
			c.keepAlive = time.Duration(f.keepAlive) * time.Second
		}
		return nil
	}
	if code := body[1]; code != 0 {
		return &link.RefusedError{Code: code}
	}
	c.present = body[0]&1 != 0
	if o.Session != nil {
		c.more = &more{session: o.Session, lasting: !o.CleanSession}
	}
	return nil
}

func connect(o link.Options) *mqtt.Connect {
	m := &mqtt.Connect{ClientID: []byte(o.ClientID), CleanSession: o.CleanSession, KeepAlive: uint16(o.KeepAlive / time.Second)}
	if o.Username != "" {
		m.HasUsername, m.Username = true, []byte(o.Username)
	}
	if o.Password != nil {
		m.HasPassword, m.Password = true, []byte(o.Password())
	}
	if w := o.Will; w != nil {
		m.HasWill, m.WillTopic, m.WillPayload, m.WillQoS, m.WillRetain = true, []byte(w.Topic), w.Payload, w.QoS, w.Retain
	}
	return m
}

// errOver is why a connection is over that this side ended.
var errOver = fmt.Errorf("%w: it was closed", link.ErrLost)

// errSilent is why a connection ends whose target answers no PINGREQ.
var errSilent = fmt.Errorf("%w: %w", link.ErrSilent, os.ErrDeadlineExceeded)

// ping keeps the connection alive: a PINGREQ goes out when for a whole keep-alive nothing was sent, or nothing came. A target that
// does not answer it has died.
func (c *conn) ping() {
	c.wire.Lock()
	defer c.wire.Unlock()
	if c.gone() != nil {
		return
	}
	now := time.Now()
	if !c.asked.IsZero() {
		c.wire.End(errSilent)
		return
	}
	idle := c.written
	if c.came.Before(idle) {
		idle = c.came
	}
	if due := idle.Add(c.keepAlive); due.After(now) {
		c.pinging.Reset(due)
		return
	}
	c.asked = now
	c.pinging.Reset(now.Add(min(c.keepAlive, 30*time.Second))) // half a minute is what the official SDKs give it
	c.send(func(b []byte) []byte { return mqtt.AppendEmpty(b, mqtt.PINGREQ) })
}

// pong takes the answer to a PINGREQ.
func (c *conn) pong() {
	c.wire.Lock()
	defer c.wire.Unlock()
	if c.keepAlive > 0 && c.wire.Over() == nil && !c.ours {
		c.asked = time.Time{}
		c.pinging.Reset(c.written.Add(c.keepAlive))
	}
}

// send writes a packet, without waiting. The caller holds the lock.
func (c *conn) send(build func([]byte) []byte) {
	c.written = time.Now()
	c.wire.Send(build)
}

// await adds a packet to those that wait for acknowledgements, and returns its identifier. The caller holds the lock.
func (c *conn) await(by mqtt.Type, kept *link.Message, done func(error)) uint16 {
	for {
		c.id++
		if c.id != 0 && c.find(c.id) < 0 {
			break
		}
	}
	c.awaited = append(c.awaited, awaited{id: c.id, by: by, kept: kept, done: done})
	return c.id
}

// mostAwaited is how many packets may wait for acknowledgements: far more than a device has under way, so that those are the target's.
const mostAwaited = 10_000

// mostUnacknowledged is how many bytes messages may have that are kept until they are acknowledged, unless it is one alone.
const mostUnacknowledged = 1 << 20

// errUnacknowledged is why a packet is not sent: it is waited for all the same, as one would that the target does not acknowledge.
var errUnacknowledged = fmt.Errorf("the target acknowledges nothing: %w", context.DeadlineExceeded)

// find is the place of a packet that waits; -1 when there is none.
func (c *conn) find(id uint16) int {
	for i := range c.awaited {
		if c.awaited[i].id == id {
			return i
		}
	}
	return -1
}

// errFull is why a packet is not sent: it is waited for all the same, as one would that the target has not read.
var errFull = fmt.Errorf("%w: %w", link.ErrUnread, context.DeadlineExceeded)

// errConnect is why there is no connection whose CONNECT no packet holds.
const errConnect link.UnsupportedError = "not sent: a client id, user name, password or will of more than 65,535 bytes"

// errUnwritable is why a message is not sent that no packet holds.
const errUnwritable link.UnsupportedError = "not sent: a topic of more than 65,535 bytes, or a message of more than 268,435,455"

func (c *conn) Publish(m link.Message, done func(error)) {
	if err := c.unfit(&m); err != nil {
		done(err)
		return
	}
	c.wire.Lock()
	err := c.unsendable(m.QoS > 0)
	f := c.v5()
	waits := f != nil && (f.quota == 0 || f.unsent > 0)
	keeps := m.QoS > 0 && (waits || c.keeping())
	if err == nil && keeps && c.bytes > 0 && c.bytes+weight(&m) > mostUnacknowledged {
		err = errUnacknowledged
	}
	if err != nil {
		c.wire.Unlock()
		done(err)
		return
	}
	if m.QoS == 0 {
		c.write(&m, 0, false)
		err := c.wire.Over()
		c.wire.Unlock()
		done(link.LostBecause(err))
		return
	}
	by := mqtt.PUBACK
	if m.QoS == 2 {
		by = mqtt.PUBREC
	}
	id := c.await(by, nil, done)
	a := &c.awaited[len(c.awaited)-1]
	if keeps {
		a.kept = keep(&m)
		c.bytes += weight(a.kept)
	}
	if waits {
		a.due = queued
		f.unsent++
	} else {
		if f != nil {
			f.quota--
		}
		c.write(&m, id, false)
	}
	c.wire.Unlock()
}

// unfit is why a message cannot be sent at all; nil when it can.
func (c *conn) unfit(m *link.Message) error {
	if f := c.v5(); f != nil {
		return f.refuses(m)
	}
	if !mqtt.PublishFits(len(m.Topic), len(m.Payload)) {
		return errUnwritable
	}
	return nil
}

// write sends a message. The caller holds the lock.
func (c *conn) write(m *link.Message, id uint16, dup bool) {
	if c.v5() != nil {
		c.publish(m, id, dup)
		return
	}
	c.send(func(b []byte) []byte { return mqtt.AppendPublish(b, m.Topic, m.Payload, m.QoS, m.Retain, dup, id) })
}

// transmit sends a message that is due, as soon as the target has room for it. The caller holds the lock.
func (c *conn) transmit(i int) {
	if f := c.v5(); f != nil {
		if f.quota == 0 {
			return
		}
		f.quota--
		f.unsent--
	}
	a := &c.awaited[i]
	dup := a.due == again
	a.due = sent
	c.write(a.kept, a.id, dup)
	if !c.keeping() {
		c.drop(a)
	}
}

// shut is why nothing of this side's own is sent; nil when something can be. The caller holds the lock.
func (c *conn) shut() error {
	if err := c.gone(); err != nil {
		return err
	}
	if c.wire.Full() {
		return errFull
	}
	return nil
}

// gone is why nothing at all is sent any more, as after DISCONNECT (section 3.14.4 of both versions); nil when something is. The caller holds
// the lock.
func (c *conn) gone() error {
	switch {
	case c.wire.Over() != nil:
		return link.LostBecause(c.wire.Over())
	case c.ours:
		return errOver
	case c.v5() != nil && c.broken != nil:
		return link.LostBecause(c.broken)
	}
	return nil
}

// unsendable is shut for a packet that may wait for an acknowledgement. The caller holds the lock.
func (c *conn) unsendable(waits bool) error {
	if err := c.shut(); err != nil || !waits || len(c.awaited) < mostAwaited {
		return err
	}
	return errUnacknowledged
}

func (c *conn) Subscribe(done func(error), filters ...link.Filter) {
	build, err := c.subscription(filters)
	if err != nil {
		done(err)
		return
	}
	c.wire.Lock()
	if err := c.unsendable(true); err != nil {
		c.wire.Unlock()
		done(err)
		return
	}
	asked := make([]byte, len(filters))
	for i, f := range filters {
		asked[i] = f.QoS
	}
	id := c.await(mqtt.SUBACK, &link.Message{Payload: asked}, done)
	c.send(func(b []byte) []byte { return build(b, id) })
	c.wire.Unlock()
}

// subscription writes a SUBSCRIBE; or why the target does not take it.
func (c *conn) subscription(filters []link.Filter) (build func(b []byte, id uint16) []byte, err error) {
	f := c.v5()
	if f == nil {
		wanted := make([]mqtt.Subscription, len(filters))
		for i, x := range filters {
			wanted[i] = mqtt.Subscription{Filter: []byte(x.Topic), QoS: x.QoS}
		}
		return func(b []byte, id uint16) []byte { return mqtt.AppendSubscribe(b, id, wanted...) }, nil
	}
	identifier := uint32(0)
	wanted := make([]v5.Subscription, len(filters))
	for i, x := range filters {
		identifier = x.ID
		wanted[i] = v5.Subscription{Filter: []byte(x.Topic), QoS: x.QoS, NoLocal: x.NoLocal, RetainAsPublished: x.RetainAsPublished, RetainHandling: x.RetainHandling}
	}
	return func(b []byte, id uint16) []byte { return v5.AppendSubscribe(b, id, identifier, wanted...) }, f.subscribe5(wanted, identifier)
}

// Close says DISCONNECT, when the target reads, and ends the connection. A session that the target keeps goes on.
func (c *conn) Close() { c.close(false) }

// close is Close, with the end of the session if so wanted.
func (c *conn) close(session bool) {
	c.wire.Lock()
	defer c.wire.Unlock()
	if c.gone() != nil {
		return
	}
	if c.wire.Full() {
		if c.more != nil {
			c.unsaid = true
		}
	} else {
		c.send(func(b []byte) []byte {
			if session && c.v5() != nil {
				var p v5.Properties
				p.SetNumber(v5.SessionExpiry, 0)
				return v5.AppendDisconnect(b, 0, &p)
			}
			return mqtt.AppendEmpty(b, mqtt.DISCONNECT)
		})
	}
	c.ours = true
	c.wire.Leave(errOver, farewellTime)
}

// Abort ends the connection without a word.
func (c *conn) Abort() {
	c.wire.Lock()
	defer c.wire.Unlock()
	c.ours = true
	c.wire.End(errOver)
}
