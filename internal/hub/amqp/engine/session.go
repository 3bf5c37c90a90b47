package engine

import (
	"fmt"
	"slices"

	"github.com/twinfleet/twinfleet/internal/amqp"
)

// session is one of a connection. The connection's lock protects it.
type session struct {
	conn    *Conn
	channel uint16 // of both directions
	ending  bool   // this side has ended it: the peer's end

	nextIncoming uint32 // transfer-id of the peer's next transfer
	window       uint32 // transfers that it may still send
	nextOutgoing uint32 // transfer-id of the next one here
	nextDelivery uint32 // delivery-id of the next delivery here
	peerWindow   uint32 // transfers that may be sent
	handleMax    uint32 // the highest that the peer takes

	links     map[uint32]*Link     // by handle, the same for both sides
	names     map[name]struct{}    // of links
	unsettled map[uint32]unsettled // deliveries that were sent, by delivery-id
	waiting   []*outgoing          // transfers that wait for the peer's window
	kept      int                  // bytes of them
}

// name is that of a link, with its role: a hash, for which nothing is kept that a peer chooses the size of.
type name struct {
	hash     uint64
	receiver bool // the peer is
}

// unsettled is a delivery that was sent.
type unsettled struct {
	link *Link
	tag  string
}

// begin begins a session of the peer's.
func (c *Conn) begin(channel uint16, list amqp.Value) error {
	var p amqp.Begin
	if err := p.Decode(list); err != nil {
		return err
	}
	switch {
	case p.HasRemote:
		c.fail(amqp.NotAllowed, "begin: it answers a session that nobody began")
	case channel > channelMax:
		c.fail(amqp.FramingError, "begin: channel %d; the highest is %d", channel, channelMax)
	case channel > c.peerChannel:
		c.fail(amqp.FramingError, "begin: channel %d has no answer; the peer's highest is %d", channel, c.peerChannel)
	case c.sessions[channel] != nil:
		c.fail(amqp.NotAllowed, "begin: channel %d has a session", channel)
	case len(c.sessions) >= c.limits.sessions:
		c.fail(amqp.LimitExceeded, "begin: the connection has %d sessions, as many as it may have", len(c.sessions))
	default:
		s := &session{
			conn: c, channel: channel, nextIncoming: p.NextOutgoingID, window: window, nextOutgoing: firstOutgoing,
			peerWindow: p.IncomingWindow, handleMax: min(p.HandleMax, handleMax),
		}
		c.sessions[channel] = s
		// The outgoing window is the peer's, echoed (recorded).
		c.put(channel, &amqp.Begin{
			RemoteChannel: channel, HasRemote: true, NextOutgoingID: firstOutgoing, IncomingWindow: window, OutgoingWindow: p.OutgoingWindow,
			HandleMax: handleMax,
		}, nil)
	}
	return nil
}

// firstOutgoing is the transfer-id of the first transfer (recorded).
const firstOutgoing = 1

// end ends a session from this side. The caller holds the lock.
func (s *session) end(why *amqp.Error) {
	if s.ending {
		return
	}
	s.ending = true
	s.conn.forget(s)
	s.conn.put(s.channel, &amqp.End{Error: why}, nil)
}

// fail ends the session for a mistake of the peer's. The caller holds the lock.
func (s *session) fail(condition, format string, args ...any) {
	s.end(&amqp.Error{Condition: condition, Description: fmt.Sprintf(format, args...)})
}

// forget takes the links of a session away, which has ended. The caller holds the lock, and tells their handlers.
func (c *Conn) forget(s *session) {
	links := s.links
	s.links, s.names, s.unsettled, s.waiting = nil, nil, nil, nil
	c.links -= len(links)
	for _, l := range links {
		l.over()
	}
}

// frame takes a frame of the session.
func (s *session) frame(p amqp.Body) error {
	if p.Code == amqp.CodeEnd {
		var m amqp.End
		if err := m.Decode(p.Fields); err != nil {
			return err
		}
		delete(s.conn.sessions, s.channel)
		s.conn.forget(s)
		s.conn.tell() // before the peer knows: whatever it does next finds the links gone
		if !s.ending {
			s.ending = true
			s.conn.put(s.channel, &amqp.End{}, nil)
		}
		return nil
	}
	if s.ending { // it has not heard of that yet
		return nil
	}
	switch p.Code {
	case amqp.CodeAttach:
		return s.attach(p.Fields)
	case amqp.CodeFlow:
		return s.flow(p.Fields)
	case amqp.CodeTransfer:
		return s.transfer(p)
	case amqp.CodeDisposition:
		return s.disposition(p.Fields)
	default:
		return s.detach(p.Fields)
	}
}

// flow takes the state of the session and of one of its links.
func (s *session) flow(list amqp.Value) error {
	var p amqp.Flow
	if err := p.Decode(list); err != nil {
		return err
	}
	s.peerWindow = p.Window(firstOutgoing, s.nextOutgoing)
	s.push()
	if !p.Handle.Set {
		if p.Echo {
			s.tell(nil)
		}
		return nil
	}
	l := s.link("flow", p.Handle.V)
	if l == nil {
		return nil
	}
	if !l.sender {
		l.peerSent(&p)
		if p.Echo {
			s.tell(l)
		}
		return nil
	}
	l.credited(&p)
	if l.state == attached && (p.Echo || p.Drain) && !s.ending && s.conn.phase == atWork {
		s.tell(l)
	}
	return nil
}

// tell tells the peer of the session's state, and that of a link unless it is nil. The caller holds the lock.
func (s *session) tell(l *Link) {
	s.window = window
	p := amqp.Flow{
		NextIncomingID: amqp.Some(s.nextIncoming), IncomingWindow: s.window, NextOutgoingID: s.nextOutgoing, OutgoingWindow: 1<<32 - 1,
	}
	if l != nil {
		p.Handle, p.DeliveryCount, p.LinkCredit = amqp.Some(l.handle), amqp.Some(l.count), amqp.Some(l.credit)
		p.Available, p.Drain = amqp.Some(0), l.drain
	}
	s.conn.put(s.channel, &p, nil)
}

// link is one that the peer names by its handle; nil when it is over, or when there is none, which ends the session.
func (s *session) link(what string, handle uint32) *Link {
	l := s.links[handle]
	switch {
	case l == nil:
		s.fail(amqp.UnattachedHandle, "%s: no link has handle %d", what, handle)
		return nil
	case l.state != attached:
		return nil
	}
	return l
}

// disposition takes what became of deliveries. Ids that nobody knows mean nothing: peers repeat themselves.
func (s *session) disposition(list amqp.Value) error {
	var p amqp.Disposition
	if err := p.Decode(list); err != nil {
		return err
	}
	last := p.First
	if p.Last.Set {
		last = p.Last.V
	}
	if int32(last-p.First) < 0 {
		s.fail(amqp.InvalidField, "disposition: from delivery %d to %d", p.First, last)
		return nil
	}
	if p.Role == amqp.RoleSender || !p.Settled && (p.State.Code == amqp.NoState || p.State.Code == amqp.Received) {
		return nil // of deliveries that came here nothing is remembered once they are answered
	}
	for _, id := range s.between(p.First, last) {
		u, ok := s.unsettled[id]
		if !ok || u.link.state != attached {
			continue
		}
		delete(s.unsettled, id)
		state := p.State
		s.conn.mu.Unlock()
		state = u.link.handler.Outcome(Outcome{ID: id, Tag: u.tag, State: state})
		s.conn.mu.Lock()
		if !p.Settled && !s.ending && s.conn.phase == atWork {
			s.conn.put(s.channel, &amqp.Disposition{Role: amqp.RoleSender, First: id, Settled: true, State: state}, nil)
		}
	}
	return nil
}

// between are the deliveries that were sent and are not settled, from one id to another, in the order of serial numbers.
func (s *session) between(first, last uint32) []uint32 {
	var ids []uint32
	if n := last - first; uint64(n) <= uint64(len(s.unsettled)) {
		for id := first; ; id++ {
			if _, ok := s.unsettled[id]; ok {
				ids = append(ids, id)
			}
			if id == last {
				return ids
			}
		}
	}
	for id := range s.unsettled {
		if id-first <= last-first {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b uint32) int { return int(int32(a - b)) })
	return ids
}
