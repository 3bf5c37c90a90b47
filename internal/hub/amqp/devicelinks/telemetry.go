package devicelinks

import (
	"fmt"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/condition"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/engine"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/peer"
	"github.com/twinfleet/twinfleet/internal/hub/devices"
	"github.com/twinfleet/twinfleet/internal/hub/events"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
)

// telemetry is the link on which a device sends messages.
type telemetry struct{ common }

func newTelemetry(*unit, peer.Request) (link, error) {
	return &telemetry{common{snd: amqp.SenderUnsettled, rcv: amqp.ModeUnset}}, nil
}

// Deliver implements engine.Handler.
func (l *telemetry) Deliver(d engine.Delivery) { l.unit.serve(d, l.take) }

func (l *telemetry) take(d engine.Delivery) {
	batch, err := messagesOf(d)
	if err == nil {
		err = l.unit.table.Telemetry(l.unit.context(), l.unit.client, devices.BatchOf(l.auth, batch))
	}
	if err != nil {
		l.settle(d, rejected(err))
		return
	}
	l.settle(d, accepted())
}

// messagesOf reads a message, or a batch: then each Data section holds a message.
func messagesOf(d engine.Delivery) ([]events.Message, error) {
	m, err := amqp.ParseMessage(d.Payload)
	if err != nil {
		return nil, condition.Undecodable(err)
	}
	if d.Format != amqp.FormatBatch {
		one, err := messageOf(&m)
		if err != nil {
			return nil, err
		}
		return []events.Message{one}, nil
	}
	if !m.HasData || len(m.MoreData) >= devices.MaxBatch {
		return nil, iothub.ErrArgumentInvalid.With("A batch has from 1 to %d messages, each in a Data section", devices.MaxBatch)
	}
	var batch []events.Message
	for _, b := range append([][]byte{m.Data}, m.MoreData...) {
		inner, err := amqp.ParseMessage(b)
		if err != nil {
			return nil, condition.Undecodable(fmt.Errorf("a message of the batch: %w", err))
		}
		one, err := messageOf(&inner)
		if err != nil {
			return nil, err
		}
		batch = append(batch, one)
	}
	return batch, nil
}

// messageOf is a message as readers see it. Names of the application's properties mean nothing but what readers know by them.
func messageOf(m *amqp.Message) (out events.Message, err error) {
	payload, ok := m.Payload()
	if !ok {
		return out, iothub.ErrArgumentInvalid.With("The body of a message is Data, or a string or a binary value")
	}
	p := &m.Properties
	to, _ := p.To.Text()
	out = events.Message{
		MessageID: p.MessageID.String(), CorrelationID: p.CorrelationID.String(), UserID: string(p.UserID), To: to,
		ContentType: p.ContentType, ContentEncoding: p.ContentEncoding, Expires: p.AbsoluteExpiryTime, Created: p.CreationTime,
		InterfaceID: m.Annotations.Get("iothub-interface-id").String(), Component: m.Annotations.Get("dt-subject").String(),
		DiagnosticID: m.Annotations.Get("Diagnostic-Id").String(), Trace: m.Annotations.Get("Correlation-Context").String(),
		Payload: payload,
	}
	var own topics.Bag
	for key, value := range m.Application.Pairs() {
		name, _ := key.Text()
		switch {
		case value.IsNull():
			own = append(own, topics.Property{Name: name})
		case value.Kind() == amqp.List || value.Kind() == amqp.Map || value.Kind() == amqp.Array || value.Kind() == amqp.Described:
			return out, iothub.ErrArgumentInvalid.With("The property %q is a %v: properties have simple types", name, value.Kind())
		default:
			own = append(own, topics.Property{Name: name, Value: value.String(), HasValue: true})
		}
	}
	out.SetApplication(own)
	return out, nil
}
