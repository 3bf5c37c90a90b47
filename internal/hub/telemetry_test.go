package hub_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/go-amqp"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/eventlog"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
)

// readAll is what a hub keeps of telemetry, as Microsoft's AMQP library reads it, partition by partition.
func readAll(t *testing.T, h *hub.Hub) (all []*amqp.Message) {
	t.Helper()
	for n := range h.Events().Partitions() {
		r, err := h.Events().Open(t.Context(), n, eventlog.Start(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for _, e := range r.Take(nil, 1<<20) {
			m := new(amqp.Message)
			if err := m.UnmarshalBinary(e.Bytes); err != nil {
				t.Fatal(err)
			}
			all = append(all, m)
		}
	}
	return all
}

// Once somebody has asked, messages over MQTT are there as they were sent, with who sent them.
func TestTelemetryIsKeptForReaders(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		h, service := open(t, hub.Options{DataDir: dir})
		d := newDevice(t, service, "dev-1")
		c, _, err := connect(t, h, "dev-1", d.Authentication.SymmetricKey.Primary)
		if err != nil {
			t.Fatal(err)
		}
		send := func(bag topics.Bag, payload string) {
			t.Helper()
			token := c.Publish(topics.Telemetry("dev-1", bag), 1, false, payload)
			if !token.WaitTimeout(10*time.Second) || token.Error() != nil {
				t.Fatalf("sending: %v", token.Error())
			}
		}
		send(nil, "nobody reads this")
		if s := h.Stats(); s.Telemetry != 1 || s.Events.On || s.Events.Messages != 0 {
			t.Errorf("before anybody reads: %+v", s.Events)
		}
		if err := h.Events().Enable(t.Context()); err != nil {
			t.Fatal(err)
		}
		begun := time.Now().Truncate(time.Millisecond)
		send(topics.Bag{
			{Name: "$.mid", Value: "m 1", HasValue: true},
			{Name: "$.ct", Value: "application/json", HasValue: true},
			{Name: "alert", Value: "yes", HasValue: true},
		}, `{"t":1}`)
		var all []*amqp.Message
		eventually(t, "the message is there", func() bool { all = readAll(t, h); return len(all) > 0 })
		m := all[0]
		if len(all) != 1 || string(m.GetData()) != `{"t":1}` || m.ApplicationProperties["alert"] != "yes" ||
			m.Properties.MessageID != "m 1" || *m.Properties.ContentType != "application/json" {
			t.Errorf("%d messages; the first is %+v", len(all), m)
		}
		for name, want := range map[string]any{
			"iothub-connection-device-id": "dev-1", "iothub-connection-auth-generation-id": d.GenerationID, "iothub-message-source": "Telemetry",
			"iothub-connection-auth-method": `{"scope":"device","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}`,
			"x-opt-sequence-number":         int64(0), "x-opt-offset": "0", "x-opt-partition-key": "dev-1",
		} {
			if m.Annotations[name] != want {
				t.Errorf("%s = %v; want %v", name, m.Annotations[name], want)
			}
		}
		if at, ok := m.Annotations["iothub-enqueuedtime"].(time.Time); !ok || at.Before(begun) || at.After(time.Now()) {
			t.Errorf("enqueued at %v", m.Annotations["iothub-enqueuedtime"])
		}
		if s := h.Stats().Events; !s.On || s.Messages != 1 || s.Readers != 0 {
			t.Errorf("%+v", s)
		}
	}
}

// An application may name its properties as it likes: over AMQP and HTTPS those of the system have places of their own.
func TestNamesOfAnApplicationsProperties(t *testing.T) {
	h, service := open(t, hub.Options{TelemetryAlways: true})
	key := newDevice(t, service, "dev-1").Authentication.SymmetricKey.Primary
	made := time.UnixMilli(1600000000000).UTC()
	m := amqp.NewMessage([]byte("AMQP"))
	m.Properties = &amqp.MessageProperties{MessageID: "the system's", CreationTime: &made}
	m.ApplicationProperties = map[string]any{"$.mid": "its own", "$.on": "x", "iothub-creation-time-utc": made.Format(time.RFC3339)}
	if err := newAMQPDevice(t, h, "dev-1", key).sender("/messages/events", nil).Send(t.Context(), m, nil); err != nil {
		t.Fatal(err)
	}
	headers := append(asDevice("dev-1", key), "iothub-messageid", "the system's", "iothub-app-$.mid", "its own", "iothub-app-$.on", "x",
		"iothub-creation-time-utc", made.Format(time.RFC3339))
	if a := call(t, h, "POST", eventsPath, "HTTPS", headers...); a.status != 204 {
		t.Fatal(a.status, a.body)
	}
	all := readAll(t, h)
	if len(all) != 2 {
		t.Fatalf("%d messages", len(all))
	}
	for i, got := range all {
		if got.Properties.MessageID != "the system's" || len(got.ApplicationProperties) != 3 || got.ApplicationProperties["$.mid"] != "its own" ||
			got.ApplicationProperties["$.on"] != "x" || got.ApplicationProperties["iothub-creation-time-utc"] != made.Format(time.RFC3339) {
			t.Errorf("%s: id %v, %v", got.GetData(), got.Properties.MessageID, got.ApplicationProperties)
		}
		if at := got.Properties.CreationTime; i == 0 && (at == nil || !at.Equal(made)) {
			t.Errorf("made at %v", at)
		}
	}
}

// What the options say of telemetry holds.
func TestTelemetryOptions(t *testing.T) {
	free, _ := open(t, hub.Options{Tier: "F1", Units: 1, TelemetryAlways: true, ConsumerGroups: []string{"mine"}})
	if n := free.Events().Partitions(); n != 2 || !free.Events().On() {
		t.Errorf("%d partitions, on %t", n, free.Events().On())
	}
	if !free.Consumers().Exists("MINE") || free.Consumers().Exists("other") {
		t.Error("the groups are not those of the options")
	}
	off, _ := open(t, hub.Options{TelemetryLog: -1, TelemetryAlways: true})
	if off.Events().On() {
		t.Error("the log is on")
	}
	for _, o := range []hub.Options{{TelemetryLog: 1}, {ConsumerGroups: []string{"a b"}}} {
		if h, err := hub.Open(t.Context(), o); err == nil {
			h.Close()
			t.Errorf("%+v is taken", o)
		}
	}
}

// A hub over data from before goes on where it was: on, with its messages and its numbers.
func TestTelemetryOverARestart(t *testing.T) {
	dir := t.TempDir()
	sequences := func(h *hub.Hub) (all []int64) {
		for _, m := range readAll(t, h) {
			all = append(all, m.Annotations["x-opt-sequence-number"].(int64))
		}
		return all
	}
	for round := range int64(3) {
		h, service := open(t, hub.Options{DataDir: dir, TelemetryAlways: round == 0})
		if !h.Events().On() {
			t.Fatal("the log is off")
		}
		d, err := service.Device(t.Context(), "dev-1")
		if err != nil {
			d = newDevice(t, service, "dev-1")
		}
		c, _, err := connect(t, h, "dev-1", d.Authentication.SymmetricKey.Primary)
		if err != nil {
			t.Fatal(err)
		}
		if token := c.Publish(topics.Telemetry("dev-1", nil), 1, false, strings.Repeat("x", int(round))); !token.WaitTimeout(10*time.Second) || token.Error() != nil {
			t.Fatal(token.Error())
		}
		want := []int64{0, 1, 2}[:round+1]
		eventually(t, "the messages are there", func() bool { return slices.Equal(sequences(h), want) })
		c.Disconnect(50)
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
