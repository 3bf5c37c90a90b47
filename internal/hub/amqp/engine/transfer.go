package engine

import (
	"slices"

	"github.com/twinfleet/twinfleet/internal/amqp"
)

// partial is a delivery that has come in part.
type partial struct {
	delivery Delivery
	b        []byte
	why      *amqp.Error // of a link that ended before it was attached
}

// transfer takes a frame of a delivery.
func (s *session) transfer(body amqp.Body) error {
	var p amqp.Transfer
	if err := p.Decode(body.Fields); err != nil {
		return err
	}
	if s.window == 0 {
		s.fail(amqp.WindowViolation, "transfer: the session's window of %d transfers is used up", window)
		return nil
	}
	s.window--
	s.nextIncoming++
	if s.window <= window/2 {
		s.tell(nil)
	}
	l := s.link("transfer", p.Handle)
	if l == nil {
		return nil
	}
	if l.sender {
		l.fail(amqp.NotAllowed, "transfer: the peer receives on this link")
		return nil
	}
	d, whole := l.assemble(&p, body.Payload)
	if !whole {
		return nil
	}
	l.working++
	s.conn.mu.Unlock()
	l.handler.Deliver(d)
	s.conn.mu.Lock()
	return nil
}

// assemble adds a frame to the delivery that it belongs to, and reports whether that is whole. The caller holds the lock.
func (l *Link) assemble(p *amqp.Transfer, payload []byte) (d Delivery, whole bool) {
	c := l.session.conn
	begun := l.partial
	switch {
	case begun == nil && (!p.DeliveryID.Set || p.DeliveryTag == nil):
		l.fail(amqp.InvalidField, "transfer: the first frame of a delivery needs its delivery-id and its delivery-tag")
		return d, false
	case begun == nil && l.credit == 0:
		l.fail(amqp.TransferLimit, "transfer: the link has no credit")
		return d, false
	case begun == nil:
		l.credit--
		l.count++
		d = Delivery{ID: p.DeliveryID.V, Format: p.MessageFormat.V}
	case p.DeliveryID.Set && p.DeliveryID.V != begun.delivery.ID || p.MessageFormat.Set && p.MessageFormat.V != begun.delivery.Format:
		l.fail(amqp.InvalidField, "transfer: delivery %d is not whole yet", begun.delivery.ID)
		return d, false
	default:
		d = begun.delivery
	}
	d.Settled = d.Settled || p.Settled
	if p.Aborted {
		l.abandon()
		l.topUp()
		return d, false
	}
	size := len(payload)
	if begun != nil {
		size += len(begun.b)
	}
	switch {
	case size > maxMessage:
		l.fail(amqp.MessageSizeExceeded, "a delivery of more than %d bytes", maxMessage)
		return d, false
	case begun == nil && !p.More:
		d.Payload = payload
		return d, true
	case c.assembled+len(payload) > c.mayAssemble():
		l.fail(amqp.LimitExceeded, "deliveries of more than %d bytes have come in part", c.mayAssemble())
		return d, false
	case begun == nil:
		begun = &partial{b: make([]byte, 0, 2*len(payload))}
		l.partial = begun
	}
	begun.delivery = d
	begun.b = append(begun.b, payload...)
	c.assembled += len(payload)
	if p.More {
		return d, false
	}
	d.Payload = begun.b
	l.abandon()
	return d, true
}

// mayAssemble is how many bytes of deliveries may have come in part. The caller holds the lock.
func (c *Conn) mayAssemble() int {
	if !c.identified {
		return maxOfStrangers
	}
	return maxAssembled
}

// outgoing is what is left of a delivery that waits for the session's window.
type outgoing struct {
	link     *Link
	transfer amqp.Transfer
	payload  []byte
}

// maxWaiting is how many bytes of deliveries wait for a session's window, or for credit, before the session ends.
const maxWaiting = 8 << 20

// send sends a delivery for which there is credit. The caller holds the lock.
func (l *Link) send(tag string, settled bool, payload []byte) (id uint32) {
	s := l.session
	l.credit--
	l.count++
	id = s.nextDelivery
	s.nextDelivery++
	o := outgoing{link: l, payload: payload, transfer: amqp.Transfer{
		Handle: l.handle, DeliveryID: amqp.Some(id), MessageFormat: amqp.Some(amqp.FormatMessage), Settled: settled,
	}}
	if tag == "" {
		o.transfer.DeliveryTag = s.conn.tag()
	} else {
		o.transfer.DeliveryTag = []byte(tag)
	}
	if !settled {
		if s.unsettled == nil {
			s.unsettled = make(map[uint32]unsettled)
		}
		s.unsettled[id] = unsettled{l, tag}
	}
	if len(s.waiting) == 0 && s.write(&o) {
		return id
	}
	if s.kept+len(o.payload) > maxWaiting {
		s.fail(amqp.LimitExceeded, "%d bytes wait for the session's window", s.kept)
		return id
	}
	o.payload = slices.Clone(o.payload)
	s.kept += len(o.payload)
	s.waiting = append(s.waiting, &o)
	return id
}

// write sends as much of a delivery as the session's window lets through, and reports whether that is all of it. The caller holds the lock.
func (s *session) write(o *outgoing) bool {
	c := s.conn
	for s.peerWindow > 0 {
		// What is before the payload is smaller than this: nothing in it but the tag has no fixed size.
		const overhead = 128
		out := c.out()
		out.b, o.payload = amqp.AppendTransfer(out.b, s.channel, &o.transfer, o.payload, int(c.peerFrame)-overhead)
		c.written()
		s.peerWindow--
		s.nextOutgoing++
		if !o.transfer.More {
			return true
		}
	}
	return false
}

// push sends what waits for the session's window. The caller holds the lock.
func (s *session) push() {
	for len(s.waiting) > 0 {
		o := s.waiting[0]
		before := len(o.payload)
		whole := s.write(o)
		s.kept -= before - len(o.payload)
		if !whole {
			return
		}
		s.waiting[0] = nil
		s.waiting = s.waiting[1:]
	}
	s.waiting = nil
}

// withdraw takes what waits of a link away.
func (s *session) withdraw(l *Link) {
	s.waiting = slices.DeleteFunc(s.waiting, func(o *outgoing) bool {
		if o.link == l {
			s.kept -= len(o.payload)
		}
		return o.link == l
	})
}
