package events

import (
	"strconv"
	"time"

	"github.com/twinfleet/twinfleet/internal/amqp"
)

// overhead is more than the bytes of an encoded message that depend on nothing: names of annotations, numbers, headers.
const overhead = 768

// source is the annotation iothub-message-source of what a device sent (iot-hub-devguide-messages-d2c). The hub makes no other messages.
const source = "Telemetry"

// Size is about how many bytes Append appends: seldom fewer than it does.
func (m *Message) Size() int {
	n := overhead + len(m.Payload) + m.Properties.Size() + 12*len(m.Properties) + 2*len(m.DeviceID)
	for _, text := range []string{
		m.ModuleID, m.GenerationID, m.ModelID, m.MessageID, m.CorrelationID, m.UserID, m.To, m.ContentType, m.ContentEncoding, m.CreatedText,
		m.Ack, m.Schema, m.Output, m.Input, m.InterfaceID, m.Component, m.DiagnosticID, m.Trace,
	} {
		n += len(text)
	}
	return n
}

// Append appends the message as readers of the Event-Hubs-compatible endpoint get it, an AMQP message: annotations of the hub, the
// sender's properties, those of the application, the payload in one Data section (iot-hub-devguide-messages-read-builtin).
func (m *Message) Append(b []byte, sequence, offset int64, enqueued time.Time) []byte {
	b = m.appendAnnotations(b, sequence, offset, enqueued)
	b = m.appendProperties(b)
	b = m.appendApplication(b)
	return amqp.AppendData(b, m.Payload)
}

func (m *Message) appendAnnotations(b []byte, sequence, offset int64, enqueued time.Time) []byte {
	b, start := amqp.BeginSection(b, amqp.SectionMessageAnnotations)
	b = amqp.AppendLong(amqp.AppendSymbol(b, "x-opt-sequence-number"), sequence)
	b = amqp.AppendString(amqp.AppendSymbol(b, "x-opt-offset"), strconv.FormatInt(offset, 10))
	b = amqp.AppendTime(amqp.AppendSymbol(b, "x-opt-enqueued-time"), enqueued)
	b = amqp.AppendTime(amqp.AppendSymbol(b, "iothub-enqueuedtime"), enqueued)
	n := 4
	for _, a := range [...]struct{ name, value string }{
		{"x-opt-partition-key", m.DeviceID},
		{"iothub-connection-device-id", m.DeviceID},
		{"iothub-connection-module-id", m.ModuleID},
		{"iothub-connection-auth-method", m.Auth.String()},
		{"iothub-connection-auth-generation-id", m.GenerationID},
		{"iothub-message-source", source},
		{"iothub-interface-id", m.InterfaceID},
		{"dt-dataschema", m.ModelID},
		{"dt-subject", m.Component},
		{"x-opt-input-name", m.Input},
		{"Diagnostic-Id", m.DiagnosticID},
		{"Correlation-Context", m.Trace},
	} {
		if a.value != "" {
			b = amqp.AppendString(amqp.AppendSymbol(b, a.name), a.value)
			n++
		}
	}
	return amqp.EndMap(b, start, n)
}

// appendProperties appends the section of AMQP's own properties, unless it would be empty.
func (m *Message) appendProperties(b []byte) []byte {
	p := amqp.Properties{
		MessageID: amqp.Text(m.MessageID), To: amqp.Text(m.To), CorrelationID: amqp.Text(m.CorrelationID),
		ContentType: m.ContentType, ContentEncoding: m.ContentEncoding, AbsoluteExpiryTime: m.Expires, CreationTime: m.Created,
	}
	if m.UserID != "" {
		p.UserID = []byte(m.UserID)
	}
	if p.MessageID == nil && p.To == nil && p.CorrelationID == nil && p.UserID == nil && p.ContentType == "" && p.ContentEncoding == "" &&
		p.AbsoluteExpiryTime.IsZero() && p.CreationTime.IsZero() {
		return b
	}
	return amqp.AppendProperties(b, &p)
}

// appendApplication appends the section of the application's properties, unless it would be empty.
func (m *Message) appendApplication(b []byte) []byte {
	before := b
	b, start := amqp.BeginSection(b, amqp.SectionApplicationProperties)
	n := 0
	for _, p := range m.Properties {
		b = amqp.AppendString(b, p.Name)
		if p.HasValue {
			b = amqp.AppendString(b, p.Value)
		} else {
			b = amqp.AppendNull(b)
		}
		n++
	}
	for _, p := range [...]struct{ name, value string }{
		{nameAck, m.Ack}, {nameSchema, m.Schema}, {nameOutput, m.Output}, {nameCreated, m.CreatedText},
	} {
		if p.value != "" {
			b = amqp.AppendString(amqp.AppendString(b, p.name), p.value)
			n++
		}
	}
	if n == 0 {
		return before
	}
	return amqp.EndMap(b, start, n)
}
