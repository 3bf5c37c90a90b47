package c2d

import (
	"testing"
	"time"
)

// deliver is what a delivery sends: identifiers, with a mark for what was sent before.
func deliver(q *Queue, now time.Time, first uint16) (sent []uint16, repeated int) {
	next := first
	q.Deliver(now, func() uint16 { next++; return next - 1 }, func(_ *Message, id uint16, isRepeated bool) {
		sent = append(sent, id)
		if isRepeated {
			repeated++
		}
	})
	return sent, repeated
}

func TestMessagesAreAcknowledgedInOrder(t *testing.T) {
	var q Queue
	now := time.Unix(0, 0)
	for range 3 {
		q.Add(Message{Expires: now.Add(time.Hour)}, now)
	}
	if sent, repeated := deliver(&q, now, 1); len(sent) != 3 || repeated != 0 {
		t.Fatalf("sent %v, %d of them repeated", sent, repeated)
	}
	if sent, _ := deliver(&q, now, 4); sent != nil {
		t.Errorf("what is under way was sent: %v", sent)
	}
	if err := q.Complete(2); err == nil || q.Len() != 3 {
		t.Errorf("the second before the first: %v, %d wait", err, q.Len())
	}
	if err := q.Complete(9); err != nil || q.Len() != 3 {
		t.Errorf("a message that does not wait: %v, %d wait", err, q.Len())
	}
	if err := q.Complete(1); err != nil || q.Len() != 2 {
		t.Errorf("the first: %v, %d wait", err, q.Len())
	}
	q.Release()
	if sent, repeated := deliver(&q, now, 7); len(sent) != 2 || repeated != 2 {
		t.Errorf("the next connection gets %v, %d of them repeated", sent, repeated)
	}
}

func TestLimits(t *testing.T) {
	var q Queue
	now := time.Unix(0, 0)
	for n := range 60 {
		if added := q.Add(Message{Expires: now.Add(time.Hour)}, now); added != (n < 50) {
			t.Fatalf("message %d added: %v", n+1, added)
		}
	}
	for range 10 {
		deliver(&q, now, 1)
		q.Release()
	}
	if sent, _ := deliver(&q, now, 1); sent != nil || q.Len() != 0 {
		t.Errorf("after ten deliveries in vain %d wait", q.Len())
	}
	q.Add(Message{Expires: now}, now)
	if sent, _ := deliver(&q, now.Add(1), 1); sent != nil {
		t.Errorf("a message that has expired was sent")
	}
	q.Add(Message{Expires: now.Add(time.Hour)}, now)
	if n := q.Purge(); n != 1 || q.Len() != 0 {
		t.Errorf("%d purged, %d wait", n, q.Len())
	}
}
