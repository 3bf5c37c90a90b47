package service

import (
	"bytes"
	"context"
	"time"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/address"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/condition"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/engine"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/peer"
	"github.com/twinfleet/twinfleet/internal/hub/c2d"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
)

// sender is a link on which a service sends messages to devices.
type sender struct {
	engine.Ignore
	peer *peer.Peer
	link *engine.Link
	send func(ctx context.Context, client string, m c2d.Message) error
}

// Deliver implements engine.Handler.
func (s *sender) Deliver(d engine.Delivery) {
	client, m, err := message(d)
	if err == nil {
		err = s.send(s.peer.Context(), client, m)
	}
	if err != nil {
		s.link.Settle(d, amqp.State{Code: amqp.Rejected, Error: condition.Of(err)})
		return
	}
	s.link.Settle(d, amqp.State{Code: amqp.Accepted})
}

// ack is the property of the application that says which feedback a sender wants.
const ack = "iothub-ack"

// message is a cloud-to-device message, and the key of whom it is for: what its property to names.
func message(d engine.Delivery) (client string, out c2d.Message, err error) {
	if d.Format != amqp.FormatMessage {
		return "", out, iothub.ErrArgumentInvalid.With("a message of format 0x%x: cloud-to-device messages are sent one by one", d.Format)
	}
	m, err := amqp.ParseMessage(d.Payload)
	if err != nil {
		return "", out, condition.Undecodable(err)
	}
	payload, ok := m.Payload()
	if !ok {
		return "", out, iothub.ErrArgumentInvalid.With("the body of a cloud-to-device message is Data, a binary or a string")
	}
	to, _ := m.Properties.To.Text()
	where, err := address.Parse(to)
	client, rest, ok := where.Device()
	if err != nil || !ok || !rest.Is("messages", "devicebound") {
		return "", out, iothub.ErrArgumentInvalid.With("to: %.200q names no device; write /devices/{id}/messages/devicebound", to)
	}
	p := &m.Properties
	out = c2d.Message{
		MessageID: p.MessageID.String(), CorrelationID: p.CorrelationID.String(), UserID: string(p.UserID), To: to,
		ContentType: p.ContentType, ContentEncoding: p.ContentEncoding, Expires: p.AbsoluteExpiryTime, Payload: bytes.Clone(payload),
	}
	if out.Expires.IsZero() && m.TTL.Set && m.TTL.V > 0 {
		out.Expires = time.Now().Add(time.Duration(m.TTL.V) * time.Millisecond).UTC()
	}
	for key, value := range m.Application.Pairs() {
		name, text := key.String(), value.String()
		if name != ack {
			out.Properties = append(out.Properties, topics.Property{Name: name, Value: text, HasValue: true})
			continue
		}
		if out.Ack = text; !c2d.ValidAck(text) {
			return "", out, iothub.ErrArgumentInvalid.With("%s is none of none, positive, negative and full", ack)
		}
	}
	return client, out, checkIDs(&out)
}

// maxID is the longest message id and correlation id, in bytes (iot-hub-devguide-messages-construct).
const maxID = 128

func checkIDs(m *c2d.Message) error {
	for name, id := range map[string]string{"message-id": m.MessageID, "correlation-id": m.CorrelationID} {
		if len(id) > maxID {
			return iothub.ErrArgumentInvalid.With("%s has %d bytes; at most %d are allowed", name, len(id), maxID)
		}
	}
	return nil
}
