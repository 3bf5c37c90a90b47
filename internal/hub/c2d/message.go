package c2d

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/lockqueue"
	"github.com/twinfleet/twinfleet/internal/iothub/entity"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
)

// MaxSize is the most bytes that a message has: its body, and its properties' names and values (iot-hub-devguide-quotas-throttling).
const MaxSize = 64 << 10

// MaxTopic is the most bytes that the topic of a delivery over MQTT has: its length goes over the wire in two of them (section 1.5.3).
const MaxTopic = 1<<16 - 1

// Message is a cloud-to-device message. What is empty is left out of the topic.
type Message struct {
	MessageID       string     // chosen by the sender
	CorrelationID   string     // of the message that it answers
	UserID          string     // who sent it
	To              string     // where it goes; empty for the device's own address
	ContentType     string     // of the payload, such as application/json
	ContentEncoding string     // of the payload, such as utf-8
	Ack             string     // which feedback the sender wants: none, positive, negative or full
	Expires         time.Time  // when it is no longer delivered; the zero time leaves it to the hub
	Input           string     // of a module, to which the message goes; empty for none
	Properties      topics.Bag // of the application; system properties among them stand as they are
	Payload         []byte     // any bytes
}

// Topic is where a message is delivered to a device or a module, known by its key: with the names of system properties that the
// service's device SDKs read (azure-iot-sdk-python, mqtt_topic_iothub).
func (m *Message) Topic(key string) string {
	device, module := entity.Split(key)
	bag := m.bag(key)
	if module == "" {
		return topics.C2D(device, bag)
	}
	return topics.ModuleC2D(device, module, m.Input, bag)
}

// expiryLayout is how the service writes $.exp: with seven digits, whatever they are.
const expiryLayout = "2006-01-02T15:04:05.0000000Z"

// bag is the property bag of a topic. Some clients need a system property to find it, so $.to is always there.
func (m *Message) bag(key string) topics.Bag {
	to, expires := m.To, ""
	if to == "" {
		to = entity.Path(key) + "/messages/deviceBound"
	}
	if !m.Expires.IsZero() {
		expires = m.Expires.UTC().Format(expiryLayout)
	}
	bag := make(topics.Bag, 0, 8+len(m.Properties))
	for _, p := range []topics.Property{
		{Name: "$.exp", Value: expires},
		{Name: "$.cid", Value: m.CorrelationID},
		{Name: "$.mid", Value: m.MessageID},
		{Name: "$.uid", Value: m.UserID},
		{Name: "$.to", Value: to},
		{Name: "$.ct", Value: m.ContentType},
		{Name: "$.ce", Value: m.ContentEncoding},
		{Name: "iothub-ack", Value: m.Ack},
	} {
		if _, given := m.Properties.Get(p.Name); p.Value != "" && !given {
			p.HasValue = true
			bag = append(bag, p)
		}
	}
	return append(bag, m.Properties...)
}

// Size is how many bytes the message has, as its limit and metering count them: the payload, the values of system properties, and
// the names and values of the application's (iot-hub-devguide-messages-construct).
func (m *Message) Size() int {
	n := len(m.Payload) + m.Properties.Size()
	for _, value := range []string{m.MessageID, m.CorrelationID, m.UserID, m.To, m.ContentType, m.ContentEncoding, m.Ack} {
		n += len(value)
	}
	return n
}

// ValidAck reports whether a text says which feedback a sender wants; an empty one wants none.
func ValidAck(ack string) bool {
	switch ack {
	case "", "none", "positive", "negative", "full":
		return true
	}
	return false
}

// Feedback is what the sender of a message is told that has left its queue, as a status code; false when it does not want that.
func (m *Message) Feedback(why lockqueue.Cause) (status string, wanted bool) {
	switch why {
	case lockqueue.Completed:
		return "Success", m.Ack == "positive" || m.Ack == "full"
	case lockqueue.Rejected:
		status = "Rejected"
	case lockqueue.Expired:
		status = "Expired"
	case lockqueue.Exhausted:
		status = "DeliveryCountExceeded"
	case lockqueue.Purged:
		status = "Purged"
	default:
		return "", false
	}
	return status, m.Ack == "negative" || m.Ack == "full"
}

// kept is a message as it is kept when the program ends.
type kept struct {
	Version    int // 1
	Message    Message
	Until      time.Time
	Enqueued   time.Time `json:",omitzero"`
	Generation uint64    `json:",omitempty"`
}

// Encode is a message in its queue as bytes to keep, without its number and what its takers did.
func Encode(e *Entry) ([]byte, error) {
	return json.Marshal(kept{1, e.Value.Message, e.Until, e.Enqueued, e.Value.Generation})
}

// Decode reads what Encode has written.
func Decode(b []byte) (Entry, error) {
	var k kept
	if err := json.Unmarshal(b, &k); err != nil {
		return Entry{}, fmt.Errorf("reading a message that was kept: %w", err)
	}
	if k.Version != 1 {
		return Entry{}, fmt.Errorf("reading a message that was kept: version %d is unknown", k.Version)
	}
	return Entry{Value: Item{Message: k.Message, Generation: k.Generation}, Enqueued: k.Enqueued, Until: k.Until}, nil
}
