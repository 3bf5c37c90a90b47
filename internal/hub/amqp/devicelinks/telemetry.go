package devicelinks

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/engine"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/peer"
	"github.com/twinfleet/twinfleet/internal/hub/devices"
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
		err = l.unit.table.Telemetry(l.unit.context(), l.unit.client, batch...)
	}
	if err != nil {
		l.settle(d, rejected(err))
		return
	}
	l.settle(d, accepted())
}

// maxBatch is how many messages a batch has at most (iot-hub-devguide-quotas-throttling).
const maxBatch = 500

// messagesOf reads a message, or a batch: then each Data section holds a message.
func messagesOf(d engine.Delivery) ([]devices.Message, error) {
	m, err := amqp.ParseMessage(d.Payload)
	if err != nil {
		return nil, &amqp.Error{Condition: amqp.DecodeError, Description: err.Error()}
	}
	if d.Format != amqp.FormatBatch {
		one, err := messageOf(&m)
		if err != nil {
			return nil, err
		}
		return []devices.Message{one}, nil
	}
	if !m.HasData || len(m.MoreData) >= maxBatch {
		return nil, iothub.ErrArgumentInvalid.With("A batch has from 1 to %d messages, each in a Data section", maxBatch)
	}
	var batch []devices.Message
	for _, b := range append([][]byte{m.Data}, m.MoreData...) {
		inner, err := amqp.ParseMessage(b)
		if err != nil {
			return nil, &amqp.Error{Condition: amqp.DecodeError, Description: "a message of the batch: " + err.Error()}
		}
		one, err := messageOf(&inner)
		if err != nil {
			return nil, err
		}
		batch = append(batch, one)
	}
	return batch, nil
}

// annotations are those of messages that are kept, by the names that they have in an MQTT topic.
var annotations = [...]struct{ name, property string }{
	{"iothub-interface-id", "$.ifid"},
	{"dt-subject", "$.sub"},
	{"Diagnostic-Id", "$.diagid"},
	{"Correlation-Context", "$.diagctx"},
}

// messageOf is a message with its properties by the names that they have in an MQTT topic.
func messageOf(m *amqp.Message) (out devices.Message, err error) {
	payload, ok := m.Payload()
	if !ok {
		return out, iothub.ErrArgumentInvalid.With("The body of a message is Data, or a string or a binary value")
	}
	out.Payload = payload
	add := func(name, value string) {
		if value != "" {
			out.Properties = append(out.Properties, topics.Property{Name: name, Value: value, HasValue: true})
		}
	}
	p := &m.Properties
	add("$.mid", text(p.MessageID))
	add("$.cid", text(p.CorrelationID))
	add("$.uid", string(p.UserID))
	to, _ := p.To.Text()
	add("$.to", to)
	add("$.ct", p.ContentType)
	add("$.ce", p.ContentEncoding)
	if !p.AbsoluteExpiryTime.IsZero() {
		add("$.exp", p.AbsoluteExpiryTime.UTC().Format(time.RFC3339Nano))
	}
	for _, a := range annotations {
		add(a.property, text(m.Annotations.Get(a.name)))
	}
	for key, value := range m.Application.Pairs() {
		name, _ := key.Text()
		switch {
		case value.IsNull():
			out.Properties = append(out.Properties, topics.Property{Name: name})
		case value.Kind() == amqp.List || value.Kind() == amqp.Map || value.Kind() == amqp.Array || value.Kind() == amqp.Described:
			return out, iothub.ErrArgumentInvalid.With("The property %q is a %v: properties have simple types", name, value.Kind())
		default:
			out.Properties = append(out.Properties, topics.Property{Name: name, Value: text(value), HasValue: true})
		}
	}
	return out, nil
}

// text prints a value of a simple type: ids and properties may be of any.
func text(v amqp.Value) string {
	switch v.Kind() {
	case amqp.String, amqp.Symbol, amqp.Binary:
		return string(v.Bytes())
	case amqp.UUID:
		id, _ := v.UUID()
		return uuid(id)
	case amqp.Bool:
		b, _ := v.Bool()
		return strconv.FormatBool(b)
	case amqp.Float, amqp.Double:
		f, _ := v.Float()
		return strconv.FormatFloat(f, 'g', -1, 64)
	case amqp.Timestamp:
		t, _ := v.Time()
		return t.Format(time.RFC3339Nano)
	}
	if u, ok := v.Uint(); ok {
		return strconv.FormatUint(u, 10)
	}
	if i, ok := v.Int(); ok {
		return strconv.FormatInt(i, 10)
	}
	return ""
}

// uuid is a uuid's text, in lower case.
func uuid(id [16]byte) string {
	h := hex.EncodeToString(id[:])
	return fmt.Sprintf("%s-%s-%s-%s-%s", h[:8], h[8:12], h[12:16], h[16:20], h[20:])
}
