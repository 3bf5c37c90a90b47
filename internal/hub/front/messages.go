package front

import (
	"fmt"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

const (
	maxQueue      = 50 // messages a device (iot-hub-devguide-messages-c2d)
	maxDeliveries = 10 // tries before a message is dead (iot-hub-devguide-messages-c2d)
)

// DeviceMessage is a cloud-to-device message.
type DeviceMessage struct {
	Properties topics.Bag
	Payload    []byte
	Expires    time.Time // the zero time means Options.MessageTTL from now
}

// messageQueue holds the messages that wait for a device, oldest first.
type messageQueue struct{ waiting []*queued }

type queued struct {
	DeviceMessage
	packetID   uint16 // of the delivery under way; 0 when there is none
	deliveries int
}

// release ends the deliveries under way, so that the next connection gets the messages again.
// The caller holds the shard's lock.
func (q *messageQueue) release() {
	for _, m := range q.waiting {
		m.packetID = 0
	}
}

// expire drops messages that waited too long or were delivered in vain too often.
func (q *messageQueue) expire(now time.Time) {
	q.waiting = slices.DeleteFunc(q.waiting, func(m *queued) bool {
		return now.After(m.Expires) || (m.packetID == 0 && m.deliveries >= maxDeliveries)
	})
}

// Send queues a message for a device and delivers it when the device is there. It returns
// iothub.ErrMaximumQueueDepth when fifty wait already.
func (f *Front) Send(deviceID string, m DeviceMessage) error {
	now := time.Now()
	if m.Expires.IsZero() {
		m.Expires = now.Add(f.opts.MessageTTL)
	}
	full := false
	f.device(deviceID, func(d *deviceState) {
		d.queue.expire(now)
		if full = len(d.queue.waiting) >= maxQueue; !full {
			d.queue.waiting = append(d.queue.waiting, &queued{DeviceMessage: m})
		}
	})
	if full {
		return iothub.ErrMaximumQueueDepth
	}
	f.tellQueue(deviceID)
	if c := f.lookup(deviceID); c != nil && c.subscribed(filterC2D) {
		_ = c.deliver() // a failed write has closed the connection; the message waits on
	}
	return nil
}

// Purge drops the messages that wait for a device and returns how many there were.
func (f *Front) Purge(deviceID string) int {
	n := 0
	f.device(deviceID, func(d *deviceState) {
		n = len(d.queue.waiting)
		d.queue.waiting = nil
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
		d.queue.expire(time.Now())
		for _, m := range d.queue.waiting {
			if m.packetID != 0 {
				continue
			}
			again := m.deliveries > 0
			m.deliveries++
			m.packetID = c.packetID()
			// Some clients look for a system property to find the bag, so $.to is always there.
			bag := append(topics.Bag{{Name: "$.to", Value: "/devices/" + c.user.DeviceID + "/messages/deviceBound", HasValue: true}}, m.Properties...)
			packets = mqtt.AppendPublish(packets, topics.C2D(c.user.DeviceID, bag), m.Payload, 1, false, again, m.packetID)
		}
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

// completed takes the message of a PUBACK out of the queue. Messages are acknowledged in order
// (iot-hub-devguide-messages-c2d); an acknowledgement out of order ends the connection.
func (c *conn) completed(id uint16) error {
	var err error
	c.front.device(c.client, func(d *deviceState) {
		if d.conn != c {
			return
		}
		if len(d.queue.waiting) == 0 || d.queue.waiting[0].packetID != id {
			if slices.ContainsFunc(d.queue.waiting, func(m *queued) bool { return m.packetID == id }) {
				err = fmt.Errorf("message %d was acknowledged before an older one", id)
			}
			return
		}
		d.queue.waiting = d.queue.waiting[1:]
	})
	c.front.tellQueue(c.user.DeviceID)
	return err
}
