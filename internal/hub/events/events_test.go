package events_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/Azure/go-amqp"

	codec "github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/hub/events"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
)

// read is a message as Microsoft's AMQP library for Go reads it.
func read(t *testing.T, m *events.Message) *amqp.Message {
	t.Helper()
	b := m.Append([]byte("before"), 7, 1<<33, time.UnixMilli(1700000000123))
	var got amqp.Message
	if err := got.UnmarshalBinary(b[len("before"):]); err != nil {
		t.Fatal(err)
	}
	return &got
}

// Everything that a message has, readers see where the service puts it, in its AMQP type.
func TestWhatReadersSee(t *testing.T) {
	expires, created := time.UnixMilli(1800000000000), time.UnixMilli(1600000000000)
	m := events.Message{
		DeviceID: "dev-1", ModuleID: "mod", GenerationID: "638", ModelID: "dtmi:x;1", Auth: events.ModuleX509,
		MessageID: "m-1", CorrelationID: "c-1", UserID: "u", To: "/devices/dev-1", ContentType: "application/json", ContentEncoding: "utf-8",
		Expires: expires, Created: created, CreatedText: "2020-01-02", Ack: "full", Schema: "s", Output: "out", Input: "in", InterfaceID: "i",
		Component: "sub", DiagnosticID: "d", Trace: "t",
		Properties: topics.Bag{{Name: "a", Value: "1", HasValue: true}, {Name: "null"}, {Name: "empty", HasValue: true}, {Name: "ä b", Value: "ö", HasValue: true}},
		Payload:    []byte("{}"),
	}
	got := read(t, &m)
	enqueued := time.UnixMilli(1700000000123)
	if want := (amqp.Annotations{
		"x-opt-sequence-number": int64(7), "x-opt-offset": "8589934592", "x-opt-enqueued-time": enqueued, "iothub-enqueuedtime": enqueued,
		"x-opt-partition-key": "dev-1", "iothub-connection-device-id": "dev-1", "iothub-connection-module-id": "mod",
		"iothub-connection-auth-method":        `{"scope":"module","type":"x509","issuer":"iothub","acceptingIpFilterRule":null}`,
		"iothub-connection-auth-generation-id": "638", "iothub-message-source": "Telemetry", "iothub-interface-id": "i", "dt-dataschema": "dtmi:x;1",
		"dt-subject": "sub", "x-opt-input-name": "in", "Diagnostic-Id": "d", "Correlation-Context": "t",
	}); !reflect.DeepEqual(got.Annotations, want) {
		t.Errorf("annotations = %v\nwant %v", got.Annotations, want)
	}
	if want := map[string]any{
		"a": "1", "null": nil, "empty": "", "ä b": "ö", "iothub-ack": "full", "iothub-message-schema": "s", "iothub-outputname": "out",
		"iothub-creation-time-utc": "2020-01-02",
	}; !reflect.DeepEqual(got.ApplicationProperties, want) {
		t.Errorf("application properties = %v\nwant %v", got.ApplicationProperties, want)
	}
	to, contentType, encoding := "/devices/dev-1", "application/json", "utf-8"
	if want := (&amqp.MessageProperties{
		MessageID: "m-1", UserID: []byte("u"), To: &to, CorrelationID: "c-1", ContentType: &contentType, ContentEncoding: &encoding,
		AbsoluteExpiryTime: &expires, CreationTime: &created,
	}); !reflect.DeepEqual(got.Properties, want) {
		t.Errorf("properties = %+v\nwant %+v", got.Properties, want)
	}
	if len(got.Data) != 1 || string(got.Data[0]) != "{}" {
		t.Errorf("data = %q", got.Data)
	}
	own, err := codec.ParseMessage(m.Append(nil, 0, 0, enqueued)) // Microsoft's does not tell symbols from strings
	if err != nil {
		t.Fatal(err)
	}
	for key := range own.Annotations.Pairs() {
		if key.Kind() != codec.Symbol {
			t.Errorf("%s is a %s; want a symbol", key.Bytes(), key.Kind())
		}
	}
	if n := len(m.Append(nil, 1<<60, 1<<60, enqueued)); n > m.Size() {
		t.Errorf("Size = %d; it takes %d", m.Size(), n)
	}
}

// A message with nothing but its device has no section more than it needs, and still a body.
func TestAnEmptyMessage(t *testing.T) {
	got := read(t, &events.Message{DeviceID: "d"})
	if got.Properties != nil || got.ApplicationProperties != nil || len(got.Data) != 1 || len(got.Data[0]) != 0 {
		t.Errorf("properties %v, application %v, data %q", got.Properties, got.ApplicationProperties, got.Data)
	}
	if len(got.Annotations) != 8 {
		t.Errorf("annotations = %v; want eight", got.Annotations)
	}
}

// Every way to show who one is has its annotation; none other has.
func TestAuthMethods(t *testing.T) {
	seen := make(map[string]bool)
	for a := range 256 {
		text := events.Auth(a).String()
		if (text != "") != (a <= int(events.HubSAS)) || text != "" && seen[text] {
			t.Errorf("%d is %q", a, text)
		}
		seen[text] = true
	}
}

// The names of system properties in MQTT topics (iot-mqtt-connect-to-iot-hub; the device SDK for .NET).
func TestPropertiesOfATopic(t *testing.T) {
	const raw = "%24.mid=1&%24.cid=2&%24.uid=3&%24.to=4&%24.ct=application%2Fjson&%24.ce=utf-8&%24.exp=2030-01-02T03%3A04%3A05.678Z&" +
		"%24.ctime=2020-01-01T00%3A00%3A00Z&%24.on=out&%24.sub=thermostat&%24.ifid=if&%24.schema=sc&%24.cdid=liar&%24.cmid=liar&" +
		"%24.diagid=di&%24.diagctx=dc&iothub-ack=full&mqtt-retain=true&a%20b=c&a%20b=later&null&%24.new=x&iothub-connection-device-id=liar"
	bag, err := topics.ParseBag(raw)
	if err != nil {
		t.Fatal(err)
	}
	m := events.Message{DeviceID: "d", Properties: topics.Bag{{Name: "old"}}}
	m.SetBag(bag)
	want := events.Message{
		DeviceID: "d", MessageID: "1", CorrelationID: "2", UserID: "3", To: "4", ContentType: "application/json", ContentEncoding: "utf-8",
		Expires: time.Date(2030, 1, 2, 3, 4, 5, 678e6, time.UTC), CreatedText: "2020-01-01T00:00:00Z", Output: "out", Component: "thermostat",
		InterfaceID: "if", Schema: "sc", DiagnosticID: "di", Trace: "dc", Ack: "full",
		Properties: topics.Bag{
			{Name: "mqtt-retain", Value: "true", HasValue: true},
			{Name: "a b", Value: "c", HasValue: true},
			{Name: "null"},
			{Name: "$.new", Value: "x", HasValue: true},
		},
	}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("got %+v\nwant %+v", m, want)
	}
	m = events.Message{}
	m.SetApplication(bag)
	if m.MessageID != "" || m.Ack != "full" || len(m.Properties) != 20 {
		t.Errorf("of an application's properties: %+v", m)
	}
}

func TestExpiry(t *testing.T) {
	for text, want := range map[string]time.Time{
		"2030-01-02T03:04:05Z":         time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
		"2030-01-02T03:04:05.1234567z": time.Date(2030, 1, 2, 3, 4, 5, 123456700, time.UTC),
		"2030-01-02T05:04:05+02:00":    time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
		"2030-01-02T03:04:05.5":        time.Date(2030, 1, 2, 3, 4, 5, 5e8, time.UTC),
		"tomorrow":                     {},
		"":                             {},
	} {
		var m events.Message
		m.SetBag(topics.Bag{{Name: "$.exp", Value: text, HasValue: true}})
		if !m.Expires.Equal(want) {
			t.Errorf("%q expires %v; want %v", text, m.Expires, want)
		}
	}
}

// Whatever stands in a topic, readers get a message that Microsoft's library reads, with no name twice.
func FuzzProperties(f *testing.F) {
	f.Add("%24.mid=1&a=b&a=c&%ff=1&%fe=2&null&%24.ct=%ff", []byte("x"))
	f.Add(strings.Repeat("a&b=1&", 40)+"c", []byte(nil))
	f.Fuzz(func(t *testing.T, raw string, payload []byte) {
		bag, err := topics.ParseBag(raw)
		if err != nil {
			return
		}
		m := events.Message{DeviceID: "d", Payload: payload}
		m.SetBag(bag)
		got := read(t, &m)
		reserved := 0
		for _, text := range []string{m.Ack, m.Schema, m.Output, m.CreatedText} {
			if text != "" {
				reserved++
			}
		}
		if len(got.ApplicationProperties) != len(m.Properties)+reserved {
			t.Errorf("%d application properties of %d", len(got.ApplicationProperties), len(m.Properties)+reserved)
		}
		if string(got.Data[0]) != string(payload) {
			t.Error("the payload has changed")
		}
	})
}
