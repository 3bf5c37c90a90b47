package c2d

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/topics"
)

// deliver is what a delivery sends: identifiers, with a mark for what was sent before.
func deliver(q *Queue, now time.Time, first uint16) (sent []uint16, repeated int) {
	next := first
	q.Deliver(now, func(m *Message) bool { return m.Input == "" }, func() uint16 { next++; return next - 1 }, func(_ *Message, id uint16, isRepeated bool) {
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
	q.Add(Message{Input: "nobody listens"}, 10, now.Add(time.Hour), now)
	for n := range uint64(3) {
		q.Add(Message{}, 11+n, now.Add(time.Hour), now)
	}
	if sent, repeated := deliver(&q, now, 1); len(sent) != 3 || repeated != 0 {
		t.Fatalf("sent %v, %d of them repeated", sent, repeated)
	}
	if sent, _ := deliver(&q, now, 4); sent != nil {
		t.Errorf("what is under way was sent: %v", sent)
	}
	if err := q.Complete(2); err == nil || q.Len() != 4 {
		t.Errorf("the second before the first: %v, %d wait", err, q.Len())
	}
	if err := q.Complete(9); err != nil || q.Len() != 4 {
		t.Errorf("a message that does not wait: %v, %d wait", err, q.Len())
	}
	if err := q.Complete(1); err != nil || q.Len() != 3 || !slices.Equal(q.Removed(), []uint64{11}) || q.Removed() != nil {
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
		if added := q.Add(Message{}, uint64(n), now.Add(time.Hour), now); added != (n < 50) {
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
	if removed := q.Removed(); len(removed) != 50 || removed[49] != 49 {
		t.Errorf("%v were removed", removed)
	}
	q.Add(Message{}, 60, now, now)
	if sent, _ := deliver(&q, now.Add(1), 1); sent != nil {
		t.Errorf("a message that has expired was sent")
	}
	q.Add(Message{}, 61, now.Add(time.Hour), now)
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
	until := time.Now().UTC().Round(0)
	b, err := Encode(&input, until)
	if err != nil {
		t.Fatal(err)
	}
	got, gotUntil, err := Decode(b)
	if got.Expires = got.Expires.In(input.Expires.Location()); err != nil || !gotUntil.Equal(until) || !got.Expires.Equal(input.Expires) {
		t.Errorf("%v, %v", gotUntil, err)
	}
	if got.Expires = input.Expires; !reflect.DeepEqual(got, input) {
		t.Errorf("%+v; want %+v", got, input)
	}
	for _, bad := range []string{"", "{}", string(b[:len(b)/2]), strings.Replace(string(b), `"Version":1`, `"Version":2`, 1)} {
		if _, _, err := Decode([]byte(bad)); err == nil {
			t.Errorf("%q is a message", bad)
		}
	}
}
