package amqp

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"

	"github.com/twinfleet/twinfleet/internal/amqp"
)

const (
	ourCredit   = 100       // messages that the other side may send on a link before it hears of more
	mostMessage = 1 << 20   // bytes of a message that comes; what the service allows itself
	mostParts   = 4 << 20   // bytes of messages of a connection that are not whole
	mostFrames  = 4096      // of a message that comes
	mostQueued  = 256 << 10 // bytes of messages that a device may have waiting for credit
	mostOpen    = 10_000    // messages of a device that are not settled: far more than one has under way, so that the rest is the target's
	transferTop = 64        // bytes of a frame before its part of a message, at most
)

// kind is what a link is for.
type kind uint8

const (
	telemetry kind = iota
	twinOut
	twinIn
	methodsOut
	methodsIn
	cloud
	kinds // of a device

	tokensOut = kinds
	tokensIn  = kinds + 1
)

// sends reports whether this side sends on it.
func (k kind) sends() bool {
	return k == telemetry || k == twinOut || k == methodsOut || k == tokensOut
}

// partner is the other link of a pair.
func (k kind) partner() (other kind, ok bool) {
	switch k {
	case twinOut:
		return twinIn, true
	case twinIn:
		return twinOut, true
	case methodsOut:
		return methodsIn, true
	case methodsIn:
		return methodsOut, true
	}
	return k, false
}

// state is how far a link is.
type state uint8

const (
	attaching state = iota // ATTACH was sent
	refused                // and answered with one that says no: DETACH follows
	attached
	detaching // DETACH was sent
	detached
)

// endpoint is this side's end of a link.
type endpoint struct {
	s     *session
	x     *device // whose it is, or for whom it was; nil of a link for tokens
	kind  kind
	state state
	waits bool // in s.waiting

	partial bool // a message has begun that is not whole
	settled bool // and is
	frames  uint16

	name     uint32 // makes its name unlike others
	handle   uint32
	peer     uint32 // the other side's handle
	count    uint32 // delivery-count
	credit   uint32
	delivery uint32 // number of the message that comes
	most     uint64 // bytes of a message that the other side takes; 0 for no limit

	part  []byte   // of the message that comes
	queue []queued // that wait for credit, or for the window
}

// queued is a message that is not sent, or not whole.
type queued struct {
	rest    []byte
	begun   bool
	settled bool
	done    func(error)
}

func (e *endpoint) sends() bool { return e.kind.sends() }

// attach asks for a link at an address; false when the session has no handle free for it. properties may be nil.
func (e *endpoint) attach(s *session, k kind, x *device, address string, properties amqp.Value) bool {
	handle := slices.Index(s.links, nil)
	if handle < 0 {
		if handle = len(s.links); uint64(handle) > uint64(min(s.handleMax, ourHandles)) {
			return false
		}
		s.links = append(s.links, nil)
	}
	c := s.c
	c.names++
	*e = endpoint{s: s, x: x, kind: k, state: attaching, handle: uint32(handle), name: c.names}
	s.links[handle] = e
	p := amqp.Attach{
		Name: e.appendName(nil), Handle: e.handle, Role: amqp.RoleReceiver, SndSettleMode: amqp.ModeUnset, RcvSettleMode: amqp.ModeUnset,
		HasSource: true, HasTarget: true, Properties: properties,
	}
	switch k {
	case twinOut, twinIn:
		p.SndSettleMode, p.RcvSettleMode = amqp.SenderSettled, amqp.ReceiverFirst
	case methodsOut, methodsIn:
		p.RcvSettleMode = amqp.ReceiverFirst
	}
	if k.sends() {
		p.Role, p.Target.Address, p.InitialDeliveryCount = amqp.RoleSender, amqp.AppendString(nil, address), amqp.Some(0)
	} else {
		p.Source.Address, p.MaxMessageSize = amqp.AppendString(nil, address), mostMessage
	}
	if k == tokensIn {
		p.Target.Address = amqp.AppendString(nil, replyTo)
	}
	c.say(s.channel, &p)
	return true
}

// appendName appends the link's name, by which its answer finds it.
func (e *endpoint) appendName(b []byte) []byte {
	b = strconv.AppendUint(append(b, "link-"...), uint64(e.handle), 10)
	return strconv.AppendUint(append(b, '-'), uint64(e.name), 10)
}

// named is the link with a name that waits for its answer; nil when there is none.
func (s *session) named(name []byte) *endpoint {
	middle, ok := bytes.CutPrefix(name, []byte("link-"))
	handle, _, _ := bytes.Cut(middle, []byte{'-'})
	n, err := strconv.ParseUint(string(handle), 10, 32)
	if !ok || err != nil || n >= uint64(len(s.links)) || s.links[n] == nil {
		return nil
	}
	e := s.links[n]
	var own [32]byte
	if !bytes.Equal(e.appendName(own[:0]), name) {
		return nil
	}
	return e
}

// attached takes the answer to ATTACH.
func (s *session) attached(body amqp.Body) error {
	var p amqp.Attach
	if err := p.Decode(body.Fields); err != nil {
		return err
	}
	e := s.named(p.Name)
	no := !p.HasSource && !p.HasTarget
	if e != nil && e.sends() && !p.HasTarget || e != nil && !e.sends() && !p.HasSource {
		no = true
	}
	switch {
	case e == nil || e.state != attaching && e.state != detaching || s.peer(e.peer) == e:
		return breach(amqp.NotAllowed, "an ATTACH that nobody has asked for")
	case !no && p.Role != e.sends():
		return breach(amqp.InvalidField, "an ATTACH with the role of this side")
	case p.Handle > ourHandles:
		return breach(amqp.FramingError, "a handle above handle-max")
	case s.peer(p.Handle) != nil:
		return breach(amqp.HandleInUse, "a handle that is in use")
	}
	for len(s.peers) <= int(p.Handle) {
		s.peers = append(s.peers, nil)
	}
	s.peers[p.Handle], e.peer = e, p.Handle
	switch {
	case e.state == detaching: // its DETACH is on its way
		return nil
	case no:
		e.state = refused
		return nil
	}
	e.state, e.most = attached, p.MaxMessageSize
	if !e.sends() {
		e.count = p.InitialDeliveryCount.V
		s.topUp(e)
	}
	if e.x == nil {
		s.c.tokens.pump()
	} else {
		e.x.linked(e.kind)
	}
	return nil
}

// abandon drops what has come of a message that is not whole.
func (e *endpoint) abandon() {
	e.s.c.parts -= len(e.part)
	e.part, e.partial = nil, false
}

// detach asks for the end of a link.
func (e *endpoint) detach() {
	c := e.s.c
	e.abandon()
	e.queue = nil
	if e.state >= detaching {
		return
	}
	e.state = detaching
	if c.phase == open && c.wire.Over() == nil && !c.wire.Full() {
		c.say(e.s.channel, &amqp.Detach{Handle: e.handle, Closed: true})
	}
}

// detached takes a DETACH: the answer to one, or the end of a link that the other side wants.
func (s *session) detached(body amqp.Body) error {
	var p amqp.Detach
	if err := p.Decode(body.Fields); err != nil {
		return err
	}
	e := s.peer(p.Handle)
	if e == nil {
		return breach(amqp.UnattachedHandle, "a DETACH of a link that is not attached")
	}
	c := s.c
	s.peers[p.Handle], s.links[e.handle] = nil, nil
	was := e.state
	e.abandon()
	e.state = detached
	if was == detaching {
		return nil
	}
	if !c.wire.Full() {
		c.say(s.channel, &amqp.Detach{Handle: e.handle, Closed: true})
	}
	why := ended(p.Error, errDetached)
	if e.x == nil { // without tokens there is no going on
		c.leave(why)
		return nil
	}
	e.x.unlinked(e.kind, was == attached, why)
	return nil
}

// transmit sends a message, or has it wait for credit. message is not kept.
func (e *endpoint) transmit(message []byte, settled bool, done func(error)) {
	q := queued{rest: message, settled: settled, done: done}
	if !settled && e.x != nil {
		e.x.open++
	}
	if len(e.queue) == 0 && e.state == attached && e.credit > 0 && e.s.window > 0 && e.push(&q) {
		return
	}
	q.rest = bytes.Clone(q.rest)
	e.queue = append(e.queue, q)
	if e.x != nil {
		e.x.queued += len(q.rest)
	}
	e.waitForWindow()
}

func (e *endpoint) waitForWindow() {
	if s := e.s; s.window == 0 && !e.waits {
		e.waits = true
		s.waiting = append(s.waiting, e)
	}
}

// empty sends what waits on a link, as far as credit and window go.
func (s *session) empty(e *endpoint) {
	sent := 0
	for ; sent < len(e.queue) && e.state == attached && s.window > 0 && s.c.wire.Over() == nil; sent++ {
		q := &e.queue[sent]
		if e.credit == 0 && !q.begun {
			break
		}
		before := len(q.rest)
		whole := e.push(q)
		if e.x != nil {
			e.x.queued -= before - len(q.rest)
		}
		if !whole {
			break
		}
	}
	if e.queue = slices.Delete(e.queue, 0, sent); len(e.queue) == 0 {
		e.queue = nil
	}
	if len(e.queue) > 0 && e.state == attached {
		e.waitForWindow()
	}
}

// push sends as much of a message as the window has room for, in frames that the other side takes; false when something is left.
func (e *endpoint) push(q *queued) bool {
	s, c := e.s, e.s.c
	first, id := !q.begun, s.deliveries
	t := amqp.Transfer{Handle: e.handle, Settled: q.settled}
	var tag [4]byte
	if first {
		binary.BigEndian.PutUint32(tag[:], id)
		t.DeliveryID, t.DeliveryTag, t.MessageFormat = amqp.Some(id), tag[:], amqp.Some(amqp.FormatMessage)
		q.begun = true
		s.deliveries++
		e.count++
		e.credit--
		if !q.settled {
			s.unsettled = append(s.unsettled, delivery{id, e.x, q.done})
		}
	}
	c.send(func(b []byte) []byte {
		for s.window > 0 && (first || len(q.rest) > 0) {
			b, q.rest = amqp.AppendTransfer(b, s.channel, &t, q.rest, int(c.peerFrame)-transferTop)
			first = false
			s.window--
			s.outgoing++
		}
		return b
	})
	if len(q.rest) > 0 {
		return false
	}
	if q.settled {
		c.tell(q.done, nil)
	}
	return true
}

// transfers takes a frame with a message, or with a part of one.
func (c *conn) transfers(channel uint16, body amqp.Body) error {
	var p amqp.Transfer
	if err := p.Decode(body.Fields); err != nil {
		return err
	}
	c.lock()
	e, message, err := c.receive(channel, &p, body.Payload)
	if e == nil || err != nil || message == nil {
		c.unlock()
		return err
	}
	s, x, k, id, settled := e.s, e.x, e.kind, e.delivery, e.settled
	if x == nil {
		err = c.tokens.answered(message)
	}
	c.unlock()
	if x != nil {
		err = x.arrived(k, message)
	}
	if err != nil {
		return err
	}
	c.lock()
	defer c.unlock()
	if c.wire.Over() != nil || c.phase != open || e.s != s || e.state == detached || c.wire.Full() {
		return nil
	}
	if !settled {
		c.say(s.channel, &amqp.Disposition{Role: amqp.RoleReceiver, First: id, Settled: true, State: amqp.State{Code: amqp.Accepted}})
	}
	s.topUp(e)
	return nil
}

// receive takes a part of a message, and returns the message when it is whole: an empty one is not nil.
func (c *conn) receive(channel uint16, p *amqp.Transfer, payload []byte) (*endpoint, []byte, error) {
	switch {
	case c.wire.Over() != nil:
		return nil, nil, c.wire.Over()
	case c.phase > open:
		return nil, nil, nil
	case c.phase == opening:
		return nil, nil, breach(amqp.NotAllowed, "a frame before OPEN")
	}
	s := c.session(channel)
	switch {
	case s == nil:
		return nil, nil, breach(amqp.NotAllowed, "a frame of a session that has not begun")
	case s.left == 0:
		return nil, nil, breach(amqp.WindowViolation, "more frames than the window of the session has room for")
	}
	s.left--
	s.incoming++
	e := s.peer(p.Handle)
	switch {
	case e == nil || e.sends():
		return nil, nil, breach(amqp.UnattachedHandle, "a message on a link that takes none")
	case e.state != attached: // it was sent before the other side knew
		s.topUp(e)
		return nil, nil, nil
	}
	if !e.partial {
		switch {
		case !p.DeliveryID.Set:
			return nil, nil, breach(amqp.InvalidField, "a message without a number")
		case e.credit == 0:
			return nil, nil, &violation{amqp.TransferLimit, ErrNoTransfer}
		}
		e.credit--
		e.count++
		e.partial, e.settled, e.frames, e.delivery = true, false, 0, p.DeliveryID.V
	} else if p.DeliveryID.Set && p.DeliveryID.V != e.delivery {
		return nil, nil, breach(amqp.NotAllowed, "a message begins before the one before it is whole")
	}
	e.settled = e.settled || p.Settled
	e.frames++
	switch {
	case p.Aborted:
		e.abandon()
		s.topUp(e)
		return nil, nil, nil
	case len(e.part)+len(payload) > mostMessage || e.frames > mostFrames || p.More && c.parts+len(payload) > mostParts:
		return nil, nil, &violation{amqp.MessageSizeExceeded, ErrTooLarge}
	case p.More:
		c.parts += len(payload)
		e.part = append(e.part, payload...)
		s.topUp(e)
		return nil, nil, nil
	}
	if len(e.part) > 0 {
		payload = append(e.part, payload...)
	}
	e.abandon()
	if payload == nil {
		payload = []byte{}
	}
	return e, payload, nil
}
