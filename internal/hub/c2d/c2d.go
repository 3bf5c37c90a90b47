// Package c2d is the cloud-to-device messages that wait for a device or a module (iot-hub-devguide-messages-c2d).
package c2d

import (
	"fmt"
	"slices"
	"time"
)

const (
	maxWaiting    = 50 // messages a device
	maxDeliveries = 10 // tries before a message is dead
)

// Queue holds the messages that wait for a device, oldest first. The zero Queue is empty. It has no lock.
type Queue struct {
	waiting []*queued
	removed []uint64
}

type queued struct {
	Message
	number     uint64 // of the message
	until      time.Time
	packetID   uint16 // of the delivery under way; 0 when there is none
	deliveries int
}

// Len is how many messages wait.
func (q *Queue) Len() int { return len(q.waiting) }

// Add puts a message behind the others, which is delivered until a time; it is false when fifty wait already. Its number is greater
// than those of messages that were added before.
func (q *Queue) Add(m Message, number uint64, until, now time.Time) bool {
	q.expire(now)
	if len(q.waiting) >= maxWaiting {
		return false
	}
	q.waiting = append(q.waiting, &queued{Message: m, number: number, until: until})
	return true
}

// Remove takes a message out by its number, if it waits.
func (q *Queue) Remove(number uint64) {
	q.drop(func(m *queued) bool { return m.number == number })
}

// Purge drops all messages and returns how many there were.
func (q *Queue) Purge() int {
	n := len(q.waiting)
	q.drop(func(*queued) bool { return true })
	return n
}

// Removed returns the numbers of the messages that left the queue since it was called last, for whatever reason.
func (q *Queue) Removed() []uint64 {
	numbers := q.removed
	q.removed = nil
	return numbers
}

// Release ends the deliveries under way, so that the next connection gets the messages once more.
func (q *Queue) Release() {
	for _, m := range q.waiting {
		m.packetID = 0
	}
}

// drop takes messages out.
func (q *Queue) drop(which func(*queued) bool) {
	q.waiting = slices.DeleteFunc(q.waiting, func(m *queued) bool {
		if !which(m) {
			return false
		}
		q.removed = append(q.removed, m.number)
		return true
	})
}

// expire drops messages that waited too long or were delivered in vain too often.
func (q *Queue) expire(now time.Time) {
	q.drop(func(m *queued) bool {
		return now.After(m.until) || (m.packetID == 0 && m.deliveries >= maxDeliveries)
	})
}

// Deliver begins the delivery of the messages that are not under way and that wanted takes: each is given to send with a packet
// identifier from next, and with whether it was delivered before.
func (q *Queue) Deliver(now time.Time, wanted func(m *Message) bool, next func() uint16, send func(m *Message, id uint16, repeated bool)) {
	q.expire(now)
	for _, m := range q.waiting {
		if m.packetID != 0 || !wanted(&m.Message) {
			continue
		}
		repeated := m.deliveries > 0
		m.deliveries++
		m.packetID = next()
		send(&m.Message, m.packetID, repeated)
	}
}

// Complete takes the message that a device acknowledged out of the queue. Messages are acknowledged in the order of their delivery: an
// acknowledgement out of order is an error. One of a message that does not wait means nothing.
func (q *Queue) Complete(id uint16) error {
	for _, m := range q.waiting {
		switch m.packetID {
		case 0: // not under way
		case id:
			q.Remove(m.number)
			return nil
		default:
			if slices.ContainsFunc(q.waiting, func(m *queued) bool { return m.packetID == id }) {
				return fmt.Errorf("message %d was acknowledged before an older one", id)
			}
			return nil
		}
	}
	return nil
}
