package front

import (
	"github.com/twinfleet/twinfleet/internal/hub/c2d"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// Deliver sends the messages that wait. A failed write has closed the connection; they wait on.
func (c *conn) Deliver() { _ = c.deliver() }

// deliver sends the messages that wait for the device, that it takes, and that are not under way.
func (c *conn) deliver() error {
	var packets []byte
	c.front.devices.Deliver(c.client, c, c.packetID, func(m *c2d.Message, id uint16, repeated bool) {
		packets = mqtt.AppendPublish(packets, m.Topic(c.client), m.Payload, 1, false, repeated, id)
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
