package amqp

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/uuid"
)

// What twin links speak of.
const (
	reportedProperties   = "/properties/reported"
	desiredProperties    = "/properties/desired"
	desiredNotifications = "/notifications/twin/properties/desired"
	notifyID             = "desired-notifications" // of the request for them; requests of the fleet have hexadecimal numbers
)

// appendMessage appends what a topic and a payload are in AMQP.
func appendMessage(b []byte, t topics.Topic, payload []byte) ([]byte, error) {
	switch t.Kind {
	case topics.KindTwinGet:
		return appendTwin(b, "GET", "", t.RequestID, payload), nil
	case topics.KindReport:
		if t.HasVersion {
			return b, errTopic // no SDK sends one over AMQP
		}
		return appendTwin(b, "PATCH", reportedProperties, t.RequestID, payload), nil
	case topics.KindMethodResponse:
		return appendResult(b, t.RequestID, t.Status, payload), nil
	default:
		return appendTelemetry(b, t.Properties, payload)
	}
}

// appendTwin appends a request of the twin.
func appendTwin(b []byte, operation, resource, id string, body []byte) []byte {
	b, start := amqp.BeginSection(b, amqp.SectionMessageAnnotations)
	b = amqp.AppendString(amqp.AppendSymbol(b, "operation"), operation)
	n := 1
	if resource != "" {
		b = amqp.AppendString(amqp.AppendSymbol(b, "resource"), resource)
		n++
	}
	b = amqp.EndMap(b, start, n)
	var own [64]byte
	b = amqp.AppendProperties(b, &amqp.Properties{CorrelationID: amqp.AppendString(own[:0], id)})
	return amqp.AppendData(b, body)
}

// appendResult appends the answer to a direct method.
func appendResult(b []byte, id string, status int, body []byte) []byte {
	var own [64]byte
	correlation := amqp.Value(own[:0])
	if u, ok := uuid.Parse(id); ok {
		correlation = amqp.AppendUUID(correlation, u)
	} else {
		correlation = amqp.AppendString(correlation, id)
	}
	b = amqp.AppendProperties(b, &amqp.Properties{CorrelationID: correlation})
	b, start := amqp.BeginSection(b, amqp.SectionApplicationProperties)
	b = amqp.AppendInt(amqp.AppendString(b, "IoThub-status"), int32(max(math.MinInt32, min(status, math.MaxInt32))))
	b = amqp.EndMap(b, start, 1)
	return amqp.AppendData(b, body)
}

// appendTelemetry appends a message of the device, with what its topic says of it: system properties have names that begin with "$.".
func appendTelemetry(b []byte, properties string, payload []byte) ([]byte, error) {
	bag, err := topics.ParseBag(properties)
	if err != nil {
		return b, err
	}
	if len(bag) == 0 {
		return amqp.AppendData(b, payload), nil
	}
	var p amqp.Properties
	var annotations, application topics.Bag
	described := false
	for _, x := range bag {
		switch x.Name {
		case "$.mid":
			p.MessageID = amqp.AppendString(nil, x.Value)
		case "$.cid":
			p.CorrelationID = amqp.AppendString(nil, x.Value)
		case "$.uid":
			p.UserID = []byte(x.Value)
		case "$.to":
			p.To = amqp.AppendString(nil, x.Value)
		case "$.ct":
			p.ContentType = x.Value
		case "$.ce":
			p.ContentEncoding = x.Value
		case "$.exp":
			if p.AbsoluteExpiryTime, err = time.Parse(time.RFC3339, x.Value); err != nil {
				return b, fmt.Errorf("the property $.exp of a message: %w", err)
			}
		case "$.ctime":
			application = append(application, topics.Property{Name: "iothub-creation-time-utc", Value: x.Value, HasValue: true})
			continue
		case "$.schema":
			application = append(application, topics.Property{Name: "iothub-message-schema", Value: x.Value, HasValue: true})
			continue
		case "$.ifid":
			annotations = append(annotations, topics.Property{Name: "iothub-interface-id", Value: x.Value})
			continue
		case "$.sub":
			annotations = append(annotations, topics.Property{Name: "dt-subject", Value: x.Value})
			continue
		default:
			application = append(application, x)
			continue
		}
		described = true
	}
	if len(annotations) > 0 {
		b = appendMap(b, amqp.SectionMessageAnnotations, annotations, amqp.AppendSymbol)
	}
	if described {
		b = amqp.AppendProperties(b, &p)
	}
	if len(application) > 0 {
		b = appendMap(b, amqp.SectionApplicationProperties, application, amqp.AppendString)
	}
	return amqp.AppendData(b, payload), nil
}

func appendMap(b []byte, section byte, bag topics.Bag, key func([]byte, string) []byte) []byte {
	b, start := amqp.BeginSection(b, section)
	for _, x := range bag {
		b = amqp.AppendString(key(b, x.Name), x.Value)
	}
	return amqp.EndMap(b, start, len(bag))
}

// arrived acts on a message of the hub. It is called while nothing else is read, and without the lock.
func (x *device) arrived(k kind, message []byte) error {
	m, err := amqp.ParseMessage(message)
	if err != nil {
		return err
	}
	payload, ok := m.Payload()
	if !ok {
		return nil // of a form that none of the hub's messages has
	}
	topic := ""
	switch k {
	case twinIn:
		topic = x.twinTopic(&m)
	case methodsIn:
		name, _ := m.Application.Get("IoThub-methodname").Text()
		if id, ok := idText(m.Properties.CorrelationID); ok && name != "" && !strings.Contains(name, "/") {
			topic = topics.MethodRequest(name, id)
		}
	case cloud:
		x.handler(link.Message{Topic: topics.C2D(x.id, bagOf(&m)), Payload: payload, QoS: 1})
		return nil
	}
	if topic != "" {
		x.handler(link.Message{Topic: topic, Payload: payload})
	}
	return nil
}

// twinTopic is where a message of the twin would have come over MQTT; empty for one that is nobody's but this package's.
func (x *device) twinTopic(m *amqp.Message) string {
	version, hasVersion := m.Annotations.Get("version").Int()
	if m.Properties.CorrelationID.IsNull() {
		if m.Annotations.Get("resource").Is(desiredProperties) {
			return topics.Desired(version)
		}
		return ""
	}
	status, ok := m.Annotations.Get("status").Int()
	id, known := idText(m.Properties.CorrelationID)
	switch {
	case !ok || !known || status < 0 || status > 999:
		return ""
	case id == notifyID:
		x.answered(status)
		return ""
	case hasVersion:
		return topics.TwinResponse(int(status), id) + "&$version=" + strconv.FormatInt(version, 10)
	}
	return topics.TwinResponse(int(status), id)
}

// idText is an id as MQTT has it: the text of a string, of a uuid or of a number.
func idText(v amqp.Value) (string, bool) {
	if text, ok := v.Text(); ok {
		return text, !strings.ContainsAny(text, "&#+/")
	}
	if id, ok := v.UUID(); ok {
		return uuid.UUID(id).String(), true
	}
	n, ok := v.Uint()
	if !ok {
		return "", false
	}
	return strconv.FormatUint(n, 10), true
}

// bagOf is the properties of a message of the cloud, as its topic has them over MQTT.
func bagOf(m *amqp.Message) topics.Bag {
	var bag topics.Bag
	add := func(name, value string) {
		if value != "" {
			bag = append(bag, topics.Property{Name: name, Value: value, HasValue: true})
		}
	}
	p := &m.Properties
	if !p.AbsoluteExpiryTime.IsZero() {
		add("$.exp", p.AbsoluteExpiryTime.Format(time.RFC3339))
	}
	id, _ := idText(p.CorrelationID)
	add("$.cid", id)
	id, _ = idText(p.MessageID)
	add("$.mid", id)
	add("$.uid", string(p.UserID))
	to, _ := p.To.Text()
	add("$.to", to)
	add("$.ct", p.ContentType)
	add("$.ce", p.ContentEncoding)
	for name, value := range m.Application.Pairs() {
		key, _ := name.Text()
		text, ok := value.Text()
		if n, is := value.Int(); !ok && is {
			text, ok = strconv.FormatInt(n, 10), true
		} else if b, is := value.Bool(); is {
			text, ok = strconv.FormatBool(b), true
		}
		if key != "" && ok {
			bag = append(bag, topics.Property{Name: key, Value: text, HasValue: true})
		}
	}
	return bag
}
