package amqp

import (
	"errors"
	"net/url"
	"slices"
	"sync"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/uuid"
)

// progress is how far a device is.
type progress uint8

const (
	starting progress = iota // it waits for the connection, its token, or its link
	ready
	gone
)

// notified is the bit of desired properties, beside those of links.
const notified = 1 << kinds

// device is the part of a connection that is one device's. It implements link.Conn. What the connection's lock protects begins with links.
type device struct {
	c        *conn
	s        *session // nil until it starts
	id       string
	password func() string
	handler  func(link.Message)

	links    [kinds]*endpoint // nil until they are asked for
	place    int              // among the connection's devices
	progress progress
	ours     bool  // this side ended it
	finished bool  // nothing is left of it
	have     uint8 // bits of links that are attached, and notified
	asked    uint8 // and of those that were asked for
	open     int   // messages that are to be settled
	queued   int   // bytes that wait for credit
	why      error // it is gone
	ready    chan error
	told     func(error) // of the end
	waiting  []subscription
	left     []call // who is told of the end before
}

// subscription waits for links.
type subscription struct {
	wants uint8
	done  func(error)
}

var (
	_ link.Conn    = (*device)(nil)
	_ link.Renewer = (*device)(nil)
	_ link.Cutter  = (*device)(nil)
)

func newDevice(o link.Options) *device {
	return &device{id: o.ClientID, password: o.Password, handler: o.Handler, ready: make(chan error, 1)}
}

// start shows the token, when there is one, now that the connection is open.
func (x *device) start() {
	if x.progress != starting {
		return
	}
	var wait bool
	if x.s, wait = x.c.openSession(); x.s == nil {
		if !wait {
			x.end(errNoRoom, false)
		}
		return
	}
	x.s.devices++
	switch {
	case x.password == nil:
		x.authorized()
	case !x.c.put(x, nil):
		x.end(errNoRoom, false)
	}
}

// authorized attaches the link for telemetry, without which the hub counts nobody as connected.
func (x *device) authorized() {
	if x.progress == starting && !x.attach(telemetry, nil) {
		x.end(errNoRoom, false)
	}
}

// address is where a link begins or ends.
func (x *device) address(k kind) string {
	base := "/devices/" + url.PathEscape(x.id)
	switch k {
	case twinOut, twinIn:
		return base + "/twin"
	case methodsOut, methodsIn:
		return base + "/methods/devicebound"
	case cloud:
		return base + "/messages/devicebound"
	default:
		return base + "/messages/events"
	}
}

// The properties of links (AMQP over IoT Hub has no document of them; azure-iot-sdk-node, amqp_twin_client).
const (
	clientVersion = "com.microsoft:client-version"
	apiVersion    = "com.microsoft:api-version"
	correlation   = "com.microsoft:channel-correlation-id"
)

func properties(pairs ...string) amqp.Value {
	b, start := amqp.BeginMap(nil)
	for i := 0; i < len(pairs); i += 2 {
		b = amqp.AppendString(amqp.AppendSymbol(b, pairs[i]), pairs[i+1])
	}
	return amqp.EndMap(b, start, len(pairs)/2)
}

// attach asks for a link; false when there is no room for it.
func (x *device) attach(k kind, with amqp.Value) bool {
	if with == nil {
		with = properties(clientVersion, "twinfleet")
	}
	e := new(endpoint)
	if !e.attach(x.s, k, x, x.address(k), with) {
		return false
	}
	x.links[k] = e
	x.asked |= 1 << k
	return true
}

// pair asks for the two links of a kind, which have an id in common, unless they are there or on their way.
func (x *device) pair(name string, out, in kind) bool {
	if x.asked&(1<<out) != 0 {
		return true
	}
	with := properties(clientVersion, "twinfleet", apiVersion, "2021-04-12", correlation, name+":"+uuid.New().String())
	if !x.attach(out, with) {
		return false
	}
	if !x.attach(in, with) {
		x.links[out].detach()
		x.asked &^= 1 << out
		return false
	}
	return true
}

// linked is told that a link is attached.
func (x *device) linked(k kind) {
	x.have |= 1 << k
	switch {
	case x.progress == starting:
		x.progress = ready
		x.ready <- nil
		return
	case k == twinOut || k == twinIn:
		x.notify()
	}
	x.settle()
}

// notify asks for desired properties when somebody wants them, once the links for it are there.
func (x *device) notify() {
	const twin = 1<<twinOut | 1<<twinIn
	wanted := slices.ContainsFunc(x.waiting, func(s subscription) bool { return s.wants&notified != 0 })
	if wanted && x.have&twin == twin && x.asked&notified == 0 {
		x.asked |= notified
		x.links[twinOut].transmit(appendTwin(nil, "PUT", desiredNotifications, notifyID, nil), true, func(error) {})
	}
}

// settle tells whoever has all that it waited for.
func (x *device) settle() {
	x.waiting = slices.DeleteFunc(x.waiting, func(s subscription) bool {
		if x.have&s.wants != s.wants {
			return false
		}
		x.c.tell(s.done, nil)
		return true
	})
	if len(x.waiting) == 0 {
		x.waiting = nil
	}
}

// lack tells whoever waits for something that it does not come.
func (x *device) lack(bits uint8, why error) {
	x.asked &^= bits
	x.waiting = slices.DeleteFunc(x.waiting, func(s subscription) bool {
		if s.wants&bits == 0 {
			return false
		}
		x.c.tell(s.done, why)
		return true
	})
}

// unlinked is told that the other side has ended a link, or never wanted it.
func (x *device) unlinked(k kind, was bool, why error) {
	if x.progress == gone {
		return
	}
	if x.progress == starting || was {
		x.end(why, false)
		return
	}
	var refused *link.RefusedError
	if errors.As(why, &refused) {
		why = &subscriptionError{refused}
	}
	bits := uint8(1) << k
	if other, ok := k.partner(); ok && x.links[other] != nil { // of which one alone is of no use
		x.links[other].detach()
		bits |= 1 << other
	}
	if k == twinOut || k == twinIn {
		bits |= notified
	}
	x.have &^= bits
	x.lack(bits, why)
}

// subscriptionError is a link that was refused: link.ErrSubscription, and the refusal.
type subscriptionError struct{ refused *link.RefusedError }

func (e *subscriptionError) Error() string {
	return link.ErrSubscription.Error() + ": " + e.refused.Error()
}
func (e *subscriptionError) Reason() string  { return e.refused.Reason() }
func (e *subscriptionError) Unwrap() []error { return []error{e.refused, link.ErrSubscription} }

// end ends the device's part, and the connection with the last.
func (x *device) end(why error, ours bool) {
	if x.progress == gone {
		return
	}
	x.stop(why, ours)
	c := x.c
	if len(c.devices) > 0 && c.wire.Over() == nil && c.phase != closed {
		go c.wire.Quietly(x.finish) // whoever is told may hold locks
		return
	}
	c.leaving = append(c.leaving, x)
	c.close()
}

// stop takes the device's part out of the connection. Who waits for something is told by finish.
func (x *device) stop(why error, ours bool) {
	if x.progress == starting {
		x.ready <- why
	}
	x.progress, x.why, x.ours = gone, why, x.ours || ours
	c, lost := x.c, link.LostBecause(why)
	leave := func(done func(error)) { x.left = append(x.left, call{done, lost}) }
	for _, e := range x.links {
		if e == nil {
			continue
		}
		for _, q := range e.queue {
			if q.settled || !q.begun { // else it is among those that are not settled
				leave(q.done)
			}
		}
		e.detach()
	}
	if s := x.s; s != nil {
		s.unsettled = slices.DeleteFunc(s.unsettled, func(u delivery) bool {
			if u.x == x {
				leave(u.done)
			}
			return u.x == x
		})
	}
	if c.tokens != nil {
		for _, done := range c.tokens.forget(x) {
			leave(done)
		}
	}
	for _, s := range x.waiting {
		leave(s.done)
	}
	x.waiting, x.queued = nil, 0
	c.dismiss(x)
}

// finish tells whoever waits that nothing is left of the device's part. Nothing arrives meanwhile.
func (x *device) finish() {
	x.c.lock()
	left, told, why := x.left, x.told, x.why
	x.left, x.finished = nil, true
	if x.ours {
		why = nil
	}
	x.c.unlock()
	for _, l := range left {
		l.done(l.err)
	}
	if told != nil {
		told(why)
	}
}

// giveUp ends a device that was not connected in time.
func (x *device) giveUp(why error) {
	x.c.lock()
	defer x.c.unlock()
	if !x.c.shares {
		x.ours = true
		x.c.wire.End(why)
		return
	}
	x.end(why, true)
}

// Serve has over told of the end. What comes has been read since the connection began.
func (x *device) Serve(over func(error)) {
	x.c.lock()
	defer x.c.unlock()
	x.told = over
	if x.finished {
		why := x.why
		if x.ours {
			why = nil
		}
		go over(why) // it may need what its caller holds
	}
}

// unsent is why nothing can be sent; nil when something can. The caller holds the lock.
func (x *device) unsent() error {
	c := x.c
	switch {
	case x.progress == gone && x.ours, c.phase == closing:
		return errOver
	case x.progress == gone:
		return link.LostBecause(x.why)
	case c.wire.Over() != nil:
		return link.LostBecause(c.wire.Over())
	case c.phase == closed:
		return link.ErrLost
	case c.wire.Full():
		return errFull
	}
	return nil
}

// Subscribe attaches the links for filters of an IoT Hub. A link that is refused is link.ErrSubscription and a *link.RefusedError.
func (x *device) Subscribe(done func(error), filters ...link.Filter) {
	x.c.lock()
	defer x.c.unlock()
	if err := x.unsent(); err != nil {
		x.c.tell(done, err)
		return
	}
	s := subscription{done: done}
	room := true
	for _, f := range filters {
		switch f.Topic {
		case topics.FilterTwinResponses:
			s.wants |= 1<<twinOut | 1<<twinIn
			room = room && x.pair("twin", twinOut, twinIn)
		case topics.FilterDesired:
			s.wants |= 1<<twinOut | 1<<twinIn | notified
			room = room && x.pair("twin", twinOut, twinIn)
		case topics.FilterMethods:
			s.wants |= 1<<methodsOut | 1<<methodsIn
			room = room && x.pair("methods", methodsOut, methodsIn)
		case topics.FilterC2D(x.id):
			s.wants |= 1 << cloud
			room = room && (x.asked&(1<<cloud) != 0 || x.attach(cloud, nil))
		default:
			x.c.tell(done, &link.SubscriptionError{Code: 128})
			return
		}
	}
	if !room {
		x.c.tell(done, errNoRoom)
		return
	}
	x.waiting = append(x.waiting, s)
	x.notify()
	x.settle()
}

// messages are buffers in which messages are written.
var messages = sync.Pool{New: func() any { return new([]byte) }}

// Publish sends a message to one of the topics of an IoT Hub. With a quality of service of 0 it is settled as it is sent; with 1, done is
// called with what the hub makes of it, but for twin requests, which are always settled, as their answers say more.
func (x *device) Publish(m link.Message, done func(error)) {
	topic, err := topics.Parse(m.Topic)
	k := telemetry
	if err == nil {
		k, err = x.linkFor(topic)
	}
	if err == nil && m.QoS > 1 {
		err = errQoS
	}
	buffer := messages.Get().(*[]byte)
	if err == nil {
		*buffer, err = appendMessage((*buffer)[:0], topic, m.Payload)
	}
	x.c.lock()
	defer x.c.unlock()
	e := x.links[k]
	if err == nil {
		err = x.unsendable(e, len(*buffer), m.QoS > 0)
	}
	if err != nil {
		x.c.tell(done, err)
	} else {
		e.transmit(*buffer, m.QoS == 0 || k == twinOut, done)
	}
	if cap(*buffer) <= 4<<10 {
		messages.Put(buffer)
	}
}

// linkFor is the link that a message goes over.
func (x *device) linkFor(t topics.Topic) (kind, error) {
	switch {
	case t.Kind == topics.KindTelemetry && t.DeviceID == x.id && t.ModuleID == "":
		return telemetry, nil
	case t.Kind == topics.KindReport, t.Kind == topics.KindTwinGet:
		return twinOut, nil
	case t.Kind == topics.KindMethodResponse:
		return methodsOut, nil
	}
	return telemetry, errTopic
}

// unsendable is why a message of so many bytes cannot be sent on a link.
func (x *device) unsendable(e *endpoint, size int, waits bool) error {
	if err := x.unsent(); err != nil {
		return err
	}
	switch {
	case e == nil || e.state != attached:
		return errNoLink
	case e.most > 0 && uint64(size) > e.most:
		return errOversized
	case x.queued > 0 && x.queued+size > mostQueued, len(e.queue) >= mostOpen:
		return errFull
	case waits && x.open >= mostOpen:
		return errUnacknowledged
	}
	return nil
}

// Renew implements link.Renewer. A device with a certificate has nothing to renew.
func (x *device) Renew(done func(error)) {
	c := x.c
	c.lock()
	defer c.unlock()
	if err := x.unsent(); err != nil || x.password == nil {
		c.tell(done, err)
		return
	}
	if c.tokens != nil {
		for _, old := range c.tokens.forget(x) {
			c.tell(old, errSuperseded)
		}
	}
	if !c.put(x, done) {
		c.tell(done, errNoRoom)
	}
}

// Close detaches the device's links. The last device of a connection says CLOSE, and waits a second for the answer.
func (x *device) Close() {
	x.c.lock()
	defer x.c.unlock()
	x.end(errOver, true)
}

// Abort cuts the connection without a word, unless others share it: then it is Close.
func (x *device) Abort() {
	x.c.lock()
	defer x.c.unlock()
	x.ours = x.ours || x.progress != gone
	if !x.c.shares {
		x.c.wire.End(errOver)
		return
	}
	x.end(errOver, true)
}

// Cut implements link.Cutter.
func (x *device) Cut() {
	x.c.lock()
	defer x.c.unlock()
	x.ours = x.ours || x.progress != gone
	x.c.wire.End(errCut)
}

// answered takes the answer to the request for desired properties.
func (x *device) answered(status int64) {
	x.c.lock()
	defer x.c.unlock()
	if x.progress == gone || x.asked&notified == 0 || x.have&notified != 0 {
		return
	}
	if status >= 200 && status < 300 {
		x.have |= notified
		x.settle()
		return
	}
	x.lack(notified, refusal(status))
}
