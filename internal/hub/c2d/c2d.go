// Package c2d is the cloud-to-device messages that wait for a device (iot-hub-devguide-messages-c2d).
package c2d

import (
	"fmt"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/topics"
)

const (
	maxWaiting    = 50 // messages a device
	maxDeliveries = 10 // tries before a message is dead
)

// Message is a cloud-to-device message.
type Message struct {
	Properties topics.Bag // of the system and of the application
	Payload    []byte     // at most 64 KB
	Expires    time.Time  // when it is no longer delivered; in requests the zero time leaves it to the hub
}

// Queue holds the messages that wait for a device, oldest first. The zero Queue is empty. It has no lock.
type Queue struct{ waiting []*queued }

type queued struct {
	Message
	packetID   uint16 // of the delivery under way; 0 when there is none
	deliveries int
}

// Len is how many messages wait.
func (q *Queue) Len() int { return len(q.waiting) }

// Add puts a message behind the others; it is false when fifty wait already.
func (q *Queue) Add(m Message, now time.Time) bool {
	q.expire(now)
	if len(q.waiting) >= maxWaiting {
		return false
	}
	q.waiting = append(q.waiting, &queued{Message: m})
	return true
}

// Purge drops all messages and returns how many there were.
func (q *Queue) Purge() int {
	n := len(q.waiting)
	q.waiting = nil
	return n
}

// Release ends the deliveries under way, so that the next connection gets the messages once more.
func (q *Queue) Release() {
	for _, m := range q.waiting {
		m.packetID = 0
	}
}

// expire drops messages that waited too long or were delivered in vain too often.
func (q *Queue) expire(now time.Time) {
	q.waiting = slices.DeleteFunc(q.waiting, func(m *queued) bool {
		return now.After(m.Expires) || (m.packetID == 0 && m.deliveries >= maxDeliveries)
	})
}

// Deliver begins the delivery of all messages that are not under way: each is given to send with a packet identifier from
// next, and with whether it was delivered before.
func (q *Queue) Deliver(now time.Time, next func() uint16, send func(m *Message, id uint16, repeated bool)) {
	q.expire(now)
	for _, m := range q.waiting {
		if m.packetID != 0 {
			continue
		}
		repeated := m.deliveries > 0
		m.deliveries++
		m.packetID = next()
		send(&m.Message, m.packetID, repeated)
	}
}

// Complete takes the message that a device acknowledged out of the queue. Messages are acknowledged in order: an
// acknowledgement out of order is an error. One of a message that does not wait means nothing.
func (q *Queue) Complete(id uint16) error {
	if len(q.waiting) > 0 && q.waiting[0].packetID == id {
		q.waiting = q.waiting[1:]
		return nil
	}
	if slices.ContainsFunc(q.waiting, func(m *queued) bool { return m.packetID == id }) {
		return fmt.Errorf("message %d was acknowledged before an older one", id)
	}
	return nil
}
