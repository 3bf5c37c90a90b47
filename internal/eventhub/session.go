package eventhub

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/internal/amqp"
)

// link is one end of a link. A sender's other end is the hub's receiver.
type link struct {
	name     string
	receives bool
	source   string     // address; of a sender empty
	target   string     // address; of a receiver what answers are to name, or empty
	filter   amqp.Value // of the source; nil for none
	grant    uint32     // of a receiver: deliveries that the hub may have under way
	take     func(body []byte) error

	handle   uint32
	up       bool        // the hub has answered
	refused  bool        // with a link that it will end at once
	ended    *amqp.Error // why it ended; nil while it has not
	count    uint32      // deliveries so far: its delivery-count
	credit   uint32      // deliveries that are allowed still
	partial  []byte      // of a delivery of which more comes
	under    bool        // a delivery is under way
	delivery amqp.Transfer
}

// attach asks for a link.
func (c *conn) attach(l *link) {
	l.handle = uint32(len(c.links))
	c.links = append(c.links, l)
	a := amqp.Attach{
		Name: []byte(l.name), Handle: l.handle, Role: l.receives, SndSettleMode: amqp.ModeUnset, RcvSettleMode: amqp.ModeUnset,
		HasSource: true, HasTarget: true, MaxMessageSize: maxMessage,
	}
	if l.source != "" {
		a.Source.Address = amqp.AppendString(nil, l.source)
	}
	a.Source.Filter = l.filter
	if l.target != "" {
		a.Target.Address = amqp.AppendString(nil, l.target)
	}
	if !l.receives {
		a.InitialDeliveryCount = amqp.Some(0)
	}
	c.send(&a)
}

// ready waits until the hub has answered a link, and a sender may send.
func (c *conn) ready(what string, links ...*link) error {
	for _, l := range links {
		err := c.until(what, func() bool { return l.ended != nil || l.up && !l.refused && (l.receives || l.credit > 0) })
		if err != nil {
			return err
		}
		if l.ended != nil {
			return refusal(what, l.ended)
		}
	}
	return nil
}

// frame handles a frame of the connection.
func (c *conn) frame(f amqp.Frame) error {
	p, err := amqp.Parse(f.Body)
	if err == nil {
		err = c.performative(&p, f.Channel)
	}
	if errors.Is(err, amqp.ErrDecode) {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	return err
}

// performative handles what a frame says.
func (c *conn) performative(p *amqp.Body, channel uint16) error {
	switch p.Code {
	case amqp.CodeOpen:
		return c.onOpen(p.Fields)
	case amqp.CodeClose:
		var x amqp.Close
		if err := x.Decode(p.Fields); err != nil {
			return err
		}
		if x.Error == nil {
			return fmt.Errorf("%w: the hub closed it", ErrLost)
		}
		return refusal("the connection", x.Error)
	case amqp.CodeBegin:
		return c.onBegin(p.Fields, channel)
	}
	if !c.begun || channel != c.channel {
		return fmt.Errorf("%w: a frame of a session that there is not", ErrProtocol)
	}
	switch p.Code {
	case amqp.CodeEnd:
		var x amqp.End
		if err := x.Decode(p.Fields); err != nil {
			return err
		}
		if x.Error == nil {
			return fmt.Errorf("%w: the hub ended the session", ErrLost)
		}
		return refusal("the session", x.Error)
	case amqp.CodeAttach:
		return c.onAttach(p.Fields)
	case amqp.CodeFlow:
		return c.onFlow(p.Fields)
	case amqp.CodeTransfer:
		return c.onTransfer(p)
	case amqp.CodeDisposition:
		return c.onDisposition(p.Fields)
	case amqp.CodeDetach:
		return c.onDetach(p.Fields)
	}
	return fmt.Errorf("%w: a performative 0x%02x", ErrProtocol, p.Code)
}

func (c *conn) onOpen(list amqp.Value) error {
	var x amqp.Open
	if err := x.Decode(list); err != nil {
		return err
	}
	if c.opened || x.MaxFrameSize < amqp.MinMaxFrame {
		return fmt.Errorf("%w: a second open, or frames of %d bytes", ErrProtocol, x.MaxFrameSize)
	}
	c.opened, c.mostOut = true, min(x.MaxFrameSize, maxFrame)
	if x.IdleTimeOut.V > 0 {
		c.beat = max(time.Duration(x.IdleTimeOut.V)*time.Millisecond/2, fastest)
	}
	return nil
}

func (c *conn) onBegin(list amqp.Value, channel uint16) error {
	var x amqp.Begin
	if err := x.Decode(list); err != nil {
		return err
	}
	if !c.opened || c.begun || !x.HasRemote || x.RemoteChannel != 0 {
		return fmt.Errorf("%w: a session that nobody asked for", ErrProtocol)
	}
	c.begun, c.channel, c.nextIn, c.window = true, channel, x.NextOutgoingID, x.IncomingWindow
	return nil
}

func (c *conn) onAttach(list amqp.Value) error {
	var x amqp.Attach
	if err := x.Decode(list); err != nil {
		return err
	}
	for _, l := range c.links {
		if l.name != string(x.Name) || l.receives == x.Role {
			continue
		}
		if l.up || c.remote[x.Handle] != nil {
			return fmt.Errorf("%w: it answers a link twice, or two with one handle", ErrProtocol)
		}
		l.up = true
		l.refused = l.receives && !x.HasSource || !l.receives && !x.HasTarget
		c.remote[x.Handle] = l
		if l.receives {
			l.count = x.InitialDeliveryCount.V
		}
		if l.receives && !l.refused && l.grant > 0 {
			c.give(l)
		}
		return nil
	}
	return fmt.Errorf("%w: a link that nobody asked for", ErrProtocol)
}

// give lets the hub send as many deliveries as the link's grant.
func (c *conn) give(l *link) {
	l.credit = l.grant
	c.flow(l)
}

// flow says how a link stands, or with nil how the session does.
func (c *conn) flow(l *link) {
	x := amqp.Flow{NextIncomingID: amqp.Some(c.nextIn), IncomingWindow: window, NextOutgoingID: c.nextOut, OutgoingWindow: window}
	if l != nil {
		x.Handle, x.DeliveryCount, x.LinkCredit = amqp.Some(l.handle), amqp.Some(l.count), amqp.Some(l.credit)
	}
	c.send(&x)
}

func (c *conn) onFlow(list amqp.Value) error {
	var x amqp.Flow
	if err := x.Decode(list); err != nil {
		return err
	}
	c.window = x.Window(0, c.nextOut)
	if !x.Handle.Set {
		if x.Echo {
			c.flow(nil)
		}
		return nil
	}
	l := c.remote[x.Handle.V]
	if l == nil {
		return fmt.Errorf("%w: credit of a link that there is not", ErrProtocol)
	}
	if !l.receives {
		l.credit = x.Credit(l.count)
	}
	if x.Echo {
		c.flow(l)
	}
	return nil
}

func (c *conn) onTransfer(p *amqp.Body) error {
	var x amqp.Transfer
	if err := x.Decode(p.Fields); err != nil {
		return err
	}
	c.nextIn++
	l := c.remote[x.Handle]
	if l == nil || !l.receives {
		return fmt.Errorf("%w: a message of a link that there is not", ErrProtocol)
	}
	if !l.under {
		if l.credit == 0 || !x.DeliveryID.Set {
			return fmt.Errorf("%w: a message beyond the credit, or without a number", ErrProtocol)
		}
		l.under, l.delivery = true, x
		l.delivery.DeliveryTag = nil // it is the buffer's
	}
	l.delivery.Settled = l.delivery.Settled || x.Settled
	if x.Aborted {
		c.over(l)
		return nil
	}
	body := p.Payload
	if x.More || len(l.partial) > 0 {
		if len(l.partial)+len(body) > maxMessage {
			return fmt.Errorf("%w: a message of more than %d bytes", ErrProtocol, maxMessage)
		}
		l.partial = append(l.partial, body...)
		body = l.partial
	}
	if x.More {
		return nil
	}
	err := l.take(body)
	if !l.delivery.Settled {
		c.send(&amqp.Disposition{Role: amqp.RoleReceiver, First: l.delivery.DeliveryID.V, Settled: true, State: amqp.State{Code: amqp.Accepted}})
	}
	c.over(l)
	return err
}

// over ends a delivery, and gives new credit when half of it is used.
func (c *conn) over(l *link) {
	if cap(l.partial) > maxFrame {
		l.partial = nil
	}
	l.partial, l.under = l.partial[:0], false
	l.count++
	l.credit--
	if l.credit <= l.grant/2 {
		c.give(l)
	}
}

// onDisposition is told what became of requests: that one was refused is an answer to it.
func (c *conn) onDisposition(list amqp.Value) error {
	var x amqp.Disposition
	if err := x.Decode(list); err != nil {
		return err
	}
	if x.Role != amqp.RoleReceiver || x.State.Code != amqp.Rejected {
		return nil
	}
	if x.State.Error == nil {
		return fmt.Errorf("%w: a request was rejected", ErrRefused)
	}
	return refusal("a request", x.State.Error)
}

// onDetach ends a link. Those that are being attached are asked why; any other takes the connection with it.
func (c *conn) onDetach(list amqp.Value) error {
	var x amqp.Detach
	if err := x.Decode(list); err != nil {
		return err
	}
	l := c.remote[x.Handle]
	if l == nil {
		return fmt.Errorf("%w: the end of a link that there is not", ErrProtocol)
	}
	ready := l.up && !l.refused
	delete(c.remote, x.Handle)
	if l.ended = x.Error; l.ended == nil {
		l.ended = &amqp.Error{Condition: amqp.DetachForced, Description: "the hub ended the link without a reason"}
	}
	c.send(&amqp.Detach{Handle: l.handle, Closed: true})
	if ready && l.source != managing {
		return refusal("the link "+l.name, l.ended)
	}
	return nil
}

// transfer sends a message, in as many frames as the hub's bound needs. Credit and window are there.
func (c *conn) transfer(l *link, message []byte) {
	c.deliveries++
	l.count++
	l.credit--
	id := c.deliveries - 1
	x := amqp.Transfer{
		Handle: l.handle, DeliveryID: amqp.Some(id), DeliveryTag: binary.BigEndian.AppendUint32(nil, id), MessageFormat: amqp.Some(amqp.FormatMessage),
	}
	const around = 64 // bytes of the frame beside the payload, at most
	for first := true; first || len(message) > 0; first = false {
		c.out, message = amqp.AppendTransfer(c.out, 0, &x, message, int(c.mostOut)-around)
		c.nextOut++
		c.window--
	}
}
