package front

import (
	"context"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/c2d"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// Send queues a message for a device or a module, and delivers it when it is there; when it returns the message is kept. Errors:
// iothub.ErrMaximumQueueDepth when fifty wait already, iothub.ErrMessageTooLarge for a message of more than c2d.MaxSize
// or one whose properties fill no topic, iothub.ErrDeviceNotFound, and what is wrong with the disk.
func (f *Front) Send(client string, m c2d.Message) error {
	now := time.Now()
	until := m.Expires
	if until.IsZero() {
		until = now.Add(f.opts.MessageTTL)
	}
	if size := m.Size(); size > c2d.MaxSize {
		return iothub.ErrMessageTooLarge.With("A cloud-to-device message has at most %d bytes, body and properties; this one has %d", c2d.MaxSize, size)
	}
	if !mqtt.PublishFits(len(m.Topic(client)), len(m.Payload)) {
		return iothub.ErrMessageTooLarge.With("The properties of a cloud-to-device message, percent-encoded, have at most %d bytes", mqtt.MaxField)
	}
	var value []byte
	if f.opts.Keeper != nil {
		var err error
		if value, err = c2d.Encode(&m, until); err != nil {
			return err
		}
	}
	full := false
	var number uint64
	var durable func(context.Context) error
	f.device(client, func(d *deviceState) {
		number = f.lastMessage.Add(1)
		if full = !d.queue.Add(m, number, until, now); !full {
			durable = f.keepMessage(client, number, value)
		}
	})
	if full {
		return iothub.ErrMaximumQueueDepth
	}
	// Whoever deletes the device from here on finds the message; it may have gone just before.
	if _, err := f.opts.Backend.Credentials(client); err != nil {
		f.Forget(client)
		return err
	}
	if err := f.wait(durable); err != nil {
		f.existing(client, func(d *deviceState) { d.queue.Remove(number) })
		return err
	}
	f.tellQueue(client)
	if c := f.lookup(client); c != nil {
		_ = c.deliver() // a failed write has closed the connection; the message waits on
	}
	return nil
}

// Purge drops the messages that wait for a device or a module and returns how many there were.
func (f *Front) Purge(client string) int {
	n := 0
	var durable func(context.Context) error
	f.existing(client, func(d *deviceState) {
		n = d.queue.Purge()
		durable = f.dropRows(client, d.queue.Removed())
	})
	if err := f.wait(durable); err != nil {
		f.log.Warn("messages that were purged may come back when the hub starts again", "device", client, "error", err)
	}
	f.tellQueue(client)
	return n
}

// deliver sends the messages that wait for the device, that it takes, and that are not under way.
func (c *conn) deliver() error {
	var packets []byte
	c.front.existing(c.client, func(d *deviceState) {
		if d.conn != c || d.queue.Len() == 0 {
			return
		}
		d.queue.Deliver(time.Now(), c.takes, c.packetID, func(m *c2d.Message, id uint16, repeated bool) {
			packets = mqtt.AppendPublish(packets, m.Topic(c.client), m.Payload, 1, false, repeated, id)
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
	c.front.existing(c.client, func(d *deviceState) {
		if d.conn == c {
			err = d.queue.Complete(id)
		}
	})
	c.front.tellQueue(c.client)
	return err
}
