package devices

import (
	"context"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/c2d"
	"github.com/twinfleet/twinfleet/internal/iothub"
)

// Send queues a message for a device or a module, and delivers it when it is there; when it returns the message is kept. Errors:
// iothub.ErrMaximumQueueDepth when fifty wait already, iothub.ErrMessageTooLarge for a message of more than c2d.MaxSize
// or one whose properties fill no topic, iothub.ErrDeviceNotFound, and what is wrong with the disk.
func (t *Table) Send(client string, m c2d.Message) error {
	now := time.Now()
	until := m.Expires
	if until.IsZero() {
		until = now.Add(t.opts.MessageTTL)
	}
	if size := m.Size(); size > c2d.MaxSize {
		return iothub.ErrMessageTooLarge.With("A cloud-to-device message has at most %d bytes, body and properties; this one has %d", c2d.MaxSize, size)
	}
	if len(m.Topic(client)) > c2d.MaxTopic {
		return iothub.ErrMessageTooLarge.With("The properties of a cloud-to-device message, percent-encoded, have at most %d bytes", c2d.MaxTopic)
	}
	var value []byte
	if t.opts.Keeper != nil {
		var err error
		if value, err = c2d.Encode(&m, until); err != nil {
			return err
		}
	}
	full := false
	var number uint64
	var durable func(context.Context) error
	t.device(client, func(d *state) {
		number = t.lastMessage.Add(1)
		if full = !d.queue.Add(m, number, until, now); !full {
			durable = t.keepMessage(client, number, value)
		}
	})
	if full {
		return iothub.ErrMaximumQueueDepth
	}
	// Whoever deletes the device from here on finds the message; it may have gone just before.
	if _, err := t.opts.Backend.Credentials(client); err != nil {
		t.Forget(client)
		return err
	}
	if err := t.wait(durable); err != nil {
		t.existing(client, func(d *state) { d.queue.Remove(number) })
		return err
	}
	t.tellQueue(client)
	if o := t.lookup(client); o != nil {
		o.Deliver()
	}
	return nil
}

// Purge drops the messages that wait for a device or a module and returns how many there were.
func (t *Table) Purge(client string) int {
	n := 0
	var durable func(context.Context) error
	t.existing(client, func(d *state) {
		n = d.queue.Purge()
		durable = t.dropRows(client, d.queue.Removed())
	})
	if err := t.wait(durable); err != nil {
		t.log.Warn("messages that were purged may come back when the hub starts again", "device", client, "error", err)
	}
	t.tellQueue(client)
	return n
}

// Deliver begins the delivery of the messages that wait for a device, that its outlet listens to, and that are not under way. Each is
// given to send with a packet identifier from next, and with whether it was delivered before. Both are called with a lock of the Table
// held.
func (t *Table) Deliver(client string, o Outlet, next func() uint16, send func(m *c2d.Message, id uint16, repeated bool)) {
	t.existing(client, func(d *state) {
		if d.outlet != o || d.queue.Len() == 0 {
			return
		}
		d.queue.Deliver(time.Now(), func(m *c2d.Message) bool { return o.Listens(kindOf(m)) }, next, send)
	})
}

// kindOf is what a device listens to that gets a message.
func kindOf(m *c2d.Message) Kind {
	if m.Input != "" {
		return Inputs
	}
	return Messages
}

// Complete takes a message out of the queue, by the packet identifier with which Deliver gave it to the outlet. An acknowledgement out of
// order is an error.
func (t *Table) Complete(client string, o Outlet, id uint16) error {
	var err error
	t.existing(client, func(d *state) {
		if d.outlet == o {
			err = d.queue.Complete(id)
		}
	})
	t.tellQueue(client)
	return err
}
