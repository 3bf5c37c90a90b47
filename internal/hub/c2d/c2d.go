// Package c2d is the cloud-to-device messages that wait for a device or a module (iot-hub-devguide-messages-c2d).
package c2d

import (
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/lockqueue"
)

const (
	maxWaiting = 50 // messages a device

	// MaxDeliveries is how often a message is delivered before it is dead. Whatever ends a delivery but its completion counts: it was
	// abandoned, its lock timed out, its connection went. The documents differ on the time-out.
	MaxDeliveries = 10
	// Lock is how long a message that was taken is its taker's; over MQTT it is until the connection ends.
	Lock = time.Minute
)

// Item is a message in a queue.
type Item struct {
	Message
	Generation uint64 // of the identity that it is for

	packetID uint16 // of the delivery over MQTT that has the lock; 0 when it is no such
}

// Queue holds the messages that wait for a device, oldest first. The zero Queue is empty. It has no lock.
type Queue struct {
	lockqueue.Queue[Item]
}

// Entry is a message in its queue.
type Entry = lockqueue.Entry[Item]

// Add puts a message behind the others; it is false when fifty wait already.
func (q *Queue) Add(e Entry) bool {
	q.Sweep(e.Enqueued, MaxDeliveries)
	if q.Len() >= maxWaiting {
		return false
	}
	q.Queue.Add(e)
	return true
}

// Deliver takes all messages that are free and wanted, for delivery over MQTT: each is given to send with a packet
// identifier from next, and with whether it was delivered before.
func (q *Queue) Deliver(
	now time.Time, holder any, wanted func(m *Message) bool, next func() uint16, send func(m *Message, id uint16, repeated bool),
) {
	q.Sweep(now, MaxDeliveries)
	for _, e := range q.Take(now, maxWaiting, 0, holder, func(e *Entry) bool { return wanted(&e.Value.Message) }) {
		e.Value.packetID = next()
		send(&e.Value.Message, e.Value.packetID, e.Deliveries > 1)
	}
}

// Take takes up to so many messages that are free and wanted, each under a lock that its taker settles before it times out.
func (q *Queue) Take(now time.Time, most int, lock time.Duration, holder any, wanted func(e *Entry) bool) []*Entry {
	taken := q.Queue.Take(now, most, lock, holder, wanted)
	for _, e := range taken {
		e.Value.packetID = 0
	}
	return taken
}

// Complete takes the message that a device acknowledged over MQTT out of the queue. Messages are acknowledged in the order of their
// delivery: an acknowledgement out of order is an error. One of a message that does not wait means nothing.
func (q *Queue) Complete(holder any, id uint16) error {
	under := func(e *Entry) bool { return e.Locked(holder) && e.Value.packetID != 0 }
	acknowledged := q.First(func(e *Entry) bool { return under(e) && e.Value.packetID == id })
	switch {
	case acknowledged == nil:
		return nil
	case acknowledged != q.First(under):
		return fmt.Errorf("message %d was acknowledged before an older one", id)
	}
	return q.Settle(acknowledged.Token, lockqueue.Complete, MaxDeliveries)
}
