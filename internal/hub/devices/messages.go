package devices

import (
	"errors"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/c2d"
	"github.com/twinfleet/twinfleet/internal/hub/lockqueue"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/timers"
)

// Feedback is what became of a message whose sender wants to know (iot-hub-devguide-messages-c2d, message feedback).
type Feedback struct {
	Client     string    // the device or module that the message was for
	Generation uint64    // of that identity when the message was sent
	Number     uint64    // of the message: no other has it
	MessageID  string    // chosen by the sender
	Status     string    // Success, Expired, DeliveryCountExceeded, Rejected or Purged
	At         time.Time // when it came to that
}

// waiting is the messages of a device that has some, and when something becomes due of them.
type waiting struct {
	queue c2d.Queue
	alarm timers.Timer
	at    time.Time // of the alarm; zero for none
}

// messages is how many messages wait.
func (d *state) messages() int {
	if d.waiting == nil {
		return 0
	}
	return d.waiting.queue.Len()
}

// release frees the messages that an outlet holds.
func (d *state) release(o Outlet) {
	if d.waiting != nil && o != nil {
		d.waiting.queue.Release(o, c2d.MaxDeliveries)
	}
}

// queue is that of a device, made if there is none. The caller holds the lock of its shard.
func (t *Table) queue(client string, d *state) *c2d.Queue {
	if d.waiting == nil {
		d.waiting = &waiting{}
		t.alarms.Init(&d.waiting.alarm, func() { t.due(client) })
	}
	return &d.waiting.queue
}

// tidy gives feedback of the messages that have ended and forgets them, in this order: when the hub is killed between, Reported knows.
// It sets the alarm anew. The caller holds the lock of the device's shard.
func (t *Table) tidy(client string, d *state) (ended Durable) {
	w := d.waiting
	if w == nil {
		return nil
	}
	for _, e := range w.queue.Ended() {
		if status, wanted := e.Value.Feedback(e.Cause); wanted && t.opts.Feedback != nil {
			at := time.Now()
			if e.Cause == lockqueue.Expired {
				at = e.Until
			}
			t.opts.Feedback(Feedback{
				Client: client, Generation: e.Value.Generation, Number: e.Number, MessageID: e.Value.MessageID, Status: status, At: at,
			})
		}
		ended = t.keepMessage(client, e.Number, nil)
	}
	if w.queue.Len() == 0 {
		w.alarm.Stop()
		d.waiting = nil
		return ended
	}
	if at := w.queue.Due(); !at.Equal(w.at) {
		w.at = at
		w.alarm.Reset(at) // every message expires: there is a time
	}
	return ended
}

// drop forgets the messages of a device without feedback. The caller holds the lock of its shard.
func (t *Table) drop(client string, d *state) {
	if d.waiting == nil {
		return
	}
	d.waiting.queue.Purge()
	for _, e := range d.waiting.queue.Ended() {
		t.keepMessage(client, e.Number, nil)
	}
	d.waiting.alarm.Stop()
	d.waiting = nil
}

// due ends locks and messages of a device whose time has come.
func (t *Table) due(client string) {
	t.closing.Lock()
	if t.closed {
		t.closing.Unlock()
		return
	}
	t.work.Add(1)
	t.closing.Unlock()
	defer t.work.Done()
	freed := false
	t.existing(client, func(d *state) {
		if d.waiting != nil {
			d.waiting.at = time.Time{}
			freed = d.waiting.queue.Sweep(time.Now(), c2d.MaxDeliveries)
		}
	})
	t.tellQueue(client)
	if freed {
		t.deliver(client)
	}
}

// stopAlarms stops the timers of all devices.
func (t *Table) stopAlarms() {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for _, d := range s.devices {
			if d.waiting != nil {
				d.waiting.alarm.Stop()
			}
		}
		s.mu.Unlock()
	}
}

// deliver tells the outlet of a device, if it has one, that messages may wait.
func (t *Table) deliver(client string) {
	if o := t.lookup(client); o != nil {
		o.Deliver()
	}
}

// Send queues a message for a device or a module, and delivers it when it is there; when it returns the message is kept. Errors:
// iothub.ErrMaximumQueueDepth when fifty wait already, iothub.ErrMessageTooLarge for a message of more than c2d.MaxSize
// or one whose properties fill no topic, iothub.ErrDeviceNotFound, and what is wrong with the disk.
func (t *Table) Send(client string, m c2d.Message) error {
	if size := m.Size(); size > c2d.MaxSize {
		return iothub.ErrMessageTooLarge.With("A cloud-to-device message has at most %d bytes, body and properties; this one has %d", c2d.MaxSize, size)
	}
	if len(m.Topic(client)) > c2d.MaxTopic {
		return iothub.ErrMessageTooLarge.With("The properties of a cloud-to-device message, percent-encoded, have at most %d bytes", c2d.MaxTopic)
	}
	creds, err := t.opts.Backend.Credentials(client)
	if err != nil {
		return err
	}
	e := c2d.Entry{Value: c2d.Item{Message: m, Generation: creds.Generation}, Enqueued: time.Now(), Until: m.Expires}
	if e.Until.IsZero() {
		e.Until = e.Enqueued.Add(t.opts.MessageTTL)
	}
	var value []byte
	if t.opts.Keeper != nil {
		if value, err = c2d.Encode(&e); err != nil {
			return err
		}
	}
	full := false
	var durable Durable
	t.device(client, func(d *state) {
		e.Number = t.lastMessage.Add(1)
		if full = !t.queue(client, d).Add(e); !full {
			durable = t.keepMessage(client, e.Number, value)
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
	if err := durable.Wait(t.ctx); err != nil {
		t.existing(client, func(d *state) {
			if d.waiting != nil {
				d.waiting.queue.Withdraw(e.Number)
			}
		})
		return err
	}
	t.tellQueue(client)
	t.deliver(client)
	return nil
}

// Purge drops the messages that wait for a device or a module and returns how many there were.
func (t *Table) Purge(client string) int {
	n := 0
	ended := t.existing(client, func(d *state) {
		if d.waiting != nil {
			n = d.waiting.queue.Purge()
		}
	})
	if err := ended.Wait(t.ctx); err != nil {
		t.log.Warn("messages that were purged may come back when the hub starts again", "device", client, "error", err)
	}
	t.tellQueue(client)
	return n
}

// Delivery is a message that was taken under a lock.
type Delivery struct {
	Message     *c2d.Message // must not be changed
	Token       lockqueue.Token
	Sequence    uint64    // number of the message: later ones have greater ones
	Enqueued    time.Time // when the hub took it; zero for one that an older hub has kept
	Until       time.Time // when it expires
	LockedUntil time.Time // when the lock is lost
	Deliveries  int       // how often it was taken before, in vain
}

// Receive takes up to so many messages that wait for a device or a module, oldest first, each under a lock that Settle ends, or a time;
// c2d.Lock when 0. An outlet takes what it listens to, while it is its device's; what it holds when it goes is free again. With a nil
// outlet, for who comes without a connection, no input's messages are taken.
func (t *Table) Receive(client string, o Outlet, most int, lock time.Duration) (all []Delivery) {
	if lock == 0 {
		lock = c2d.Lock
	}
	t.existing(client, func(d *state) {
		if d.waiting == nil || o != nil && d.outlet != o {
			return
		}
		var holder any // of none it must be nil
		wanted := func(e *c2d.Entry) bool { return kindOf(&e.Value.Message) == Messages }
		if o != nil {
			holder, wanted = o, func(e *c2d.Entry) bool { return o.Listens(kindOf(&e.Value.Message)) }
		}
		now := time.Now()
		d.waiting.queue.Sweep(now, c2d.MaxDeliveries)
		for _, e := range d.waiting.queue.Take(now, most, lock, holder, wanted) {
			all = append(all, Delivery{
				Message: &e.Value.Message, Token: e.Token, Sequence: e.Number, Enqueued: e.Enqueued, Until: e.Until,
				LockedUntil: e.LockedUntil, Deliveries: e.Deliveries - 1,
			})
		}
	})
	return all
}

// Settle ends the lock of a message with an outcome: it is completed or rejected, or abandoned, which delivers it anew. Who must not
// acknowledge before that is kept waits for the Durable. Errors: iothub.ErrMessageLockLost. An outlet's Deliver may be called.
func (t *Table) Settle(client string, token lockqueue.Token, o lockqueue.Outcome) (Durable, error) {
	err := lockqueue.ErrLost
	ended := t.existing(client, func(d *state) {
		if d.waiting != nil {
			d.waiting.queue.Sweep(time.Now(), c2d.MaxDeliveries)
			err = d.waiting.queue.Settle(token, o, c2d.MaxDeliveries)
		}
	})
	t.tellQueue(client)
	switch {
	case errors.Is(err, lockqueue.ErrLost):
		return nil, iothub.ErrMessageLockLost
	case o == lockqueue.Abandon:
		t.deliver(client)
	}
	return ended, err
}

// Release frees the messages that an outlet holds, and goes on being its device's: it no longer listens to them.
func (t *Table) Release(client string, o Outlet) {
	t.existing(client, func(d *state) { d.release(o) })
	t.tellQueue(client)
}

// Deliver begins the delivery of the messages that wait for a device over MQTT: those that its outlet listens to and that are free. Each
// is given to send with a packet identifier from next, and with whether it was delivered before. Both are called with a lock of the Table
// held. The lock lasts until Complete, or the outlet goes.
func (t *Table) Deliver(client string, o Outlet, next func() uint16, send func(m *c2d.Message, id uint16, repeated bool)) {
	t.existing(client, func(d *state) {
		if d.outlet != o || d.waiting == nil {
			return
		}
		d.waiting.queue.Deliver(time.Now(), o, func(m *c2d.Message) bool { return o.Listens(kindOf(m)) }, next, send)
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
		if d.outlet == o && d.waiting != nil {
			err = d.waiting.queue.Complete(o, id)
		}
	})
	t.tellQueue(client)
	return err
}
