package c2d

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/lockqueue"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
)

const holder = "a connection"

// add puts a message into a queue.
func add(q *Queue, m Message, number uint64, until, now time.Time) bool {
	return q.Add(Entry{Value: Item{Message: m}, Number: number, Until: until, Enqueued: now})
}

// ended is the numbers of the messages that have left a queue, if all did so for one reason.
func ended(q *Queue, why lockqueue.Cause) (numbers []uint64) {
	for _, e := range q.Ended() {
		if e.Cause != why {
			return nil
		}
		numbers = append(numbers, e.Number)
	}
	return numbers
}

// deliver is what a delivery sends: identifiers, with a mark for what was sent before.
func deliver(q *Queue, now time.Time, first uint16) (sent []uint16, repeated int) {
	next := first
	q.Deliver(now, holder, func(m *Message) bool { return m.Input == "" }, func() uint16 { next++; return next - 1 }, func(_ *Message, id uint16, isRepeated bool) {
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
	add(&q, Message{Input: "nobody listens"}, 10, now.Add(time.Hour), now)
	for n := range uint64(3) {
		add(&q, Message{}, 11+n, now.Add(time.Hour), now)
	}
	if sent, repeated := deliver(&q, now, 1); len(sent) != 3 || repeated != 0 {
		t.Fatalf("sent %v, %d of them repeated", sent, repeated)
	}
	if sent, _ := deliver(&q, now, 4); sent != nil {
		t.Errorf("what is under way was sent: %v", sent)
	}
	if err := q.Complete(holder, 2); err == nil || q.Len() != 4 {
		t.Errorf("the second before the first: %v, %d wait", err, q.Len())
	}
	if err := q.Complete(holder, 9); err != nil || q.Len() != 4 {
		t.Errorf("a message that does not wait: %v, %d wait", err, q.Len())
	}
	if err := q.Complete(holder, 1); err != nil || q.Len() != 3 || !slices.Equal(ended(&q, lockqueue.Completed), []uint64{11}) || q.Ended() != nil {
		t.Errorf("the first: %v, %d wait", err, q.Len())
	}
	q.Release(holder, MaxDeliveries)
	if sent, repeated := deliver(&q, now, 7); len(sent) != 2 || repeated != 2 {
		t.Errorf("the next connection gets %v, %d of them repeated", sent, repeated)
	}
}

func TestLimits(t *testing.T) {
	var q Queue
	now := time.Unix(0, 0)
	for n := range 60 {
		if added := add(&q, Message{}, uint64(n), now.Add(time.Hour), now); added != (n < 50) {
			t.Fatalf("message %d added: %v", n+1, added)
		}
	}
	for range 10 {
		deliver(&q, now, 1)
		q.Release(holder, MaxDeliveries)
	}
	if sent, _ := deliver(&q, now, 1); sent != nil || q.Len() != 0 {
		t.Errorf("after ten deliveries in vain %d wait", q.Len())
	}
	if removed := ended(&q, lockqueue.Exhausted); len(removed) != 50 || removed[49] != 49 {
		t.Errorf("%v were removed", removed)
	}
	add(&q, Message{}, 60, now, now)
	if sent, _ := deliver(&q, now.Add(1), 1); sent != nil {
		t.Errorf("a message that has expired was sent")
	}
	add(&q, Message{}, 61, now.Add(time.Hour), now)
	if n := q.Purge(); n != 1 || q.Len() != 0 {
		t.Errorf("%d purged, %d wait", n, q.Len())
	}
}

// The topic of a message has the names of system properties that device SDKs look for.
func TestTopic(t *testing.T) {
	full := Message{
		MessageID: "m 1", CorrelationID: "c", UserID: "u", ContentType: "application/json", ContentEncoding: "utf-8", Ack: "full",
		Expires:    time.Date(2020, 7, 25, 16, 14, 25, 172000000, time.FixedZone("", 2*3600)),
		Properties: topics.Bag{{Name: "a b", Value: "", HasValue: true}, {Name: "null"}}, Payload: []byte{0, 255},
	}
	input := full
	input.Input = "in"
	const properties = "%24.exp=2020-07-25T14%3A14%3A25.1720000Z&%24.cid=c&%24.mid=m%201&%24.uid=u&%24.to=%2Fdevices%2Fd"
	const rest = "%2Fmessages%2FdeviceBound&%24.ct=application%2Fjson&%24.ce=utf-8&iothub-ack=full&a%20b=&null"
	for _, tt := range []struct {
		m         Message
		key, want string
	}{
		{full, "d", "devices/d/messages/devicebound/" + properties + rest},
		{full, "d/m", "devices/d/modules/m/messages/devicebound/" + properties + "%2Fmodules%2Fm" + rest},
		{input, "d/m", "devices/d/modules/m/inputs/in/" + properties + "%2Fmodules%2Fm" + rest},
		{Message{}, "d", "devices/d/messages/devicebound/%24.to=%2Fdevices%2Fd%2Fmessages%2FdeviceBound"},
		{
			Message{MessageID: "x", Properties: topics.Bag{{Name: "$.mid", Value: "y", HasValue: true}}},
			"d",
			"devices/d/messages/devicebound/%24.to=%2Fdevices%2Fd%2Fmessages%2FdeviceBound&%24.mid=y",
		},
	} {
		if got := tt.m.Topic(tt.key); got != tt.want {
			t.Errorf("%s\n%s; want", got, tt.want)
		}
	}
	if got, want := full.Size(), len("m 1"+"c"+"u"+"application/json"+"utf-8"+"full"+"a b"+"null")+2; got != want {
		t.Errorf("%d bytes; want %d", got, want)
	}
	now := time.Now().UTC().Round(0)
	entry := Entry{Value: Item{Message: input, Generation: 7}, Enqueued: now, Until: now.Add(time.Hour)}
	b, err := Encode(&entry)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(b)
	if !got.Value.Expires.Equal(input.Expires) || err != nil {
		t.Errorf("%v, %v", got.Value.Expires, err)
	}
	if got.Value.Expires = input.Expires; !reflect.DeepEqual(got, entry) {
		t.Errorf("%+v; want %+v", got, entry)
	}
	for _, bad := range []string{"", "{}", string(b[:len(b)/2]), strings.Replace(string(b), `"Version":1`, `"Version":2`, 1)} {
		if _, err := Decode([]byte(bad)); err == nil {
			t.Errorf("%q is a message", bad)
		}
	}
	old := `{"Version":1,"Message":{"MessageID":"m","Payload":"AA=="},"Until":"2026-01-02T03:04:05Z"}` // as hubs before 1.2 wrote it
	if e, err := Decode([]byte(old)); err != nil || e.Value.MessageID != "m" || e.Until.Year() != 2026 || !e.Enqueued.IsZero() {
		t.Errorf("%+v, %v", e, err)
	}
}

// Over MQTT and under a lock messages are taken side by side: an acknowledgement is of those of its own connection.
func TestTakersBesideEachOther(t *testing.T) {
	var q Queue
	now := time.Unix(0, 0)
	for n := range uint64(4) {
		add(&q, Message{}, n, now.Add(time.Hour), now)
	}
	all := func(*Entry) bool { return true }
	first := q.Take(now, 1, time.Second, nil, all)[0]
	if sent, _ := deliver(&q, now, 1); len(sent) != 3 {
		t.Fatalf("sent %v", sent)
	}
	if err := q.Complete("another connection", 1); err != nil || q.Len() != 4 {
		t.Errorf("an acknowledgement of another connection: %v, %d wait", err, q.Len())
	}
	if err := q.Complete(holder, 1); err != nil || q.Len() != 3 {
		t.Errorf("the first of the connection: %v, %d wait", err, q.Len())
	}
	if err := q.Settle(first.Token, lockqueue.Reject, MaxDeliveries); err != nil || q.Len() != 2 {
		t.Errorf("the first of all: %v, %d wait", err, q.Len())
	}
}

func TestFeedback(t *testing.T) {
	for why, status := range map[lockqueue.Cause]string{
		lockqueue.Completed: "Success", lockqueue.Rejected: "Rejected", lockqueue.Expired: "Expired", lockqueue.Exhausted: "DeliveryCountExceeded",
		lockqueue.Purged: "Purged", lockqueue.Withdrawn: "",
	} {
		for _, ack := range []string{"", "none", "positive", "negative", "full"} {
			want := status != "" && (ack == "full" || ack == "positive" && status == "Success" || ack == "negative" && status != "Success")
			m := Message{Ack: ack}
			if got, wanted := m.Feedback(why); got != status || wanted != want {
				t.Errorf("%s, %q: %q, %v; want %q, %v", status, ack, got, wanted, status, want)
			}
		}
	}
}
