package amqp

import (
	"math"
	"slices"

	"github.com/twinfleet/twinfleet/internal/amqp"
)

const (
	ourWindow   = 2048 // frames with messages that the other side may send before it hears of more, as the Node SDK has it
	ourHandles  = 8191 // the highest handle that the other side may give a link
	spareLinks  = 2    // of a session, those for tokens
	roomForMost = math.MaxUint32
)

// session is the scope of handles, of the window and of the numbers of messages. There is more than one only where the other side
// allows too few links in it.
type session struct {
	c       *conn
	channel uint16 // of this side
	remote  uint16 // of the other side
	begun   bool   // the other side's BEGIN came
	devices int    // that have their links in it

	handleMax  uint32      // the highest handle that the other side takes
	links      []*endpoint // by this side's handle
	peers      []*endpoint // by the other side's
	unsettled  []delivery  // of what was sent, by number
	waiting    []*endpoint // that have something to send when the window opens
	outgoing   uint32      // next-outgoing-id
	window     uint32      // frames with messages that may be sent
	incoming   uint32      // the other side's next-outgoing-id
	left       uint32      // frames that it may send yet
	deliveries uint32      // the next delivery-id
}

// delivery is a message that was sent, and is not settled.
type delivery struct {
	id   uint32
	x    *device
	done func(error)
}

// openSession finds a session with room for a device, or begins one; nil when the other side has room for none. wait is true while one
// is about to tell how much room it has.
func (c *conn) openSession() (s *session, wait bool) {
	channel := -1
	for i, s := range c.sessions {
		switch {
		case s == nil && channel < 0:
			channel = i
		case s != nil && !s.begun:
			return nil, true
		case s != nil && uint64(s.devices+1)*uint64(kinds)+spareLinks <= uint64(min(s.handleMax, ourHandles))+1:
			return s, false
		}
	}
	if channel < 0 {
		channel = len(c.sessions)
		if channel > int(c.peerMax) {
			return nil, false
		}
		c.sessions = append(c.sessions, nil)
	}
	s = &session{c: c, channel: uint16(channel), handleMax: roomForMost, left: ourWindow}
	c.sessions[channel] = s
	c.say(s.channel, &amqp.Begin{NextOutgoingID: s.outgoing, IncomingWindow: ourWindow, OutgoingWindow: roomForMost, HandleMax: ourHandles})
	return s, false
}

// session is the one that the other side has on a channel of its own; nil when there is none.
func (c *conn) session(remote uint16) *session {
	for _, s := range c.sessions {
		if s != nil && s.begun && s.remote == remote {
			return s
		}
	}
	return nil
}

// begins takes the answer to BEGIN.
func (c *conn) begins(channel uint16, body amqp.Body) error {
	var p amqp.Begin
	if err := p.Decode(body.Fields); err != nil {
		return err
	}
	switch {
	case !p.HasRemote || int(p.RemoteChannel) >= len(c.sessions) || c.sessions[p.RemoteChannel] == nil || c.sessions[p.RemoteChannel].begun:
		return breach(amqp.NotAllowed, "a BEGIN that nobody has asked for")
	case channel > ourChannel || c.session(channel) != nil:
		return breach(amqp.NotAllowed, "a BEGIN on a channel that is not free")
	}
	s := c.sessions[p.RemoteChannel]
	s.begun, s.remote, s.handleMax = true, channel, p.HandleMax
	s.incoming, s.window = p.NextOutgoingID, p.IncomingWindow
	s.pump()
	for _, x := range slices.Clone(c.devices) { // those that waited for it
		if x.s == nil {
			x.start()
		}
	}
	return nil
}

// ends takes the other side's END: all in the session is over with it.
func (s *session) ends(body amqp.Body) error {
	var p amqp.End
	if err := p.Decode(body.Fields); err != nil {
		return err
	}
	c, why := s.c, ended(p.Error, errEnded)
	if !c.wire.Full() {
		c.say(s.channel, &amqp.End{})
	}
	c.sessions[s.channel] = nil
	for _, e := range s.links {
		if e != nil {
			e.abandon()
			e.state = detached
		}
	}
	s.links, s.peers = nil, nil
	if c.tokens != nil && c.tokens.s == s { // without tokens there is no going on
		c.leave(why)
		return nil
	}
	for _, x := range slices.Clone(c.devices) {
		if x.s == s {
			x.end(why, false)
		}
	}
	return nil
}

// flow is the state of the session, and of a link unless it is nil.
func (s *session) flow(e *endpoint, drain bool) *amqp.Flow {
	s.left = ourWindow
	f := &amqp.Flow{
		NextIncomingID: amqp.Uint32{V: s.incoming, Set: s.begun}, IncomingWindow: s.left, NextOutgoingID: s.outgoing, OutgoingWindow: roomForMost,
	}
	if e != nil {
		f.Handle, f.DeliveryCount, f.LinkCredit, f.Available = amqp.Some(e.handle), amqp.Some(e.count), amqp.Some(e.credit), amqp.Some(uint32(len(e.queue)))
		f.Drain = drain
	}
	return f
}

// flows takes what the other side grants.
func (s *session) flows(body amqp.Body) error {
	var p amqp.Flow
	if err := p.Decode(body.Fields); err != nil {
		return err
	}
	// Before the other side has seen a frame of this one, it may not know how they are numbered: from 0.
	if sent := s.outgoing - p.NextIncomingID.V; sent > math.MaxInt32 {
		return breach(amqp.InvalidField, "a next-incoming-id of frames that were not sent")
	}
	s.window = p.Window(0, s.outgoing)
	var e *endpoint
	if p.Handle.Set {
		if e = s.peer(p.Handle.V); e == nil {
			return breach(amqp.UnattachedHandle, "a FLOW of a link that is not attached")
		}
		if e.sends() {
			e.credit = p.Credit(e.count)
		} else if ahead := p.DeliveryCount.V - e.count; p.DeliveryCount.Set && ahead <= e.credit { // it has given up credit
			e.count, e.credit = e.count+ahead, e.credit-ahead
			s.topUp(e)
		}
	}
	s.pump()
	if e != nil {
		s.empty(e)
	}
	if s.c.tokens != nil {
		s.c.tokens.pump()
	}
	drained := e != nil && e.sends() && p.Drain && e.state == attached
	if drained {
		e.count, e.credit = e.count+e.credit, 0
	}
	if (p.Echo || drained) && !s.c.wire.Full() {
		s.c.say(s.channel, s.flow(e, drained))
	}
	return nil
}

// peer is the link to which the other side gave a handle; nil when there is none.
func (s *session) peer(handle uint32) *endpoint {
	if uint64(handle) < uint64(len(s.peers)) {
		return s.peers[handle]
	}
	return nil
}

// pump sends what has waited for the window.
func (s *session) pump() {
	for len(s.waiting) > 0 && s.window > 0 {
		e := s.waiting[0]
		s.waiting = slices.Delete(s.waiting, 0, 1)
		e.waits = false
		s.empty(e)
	}
	if len(s.waiting) == 0 {
		s.waiting = nil
	}
}

// topUp grants a link that receives more credit, when half of it is used, and the session more of the window.
func (s *session) topUp(e *endpoint) {
	switch {
	case s.c.wire.Full() || s.c.phase > open:
	case e.state == attached && e.credit <= ourCredit/2:
		e.credit = ourCredit
		s.c.say(s.channel, s.flow(e, false))
	case s.left <= ourWindow/2:
		s.c.say(s.channel, s.flow(nil, false))
	}
}

// disposes takes what became of messages.
func (s *session) disposes(body amqp.Body) error {
	var p amqp.Disposition
	if err := p.Decode(body.Fields); err != nil {
		return err
	}
	last := p.First
	if p.Last.Set {
		last = p.Last.V
	}
	if last-p.First > math.MaxInt32 {
		return breach(amqp.InvalidField, "a DISPOSITION that ends before it begins")
	}
	settles := p.Settled || p.State.Code > amqp.Received
	if p.Role == amqp.RoleSender || !settles || len(s.unsettled) == 0 { // of what this side got it has settled all
		return nil
	}
	from, _ := slices.BinarySearchFunc(s.unsettled, p.First, bySerial)
	to := from
	for to < len(s.unsettled) && last-s.unsettled[to].id <= math.MaxInt32 {
		to++
	}
	err := outcome(p.State)
	for _, u := range s.unsettled[from:to] {
		if u.x != nil { // else it is a token
			u.x.open--
		}
		s.c.tell(u.done, err)
	}
	if s.unsettled = slices.Delete(s.unsettled, from, to); len(s.unsettled) == 0 && cap(s.unsettled) > 16 {
		s.unsettled = nil
	}
	if !p.Settled && to > from && !s.c.wire.Full() { // it waits for this side to settle first
		s.c.say(s.channel, &amqp.Disposition{Role: amqp.RoleSender, First: p.First, Last: p.Last, Settled: true, State: p.State})
	}
	return nil
}

// bySerial compares numbers that begin anew after the highest (RFC 1982).
func bySerial(d delivery, id uint32) int {
	switch ahead := int32(d.id - id); {
	case ahead < 0:
		return -1
	case ahead > 0:
		return 1
	}
	return 0
}

// outcome is what a message that was sent is told of its state.
func outcome(s amqp.State) error {
	switch s.Code {
	case amqp.Accepted:
		return nil
	case amqp.Rejected:
		return ended(s.Error, errRejected)
	case amqp.Released, amqp.Modified:
		return errReleased
	default:
		return ErrNoOutcome
	}
}
