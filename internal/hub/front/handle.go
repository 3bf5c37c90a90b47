package front

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/devices"
	"github.com/twinfleet/twinfleet/internal/hub/events"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/errorbody"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// maxRequestID is the longest request id, in bytes: an answer's topic holds it beside a status and a version.
const maxRequestID = mqtt.MaxField - 128

// handlePublish serves a PUBLISH. An error ends the connection: MQTT 3.1.1 has no other way to
// tell a publisher of one.
func (c *conn) handlePublish(p mqtt.Packet) error {
	var m mqtt.Publish
	if err := mqtt.DecodePublish(p, &m); err != nil {
		return err
	}
	if m.QoS == 2 {
		return errors.New("QoS 2 is not supported")
	}
	topic, err := topics.Parse(string(m.Topic))
	if err != nil {
		return fmt.Errorf("%w: %q", err, m.Topic)
	}
	if len(topic.RequestID) > maxRequestID {
		return fmt.Errorf("%w: a request id of %d bytes", topics.ErrTopic, len(topic.RequestID))
	}
	c.front.devices.Active(c.client)
	switch topic.Kind {
	case topics.KindTelemetry:
		return c.telemetry(topic, &m)
	case topics.KindTwinGet, topics.KindReport, topics.KindMethodResponse:
	default:
		return fmt.Errorf("%w: %q is for the hub to send", topics.ErrTopic, m.Topic)
	}
	if err := c.puback(&m); err != nil {
		return err
	}
	switch topic.Kind {
	case topics.KindTwinGet:
		return c.twinOperation(nil, func([]byte) error { return c.twinGet(topic) })
	case topics.KindReport:
		return c.twinOperation(m.Payload, func(patch []byte) error { return c.report(topic, patch) })
	default:
		c.methodAnswered(topic, m.Payload)
		return nil
	}
}

// twinOperation carries out a twin operation of the connection. An error ends the connection.
func (c *conn) twinOperation(payload []byte, do func(payload []byte) error) error {
	return c.front.devices.TwinOperation(c.front.ctx, c.client, payload, do, c.Close)
}

func (c *conn) puback(m *mqtt.Publish) error {
	if m.QoS == 0 {
		return nil
	}
	return c.answer(func(b []byte) []byte { return mqtt.AppendAck(b, mqtt.PUBACK, m.PacketID) })
}

func (c *conn) telemetry(topic topics.Topic, m *mqtt.Publish) error {
	if topic.DeviceID != c.user.DeviceID || topic.ModuleID != c.user.ModuleID {
		return fmt.Errorf("%w: telemetry of another device", topics.ErrTopic)
	}
	bag, err := topics.ParseBag(topic.Properties)
	if err != nil {
		return err
	}
	if m.Retain {
		bag = append(bag, topics.Property{Name: "mqtt-retain", Value: "true", HasValue: true})
	}
	// A throttled message is late; one that is shed ends the connection, since it cannot be refused.
	if err := c.front.devices.Telemetry(c.front.ctx, c.client, batchOf(c.auth, bag, m.Payload)); err != nil {
		return err
	}
	return c.puback(m)
}

// batchOf is a message with the properties of its topic. Its size is that of all that the topic names, and of the payload.
func batchOf(auth events.Auth, bag topics.Bag, payload []byte) devices.Batch {
	return devices.Batch{Auth: auth, Count: 1, Size: len(payload) + bag.Size(), Messages: func() []events.Message {
		m := events.Message{Payload: payload}
		m.SetBag(bag)
		return []events.Message{m}
	}}
}

func (c *conn) twinGet(topic topics.Topic) error {
	if topic.RequestID == "" {
		return c.twinError(topic, iothub.ErrArgumentNull.With("Correlation id is missing or empty"))
	}
	body, err := c.front.devices.Twin(c.front.ctx, c.client)
	if err != nil {
		return c.twinError(topic, err)
	}
	if !c.Listens(devices.TwinResponses) {
		return nil
	}
	return c.publish(topics.TwinResponse(200, topic.RequestID), body)
}

func (c *conn) report(topic topics.Topic, patch []byte) error {
	expect := int64(-1)
	if topic.HasVersion {
		expect = topic.Version
	}
	version, err := c.front.devices.Report(c.front.ctx, c.client, patch, expect, c.arrays)
	if err != nil {
		return c.twinError(topic, err)
	}
	if topic.RequestID == "" || !c.Listens(devices.TwinResponses) {
		return nil
	}
	return c.publish(topics.ReportAccepted(topic.RequestID, version), nil)
}

// twinError answers a twin request with the error's status and body. Clients read either.
func (c *conn) twinError(topic topics.Topic, err error) error {
	if topic.RequestID == "" || !c.Listens(devices.TwinResponses) {
		return nil
	}
	e := iothub.AsError(err)
	return c.publish(topics.TwinResponse(e.Status, topic.RequestID), errorbody.MQTT(e, trackingID(), time.Now()))
}

// trackingID is a random id, such as the service puts into error answers.
func trackingID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails, by its own documentation
	return hex.EncodeToString(b[:])
}

// Desired tells of changed desired properties. A failed write has closed the connection; there is nobody else to tell.
func (c *conn) Desired(payload []byte, version int64) bool {
	topic := topics.Desired(version)
	return nil == c.write(func(b []byte) []byte { return mqtt.AppendPublish(b, topic, payload, 0, false, false, 0) })
}
