package front

import (
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/c2d"
	"github.com/twinfleet/twinfleet/internal/hub/filters"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// Send queues a message for a device and delivers it when the device is there. It returns
// iothub.ErrMaximumQueueDepth when fifty wait already.
func (f *Front) Send(deviceID string, m c2d.Message) error {
	now := time.Now()
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
	f.tellQueue(deviceID)
	if c := f.lookup(deviceID); c != nil && c.subscribed(filters.C2D) {
		_ = c.deliver() // a failed write has closed the connection; the message waits on
	}
	return nil
}

// Purge drops the messages that wait for a device and returns how many there were.
func (f *Front) Purge(deviceID string) int {
	n := 0
	f.device(deviceID, func(d *deviceState) {
		n = d.queue.Purge()
	})
	f.tellQueue(deviceID)
	return n
}

// deliver sends the messages that wait and are not under way.
func (c *conn) deliver() error {
	var packets []byte
	c.front.device(c.client, func(d *deviceState) {
		if d.conn != c {
			return
		}
		d.queue.Deliver(time.Now(), c.packetID, func(m *c2d.Message, id uint16, repeated bool) {
			// Some clients need a system property to find the bag, so $.to is always there.
			to := topics.Property{Name: "$.to", Value: "/devices/" + c.user.DeviceID + "/messages/deviceBound", HasValue: true}
			topic := topics.C2D(c.user.DeviceID, append(topics.Bag{to}, m.Properties...))
			packets = mqtt.AppendPublish(packets, topic, m.Payload, 1, false, repeated, id)
		})
	})
	if len(packets) == 0 {
		return nil
	}
	return c.write(func(b []byte) []byte { return append(b, packets...) })
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
	c.front.device(c.client, func(d *deviceState) {
		if d.conn == c {
			err = d.queue.Complete(id)
		}
	})
	c.front.tellQueue(c.user.DeviceID)
	return err
}
