package devicelinks

import (
	"errors"
	"sync"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/condition"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/engine"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/locks"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/peer"
	"github.com/twinfleet/twinfleet/internal/hub/c2d"
	"github.com/twinfleet/twinfleet/internal/hub/devices"
	"github.com/twinfleet/twinfleet/internal/hub/lockqueue"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/entity"
)

// messages is a link on which cloud-to-device messages reach a device, or an input of a module: each under a lock, whose token is the
// delivery tag.
type messages struct {
	common
	kind    devices.Kind // which it gets
	settled bool         // the client wants no locks

	taking sync.Mutex // orders messages
}

func newMessages(_ *unit, r peer.Request) (link, error) {
	return &messages{
		common: common{snd: amqp.ModeUnset, rcv: amqp.ReceiverSecond}, kind: devices.Messages, settled: r.Attach.SndSettleMode == amqp.SenderSettled,
	}, nil
}

func newInputs(u *unit, r peer.Request) (link, error) {
	if !entity.IsModule(u.client) {
		return nil, iothub.ErrArgumentInvalid.With("Inputs are of modules")
	}
	return &messages{
		common: common{snd: amqp.ModeUnset, rcv: amqp.ReceiverFirst}, kind: devices.Inputs, settled: r.Attach.SndSettleMode == amqp.SenderSettled,
	}, nil
}

// Deliver implements devices.Outlet: messages wait.
func (u *unit) Deliver() { each(u, (*messages).pull) }

// Credit implements engine.Handler.
func (l *messages) Credit() { l.pull() }

// pull sends as many messages as the client takes.
func (l *messages) pull() {
	u := l.unit
	var back []lockqueue.Token // what the client does not take after all
	var large *messages        // the link that takes no message of a size
	size := 0
	l.taking.Lock()
	if n := l.link.Credit(); n > 0 {
		for _, d := range u.table.Receive(u.client, u, n, 0) {
			to := u.messagesOf(d.Message.Input != "")
			if to == nil {
				back = append(back, d.Token)
				continue
			}
			b := encode(u.client, &d)
			_, err := to.link.Send(locks.Tag(d.Token), to.settled, b)
			switch {
			case errors.Is(err, engine.ErrTooLarge):
				large, back = to, append(back, d.Token)
				size = len(b)
			case err != nil:
				back = append(back, d.Token)
			case to.settled:
				u.end(d.Token, lockqueue.Complete)
			}
		}
	}
	l.taking.Unlock()
	if large != nil { // before the message comes back, which it would at once
		large.link.Detach(condition.TooLarge(size))
	}
	for _, token := range back {
		u.end(token, lockqueue.Abandon)
	}
}

// messagesOf is the link for messages to inputs, or for others; nil when there is none.
func (u *unit) messagesOf(input bool) (to *messages) {
	each(u, func(l *messages) {
		if input == (l.kind == devices.Inputs) {
			to = l
		}
	})
	return to
}

// Outcome implements engine.Handler.
func (l *messages) Outcome(o engine.Outcome) amqp.State {
	return locks.Settle(o, l.unit.end)
}

// end ends the lock of a message. What was completed is forgotten for good when it returns, where it may wait.
func (u *unit) end(token lockqueue.Token, o lockqueue.Outcome) error {
	durable, err := u.table.Settle(u.client, token, o)
	if err == nil && u.peer.Waits() {
		err = durable.Wait(u.context())
	}
	return err
}

// encode writes a message as devices read it.
func encode(client string, d *devices.Delivery) []byte {
	m := d.Message
	b, start := amqp.BeginSection(nil, amqp.SectionMessageAnnotations)
	n := 3
	if !d.Enqueued.IsZero() {
		b = amqp.AppendTime(amqp.AppendSymbol(b, "iothub-enqueuedtime"), d.Enqueued)
		n++
	}
	b = amqp.AppendUbyte(amqp.AppendSymbol(b, "iothub-deliverycount"), uint8(min(d.Deliveries, 255)))
	b = amqp.AppendUlong(amqp.AppendSymbol(b, "x-opt-sequence-number"), d.Sequence)
	b = amqp.AppendString(amqp.AppendSymbol(b, "x-opt-lock-token"), d.Token.String())
	if m.Input != "" {
		b = amqp.AppendString(amqp.AppendSymbol(b, "x-opt-input-name"), m.Input)
		n++
	}
	b = amqp.EndMap(b, start, n)
	p := amqp.Properties{
		MessageID: amqp.Text(m.MessageID), To: amqp.Text(to(client, m)), CorrelationID: amqp.Text(m.CorrelationID), ContentType: m.ContentType,
		ContentEncoding: m.ContentEncoding, AbsoluteExpiryTime: m.Expires,
	}
	if m.UserID != "" {
		p.UserID = []byte(m.UserID)
	}
	b = amqp.AppendProperties(b, &p)
	if n = len(m.Properties); n > 0 || m.Ack != "" {
		b, start = amqp.BeginSection(b, amqp.SectionApplicationProperties)
		for _, p := range m.Properties {
			b = amqp.AppendString(b, p.Name)
			if p.HasValue {
				b = amqp.AppendString(b, p.Value)
			} else {
				b = amqp.AppendNull(b)
			}
		}
		if m.Ack != "" {
			b = amqp.AppendString(amqp.AppendString(b, "iothub-ack"), m.Ack)
			n++
		}
		b = amqp.EndMap(b, start, n)
	}
	return amqp.AppendData(b, m.Payload)
}

// to is the address of a message: the device's own when the sender names none.
func to(client string, m *c2d.Message) string {
	if m.To != "" {
		return m.To
	}
	return entity.Path(client) + "/messages/devicebound"
}
