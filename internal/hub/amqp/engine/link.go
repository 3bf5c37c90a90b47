package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"

	"github.com/twinfleet/twinfleet/internal/amqp"
)

type linkState uint8

const (
	attaching linkState = iota // the User is being asked
	attached
	detached // from this side, until the peer has said so too
)

// Link is one link of a connection. Its methods wait for nobody, and may be called at any time, also before it is attached, when
// it has no credit, and after it is over, when they do nothing.
type Link struct {
	session *session
	handler Handler
	name    uint64 // its hash
	handle  uint32

	// The connection's lock protects the following fields.
	state  linkState
	sender bool // this side sends
	drain  bool // the peer wants its credit used, or used up
	known  bool // the handler has been told that it is over, or is about to be

	count   uint32 // deliveries since the beginning
	credit  uint32 // deliveries that may be sent
	grant   uint32 // that the peer may have under way, when it sends
	working uint32 // of them those that came and are not answered
	most    uint64 // bytes of a delivery that the peer takes; 0 for any

	partial *partial // the delivery that has come in part; nil for none
	posted  [][]byte // what waits for credit
}

// Conn is the link's connection.
func (l *Link) Conn() *Conn { return l.session.conn }

// Together reports whether two links are of one session, as those of a request and its answers may be.
func (l *Link) Together(other *Link) bool { return l.session == other.session }

var seed = maphash.MakeSeed()

// attach attaches a link of the peer's, or refuses it: with an attach without source and target, and a detach with the error.
func (s *session) attach(list amqp.Value) error {
	c := s.conn
	var p amqp.Attach
	if err := p.Decode(list); err != nil {
		return err
	}
	l := &Link{
		session: s, handle: p.Handle, name: maphash.Bytes(seed, p.Name), sender: p.Role == amqp.RoleReceiver,
	}
	if l.sender {
		l.most = p.MaxMessageSize
	} else {
		l.count = p.InitialDeliveryCount.V
	}
	key := name{l.name, l.sender}
	_, taken := s.names[key]
	switch {
	case p.Handle > handleMax:
		c.fail(amqp.FramingError, "attach: handle %d; the highest is %d", p.Handle, handleMax)
		return nil
	case p.Handle > s.handleMax:
		c.fail(amqp.FramingError, "attach: handle %d has no answer; the peer's highest is %d", p.Handle, s.handleMax)
		return nil
	case s.links[p.Handle] != nil:
		s.fail(amqp.HandleInUse, "attach: handle %d has a link", p.Handle)
		return nil
	case len(p.Name) == 0 || len(p.Name) > maxText:
		s.fail(amqp.InvalidField, "attach: a name has from 1 to %d bytes", maxText)
		return nil
	case c.links >= c.limits.links+moreRefused:
		c.fail(amqp.LimitExceeded, "attach: the connection has %d links, more than it may have", c.links)
		return nil
	}
	if s.links == nil {
		s.links, s.names = make(map[uint32]*Link), make(map[name]struct{})
	}
	s.links[p.Handle] = l
	c.links++
	var grant Grant
	var err error
	switch {
	case taken:
		l.name = 0 // that of the other
		err = &amqp.Error{Condition: amqp.NotAllowed, Description: "a link of this name is attached to the session"}
	case c.links > c.limits.links:
		err = &amqp.Error{Condition: amqp.LimitExceeded, Description: fmt.Sprintf("the connection has %d links, as many as it may have", c.limits.links)}
	case p.Target.Coordinator && p.HasTarget:
		err = &amqp.Error{Condition: amqp.NotImplemented, Description: "there are no transactions"}
	case p.Source.Dynamic || p.Target.Dynamic:
		err = &amqp.Error{Condition: amqp.NotImplemented, Description: "addresses are not made up"}
	default:
		s.names[key] = struct{}{}
		c.mu.Unlock()
		grant, err = c.user.Attach(l, &p)
		if err == nil && grant.Handler == nil {
			err = errors.New("nothing is behind the link")
		}
		c.mu.Lock()
	}
	l.handler = grant.Handler
	if s.links[p.Handle] != l || s.ending || c.phase != atWork || l.state == detached && err == nil {
		l.overLate(&p, grant)
		return nil
	}
	l.answer(&p, grant, err)
	return nil
}

// overLate is the end of a link that ended while the User was asked. The caller holds the lock.
func (l *Link) overLate(p *amqp.Attach, grant Grant) {
	s := l.session
	if s.links[l.handle] == l && !s.ending && s.conn.phase == atWork { // its own user has detached it
		l.reply(p, grant, nil)
		s.conn.put(s.channel, &amqp.Detach{Handle: l.handle, Closed: true, Error: l.reason()}, nil)
	}
	l.known = false
	l.over()
}

// answer answers an attach. The caller holds the lock.
func (l *Link) answer(p *amqp.Attach, grant Grant, err error) {
	s := l.session
	l.reply(p, grant, err)
	if err != nil {
		refused := &amqp.Error{Condition: amqp.InternalError}
		errors.As(err, &refused)
		l.state, l.known = detached, true
		s.conn.put(s.channel, &amqp.Detach{Handle: l.handle, Closed: true, Error: refused}, nil)
		return
	}
	l.state = attached
	if !l.sender {
		l.grant, l.credit = grant.Credit, grant.Credit
		if l.credit > 0 {
			s.tell(l)
		}
	}
}

// reply writes an attach. Settle modes are what was asked for; some clients take nothing else.
func (l *Link) reply(p *amqp.Attach, grant Grant, err error) {
	a := amqp.Attach{
		Name: p.Name, Handle: p.Handle, Role: !p.Role, SndSettleMode: p.SndSettleMode, RcvSettleMode: p.RcvSettleMode,
		HasSource: err == nil, HasTarget: err == nil, Source: p.Source, Target: p.Target, Properties: p.Properties,
	}
	if a.SndSettleMode == amqp.ModeUnset {
		a.SndSettleMode = grant.SndSettleMode
	}
	if a.RcvSettleMode == amqp.ModeUnset {
		a.RcvSettleMode = grant.RcvSettleMode
	}
	if err != nil {
		a.SndSettleMode, a.RcvSettleMode = p.SndSettleMode, p.RcvSettleMode
	}
	if l.sender {
		a.InitialDeliveryCount, a.MaxMessageSize = amqp.Some(0), p.MaxMessageSize
	} else {
		a.MaxMessageSize = maxMessage
	}
	l.session.conn.put(l.session.channel, &a, nil)
}

// detach takes a detach of the peer's, and answers it.
func (s *session) detach(list amqp.Value) error {
	var p amqp.Detach
	if err := p.Decode(list); err != nil {
		return err
	}
	l := s.links[p.Handle]
	if l == nil {
		s.fail(amqp.UnattachedHandle, "detach: no link has handle %d", p.Handle)
		return nil
	}
	delete(s.links, p.Handle)
	if l.name != 0 {
		delete(s.names, name{l.name, l.sender})
	}
	s.conn.links--
	answer := l.state == attached
	l.over()
	s.conn.tell() // before the peer knows: whatever it does next finds the link gone
	if answer && !s.ending && s.conn.phase == atWork {
		s.conn.put(s.channel, &amqp.Detach{Handle: p.Handle, Closed: p.Closed}, nil)
	}
	return nil
}

// over makes the link one that is over, and has its handler told. The caller holds the lock.
func (l *Link) over() {
	l.state = detached
	for _, b := range l.posted {
		l.session.kept -= len(b)
	}
	l.posted = nil
	l.abandon()
	l.session.withdraw(l)
	for id, u := range l.session.unsettled {
		if u.link == l {
			delete(l.session.unsettled, id)
		}
	}
	if !l.known && l.handler != nil {
		l.known = true
		l.session.conn.gone = append(l.session.conn.gone, l)
	}
}

// abandon drops what has come of a delivery in part.
func (l *Link) abandon() {
	if l.partial != nil {
		l.session.conn.assembled -= len(l.partial.b)
		l.partial = nil
	}
}

// Detach ends the link with an error, as the peer sees it; nil for none.
func (l *Link) Detach(why *amqp.Error) {
	c := l.session.conn
	c.mu.Lock()
	defer c.leave()
	l.end(why)
}

// end detaches the link from this side. The caller holds the lock.
func (l *Link) end(why *amqp.Error) {
	switch l.state {
	case attaching: // its attach is answered first
		l.state = detached
		l.partial = &partial{why: why}
		return
	case detached:
		return
	}
	s := l.session
	l.over()
	s.conn.put(s.channel, &amqp.Detach{Handle: l.handle, Closed: true, Error: why}, nil)
}

// reason is why a link ended before it was attached.
func (l *Link) reason() *amqp.Error {
	if l.partial == nil {
		return nil
	}
	why := l.partial.why
	l.partial = nil
	return why
}

// fail detaches the link for a mistake of the peer's. The caller holds the lock.
func (l *Link) fail(condition, format string, args ...any) {
	l.end(&amqp.Error{Condition: condition, Description: fmt.Sprintf(format, args...)})
}

// Credit is how many deliveries may be sent now.
func (l *Link) Credit() int {
	c := l.session.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	return int(l.maySend())
}

// Unread is how many bytes the peer has yet to read on the connection, or to make room for in the session's window. A peer that lets too
// many come together loses its connection, or its session, so that who has much to send looks before each delivery.
func (l *Link) Unread() int {
	c := l.session.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	n := l.session.kept + c.stream.Unread()
	if c.buf != nil {
		n += len(c.buf.b)
	}
	return n
}

// What keeps a delivery from being sent.
var (
	ErrNoCredit = errors.New("the peer takes no more deliveries now")
	ErrTooLarge = errors.New("the peer takes no delivery as large")
	ErrDetached = errors.New("the link is detached")
)

// Send sends a delivery, and returns its id. The tag has at most 32 bytes; a settled delivery may have none, and gets one of 16. What
// the session's window does not let through waits; the payload is the caller's again when Send returns. Errors: ErrNoCredit, ErrTooLarge,
// ErrDetached.
func (l *Link) Send(tag string, settled bool, payload []byte) (uint32, error) {
	c := l.session.conn
	c.mu.Lock()
	defer c.leave()
	switch {
	case l.state == detached:
		return 0, ErrDetached
	case l.maySend() == 0:
		return 0, ErrNoCredit
	case l.most > 0 && uint64(len(payload)) > l.most:
		return 0, fmt.Errorf("%w: %d bytes; at most %d", ErrTooLarge, len(payload), l.most)
	}
	return l.send(tag, settled, payload), nil
}

// Post sends a settled delivery, at once or when there is credit. As many as 256 wait; with one more the link is detached. Errors:
// ErrTooLarge, ErrDetached.
func (l *Link) Post(payload []byte) error {
	_, err := l.Send("", true, payload)
	if !errors.Is(err, ErrNoCredit) {
		return err
	}
	c := l.session.conn
	c.mu.Lock()
	defer c.leave()
	switch {
	case l.state == detached:
		return ErrDetached
	case len(l.posted) == 0 && l.maySend() > 0:
		l.send("", true, payload)
	case len(l.posted) >= maxPosted || l.session.kept+len(payload) > maxWaiting:
		l.fail(amqp.LimitExceeded, "%d messages wait for credit", len(l.posted))
		return ErrDetached
	default:
		l.session.kept += len(payload)
		l.posted = append(l.posted, append([]byte(nil), payload...))
	}
	return nil
}

// maySend is how many deliveries may be sent now. The caller holds the lock.
func (l *Link) maySend() uint32 {
	if !l.sender || l.state != attached || len(l.session.unsettled) >= maxUnsettled {
		return 0
	}
	return l.credit
}

// credited takes the credit of a peer that receives. The caller holds the lock, which is released while the handler is called.
func (l *Link) credited(p *amqp.Flow) {
	if p.LinkCredit.Set {
		l.credit = p.Credit(l.count)
	}
	l.drain = p.Drain
	for len(l.posted) > 0 && l.maySend() > 0 {
		l.session.kept -= len(l.posted[0])
		l.send("", true, l.posted[0])
		l.posted = l.posted[1:]
	}
	c := l.session.conn
	c.mu.Unlock()
	l.handler.Credit()
	c.mu.Lock()
	if l.drain && l.state == attached {
		l.count += l.credit
		l.credit = 0
	}
}

// peerSent takes how many deliveries a peer that sends counts: its credit may have been used up without any. The caller holds the lock.
func (l *Link) peerSent(p *amqp.Flow) {
	if !p.DeliveryCount.Set || l.partial != nil {
		return
	}
	if gone := p.DeliveryCount.V - l.count; gone > 0 && gone <= l.credit {
		l.count += gone
		l.credit -= gone
		l.topUp()
	}
}

// Settle answers a delivery with what became of it. A peer that has settled it hears nothing.
func (l *Link) Settle(d Delivery, state amqp.State) {
	c := l.session.conn
	c.mu.Lock()
	defer c.leave()
	if l.state != attached {
		return
	}
	if !d.Settled { // also in second mode, as the service does: some clients wait for that
		c.put(l.session.channel, &amqp.Disposition{Role: amqp.RoleReceiver, First: d.ID, Settled: true, State: state}, nil)
	}
	l.done()
}

// Forget answers a delivery with nothing, as when answers are to be lost.
func (l *Link) Forget(Delivery) {
	c := l.session.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.state == attached {
		l.done()
	}
}

func (l *Link) done() {
	if l.working > 0 {
		l.working--
	}
	l.topUp()
}

// topUp grants credit anew when half of it is used. The caller holds the lock.
func (l *Link) topUp() {
	if l.credit+l.working <= l.grant/2 && l.grant > 0 {
		l.credit = l.grant - l.working
		l.session.tell(l)
	}
}

// tag is a delivery tag of 16 bytes, for a delivery that needs none of its own.
func (c *Conn) tag() []byte {
	c.tags++
	return binary.BigEndian.AppendUint64(make([]byte, 8, 16), c.tags)
}
