package front

import (
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/c2d"
	"github.com/twinfleet/twinfleet/internal/hub/filters"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// maxC2D is the largest cloud-to-device message: body and properties (iot-hub-devguide-quotas-throttling).
const maxC2D = 64 << 10

// Send queues a message for a device and delivers it when the device is there. It returns
// iothub.ErrMaximumQueueDepth when fifty wait already, iothub.ErrMessageTooLarge for a message of which body and properties
// have more than 64 KB, or whose properties fill no topic, and iothub.ErrDeviceNotFound.
func (f *Front) Send(deviceID string, m c2d.Message) error {
	now := time.Now()
	if size := len(m.Payload) + m.Properties.Size(); size > maxC2D {
		return iothub.ErrMessageTooLarge.With("A cloud-to-device message has at most %d bytes, body and properties; this one has %d", maxC2D, size)
	}
	if !mqtt.PublishFits(len(messageTopic(deviceID, &m)), len(m.Payload)) {
		return iothub.ErrMessageTooLarge.With("The properties of a cloud-to-device message, percent-encoded, have at most %d bytes", mqtt.MaxField)
	}
	if m.Expires.IsZero() {
		m.Expires = now.Add(f.opts.MessageTTL)
	}
	full := false
	f.device(deviceID, func(d *deviceState) {
		full = !d.queue.Add(m, now)
	})
	if full {
		return iothub.ErrMaximumQueueDepth
	}
	// Whoever deletes the device from here on finds the message; it may have gone just before.
	if _, err := f.opts.Backend.Credentials(deviceID); err != nil {
		f.Forget(deviceID)
		return err
	}
	f.tellQueue(deviceID)
	if c := f.lookup(deviceID); c != nil && c.subscribed(filters.C2D) {
		_ = c.deliver() // a failed write has closed the connection; the message waits on
	}
	return nil
}

// Purge drops the messages that wait for a device and returns how many there were.
func (f *Front) Purge(deviceID string) int {
	n := 0
	f.existing(deviceID, func(d *deviceState) {
		n = d.queue.Purge()
	})
	f.tellQueue(deviceID)
	return n
}

// deliver sends the messages that wait and are not under way.
func (c *conn) deliver() error {
	var packets []byte
	c.front.existing(c.client, func(d *deviceState) {
		if d.conn != c {
			return
		}
		d.queue.Deliver(time.Now(), c.packetID, func(m *c2d.Message, id uint16, repeated bool) {
			packets = mqtt.AppendPublish(packets, messageTopic(c.client, m), m.Payload, 1, false, repeated, id)
		})
	})
	if len(packets) == 0 {
		return nil
	}
	return c.write(func(b []byte) []byte { return append(b, packets...) })
}

// messageTopic is where a message is delivered.
func messageTopic(deviceID string, m *c2d.Message) string {
	// Some clients need a system property to find the bag, so $.to is always there.
	to := topics.Property{Name: "$.to", Value: "/devices/" + deviceID + "/messages/deviceBound", HasValue: true}
	return topics.C2D(deviceID, append(topics.Bag{to}, m.Properties...))
}

func (c *conn) packetID() uint16 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nextID++; c.nextID == 0 {
		c.nextID = 1
	}
	return c.nextID
}

// completed takes the message of a PUBACK out of the queue. An acknowledgement out of order ends the connection.
func (c *conn) completed(id uint16) error {
	var err error
	c.front.existing(c.client, func(d *deviceState) {
		if d.conn == c {
			err = d.queue.Complete(id)
		}
	})
	c.front.tellQueue(c.client)
	return err
}
