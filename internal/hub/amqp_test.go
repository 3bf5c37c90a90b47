package hub_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	amqp "github.com/Azure/go-amqp"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/iothub/methods"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/service"
)

// everyHub runs a test with hubs on which operations wait for nothing, for a disk, and for a tier's limits.
func everyHub(t *testing.T, run func(*testing.T, *hub.Hub, *service.Client)) {
	for name, o := range map[string]hub.Options{"memory": {}, "disk": {DataDir: t.TempDir()}, "tier": {Tier: "S3", Units: 1}} {
		t.Run(name, func(t *testing.T) {
			h, c := open(t, o)
			h.Arm()
			run(t, h, c)
		})
	}
}

// amqpConn is a connection of Microsoft's AMQP client to a hub, in memory.
func amqpConn(t *testing.T, h *hub.Hub, o *amqp.ConnOptions) *amqp.Conn {
	t.Helper()
	nc, err := h.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if o == nil {
		o = &amqp.ConnOptions{}
	}
	c, err := amqp.NewConn(t.Context(), nc, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func amqpSession(t *testing.T, c *amqp.Conn) *amqp.Session {
	t.Helper()
	s, err := c.NewSession(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// putToken shows a token to $cbs, in a session of its own, and returns the answer.
func putToken(t *testing.T, c *amqp.Conn, audience, token string) (status int32, text string) {
	t.Helper()
	s := amqpSession(t, c)
	defer s.Close(t.Context())
	snd, err := s.NewSender(t.Context(), "$cbs", nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.NewReceiver(t.Context(), "$cbs", nil)
	if err != nil {
		t.Fatal(err)
	}
	err = snd.Send(t.Context(), &amqp.Message{
		Properties:            &amqp.MessageProperties{MessageID: uint64(7), ReplyTo: ptr("cbs")},
		ApplicationProperties: map[string]any{"operation": "put-token", "type": "servicebus.windows.net:sastoken", "name": audience},
		Value:                 token,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := r.Receive(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if m.Properties.CorrelationID != uint64(7) || m.Properties.To == nil || *m.Properties.To != "cbs" {
		t.Errorf("the answer is for %v, to %v", m.Properties.CorrelationID, m.Properties.To)
	}
	return m.ApplicationProperties["status-code"].(int32), m.ApplicationProperties["status-description"].(string)
}

func ptr[T any](v T) *T { return &v }

func deviceToken(id string, key sas.Key, life time.Duration) string {
	return sas.Sign("localhost/devices/"+id, key, "", time.Now().Add(life))
}

// amqpDevice is a device over AMQP: a connection of its own, and a session.
type amqpDevice struct {
	t  *testing.T
	id string
	s  *amqp.Session
}

func newAMQPDevice(t *testing.T, h *hub.Hub, id string, key sas.Key) *amqpDevice {
	t.Helper()
	c := amqpConn(t, h, nil)
	if status, text := putToken(t, c, "localhost/devices/"+id, deviceToken(id, key, time.Hour)); status != 200 {
		t.Fatalf("put-token: %d %s", status, text)
	}
	return &amqpDevice{t, id, amqpSession(t, c)}
}

func (d *amqpDevice) sender(path string, properties map[string]any) *amqp.Sender {
	d.t.Helper()
	s, err := d.s.NewSender(d.t.Context(), "/devices/"+d.id+path, &amqp.SenderOptions{Properties: properties})
	if err != nil {
		d.t.Fatal(err)
	}
	return s
}

func (d *amqpDevice) receiver(path string, o *amqp.ReceiverOptions) *amqp.Receiver {
	d.t.Helper()
	r, err := d.s.NewReceiver(d.t.Context(), "/devices/"+d.id+path, o)
	if err != nil {
		d.t.Fatal(err)
	}
	return r
}

func receive(t *testing.T, r *amqp.Receiver) *amqp.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	m, err := r.Receive(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// refusal is the condition and the text of an error of the other side.
func refusal(err error) (string, string) {
	var e *amqp.Error
	if errors.As(err, &e) {
		return string(e.Condition), e.Description
	}
	var l *amqp.LinkError
	if errors.As(err, &l) && l.RemoteErr != nil {
		return string(l.RemoteErr.Condition), l.RemoteErr.Description
	}
	return "", fmt.Sprint(err)
}

func TestAMQPTelemetry(t *testing.T) { everyHub(t, testAMQPTelemetry) }

func testAMQPTelemetry(t *testing.T, h *hub.Hub, c *service.Client) {
	key := newDevice(t, c, "dev#1+%").Authentication.SymmetricKey.Primary
	d := newAMQPDevice(t, h, "dev#1+%", key)
	d.id = "dev%231+%25"
	s := d.sender("/messages/events", nil)
	for _, m := range []*amqp.Message{
		amqp.NewMessage([]byte(`{"t":1}`)),
		{Data: [][]byte{[]byte("a"), []byte("b")}},
		{Value: "text"},
		{Properties: &amqp.MessageProperties{MessageID: amqp.UUID{1}, ContentType: ptr("application/json")}, ApplicationProperties: map[string]any{"a": int64(1)}, Data: [][]byte{nil}},
	} {
		if err := s.Send(t.Context(), m, nil); err != nil {
			t.Fatal(err)
		}
	}
	inner, err := amqp.NewMessage([]byte("in a batch")).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(t.Context(), &amqp.Message{Format: 0x80013700, Data: [][]byte{inner, inner, inner}}, nil); err != nil {
		t.Fatal(err)
	}
	if n := h.Stats().Telemetry; n != 7 {
		t.Errorf("%d messages; want 7", n)
	}
	for condition, m := range map[string]*amqp.Message{
		"amqp:link:message-size-exceeded": amqp.NewMessage(make([]byte, 262145)),
		"com.microsoft:argument-error":    {Value: map[string]any{"a": "b"}},
		"amqp:decode-error":               {Format: 0x80013700, Data: [][]byte{[]byte("no message")}},
	} {
		if got, text := refusal(s.Send(t.Context(), m, nil)); got != condition {
			t.Errorf("%s: %s %s", condition, got, text)
		}
	}
	if err := s.Send(t.Context(), amqp.NewMessage(nil), nil); err != nil { // and the link lives
		t.Error(err)
	}
	eventually(t, "connected", func() bool { return h.Stats().Connected == 1 })
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	eventually(t, "disconnected", func() bool { return h.Stats().Connected == 0 })
}

func TestAMQPTokens(t *testing.T) {
	h, c := open(t, hub.Options{})
	key := newDevice(t, c, "dev-1").Authentication.SymmetricKey.Primary
	other := newDevice(t, c, "dev-2").Authentication.SymmetricKey.Primary
	conn := amqpConn(t, h, &amqp.ConnOptions{SASLType: amqp.SASLTypeAnonymous()})
	for _, tt := range []struct {
		token  string
		status int32
	}{
		{deviceToken("dev-1", key, time.Hour), 200},
		{deviceToken("dev-1", other, time.Hour), 401},
		{deviceToken("dev-1", key, -time.Hour), 401},
		{deviceToken("nobody", key, time.Hour), 404},
		{"SharedAccessSignature x", 400},
		{sas.Sign("localhost", h.ConnectionString("device").Key, "device", time.Now().Add(time.Hour)), 200},
		{sas.Sign("localhost", h.ConnectionString("device").Key, "service", time.Now().Add(time.Hour)), 401},
		{sas.Sign("localhost", h.ConnectionString("device").Key, "nobody", time.Now().Add(time.Hour)), 401},
	} {
		if status, text := putToken(t, conn, "localhost/devices/dev-1", tt.token); status != tt.status {
			t.Errorf("%d %s; want %d", status, text, tt.status)
		}
	}
	// The policy's token opens links of any device; without it there are those of the device alone.
	s := amqpSession(t, conn)
	if _, err := s.NewSender(t.Context(), "/devices/dev-2/messages/events", nil); err != nil {
		t.Error(err)
	}
	if _, err := s.NewSender(t.Context(), "/devices/nobody/messages/events", nil); err == nil {
		t.Error("a link of an unknown device")
	} else if condition, text := refusal(err); condition != "amqp:not-found" {
		t.Errorf("an unknown device: %s %s", condition, text)
	}
	for _, address := range []string{"/devices/dev-2/messages/events", "/devices/dev-1/modules/m/twin"} {
		_, err := newAMQPDevice(t, h, "dev-1", key).s.NewSender(t.Context(), address, nil)
		if condition, text := refusal(err); condition != "amqp:unauthorized-access" {
			t.Errorf("%s: %s %s", address, condition, text)
		}
	}
	_, err := s.NewSender(t.Context(), "/somewhere", nil)
	if condition, text := refusal(err); condition != "com.microsoft:argument-error" {
		t.Errorf("another address: %s %s", condition, text)
	}
	// SASL PLAIN, of a device and of a policy.
	for user, token := range map[string]string{
		"dev-1@sas.localhost":       deviceToken("dev-1", key, time.Hour),
		"device@sas.root.localhost": sas.Sign("localhost", h.ConnectionString("device").Key, "device", time.Now().Add(time.Hour)),
	} {
		plain := amqpSession(t, amqpConn(t, h, &amqp.ConnOptions{SASLType: amqp.SASLTypePlain(user, token)}))
		if _, err := plain.NewSender(t.Context(), "/devices/dev-1/messages/events", nil); err != nil {
			t.Errorf("%s: %v", user, err)
		}
	}
	nc, _ := h.Dial(t.Context())
	if _, err := amqp.NewConn(t.Context(), nc, &amqp.ConnOptions{SASLType: amqp.SASLTypePlain("dev-2@sas.localhost", deviceToken("dev-1", key, time.Hour))}); err == nil {
		t.Error("a device with another's token")
	}
}

// twinRequest asks on a pair of links, and returns the answer.
func twinRequest(t *testing.T, s *amqp.Sender, r *amqp.Receiver, operation, resource, body string) (status int32, version any, answer string) {
	t.Helper()
	annotations := amqp.Annotations{"operation": operation}
	if resource != "" {
		annotations["resource"] = resource
	}
	id := amqp.UUID{1, 2, 3}
	if err := s.Send(t.Context(), &amqp.Message{
		Annotations: annotations, Properties: &amqp.MessageProperties{CorrelationID: id}, Data: [][]byte{[]byte(body)},
	}, nil); err != nil {
		t.Fatal(err)
	}
	m := receive(t, r)
	if m.Properties == nil || m.Properties.CorrelationID != id {
		t.Fatalf("the answer's correlation id is %v", m.Properties)
	}
	return m.Annotations["status"].(int32), m.Annotations["version"], string(m.GetData())
}

func TestAMQPTwin(t *testing.T) { everyHub(t, testAMQPTwin) }

func testAMQPTwin(t *testing.T, h *hub.Hub, c *service.Client) {
	key := newDevice(t, c, "dev-1").Authentication.SymmetricKey.Primary
	d := newAMQPDevice(t, h, "dev-1", key)
	pair := map[string]any{"com.microsoft:channel-correlation-id": "twin:1", "com.microsoft:api-version": "2021-04-12"}
	s := d.sender("/twin", pair)
	r := d.receiver("/twin", &amqp.ReceiverOptions{Properties: pair, Credit: 10})
	if status, _, body := twinRequest(t, s, r, "GET", "", " "); status != 200 || !json.Valid([]byte(body)) || !strings.Contains(body, `"desired"`) {
		t.Errorf("GET: %d %s", status, body)
	}
	if status, version, body := twinRequest(t, s, r, "PATCH", "/properties/reported", `{"a":[1]}`); status != 200 || version != int64(2) || body != "" {
		t.Errorf("PATCH: %d %v %s", status, version, body)
	}
	for _, bad := range [][3]string{{"PATCH", "/properties/reported", "{"}, {"POST", "", ""}, {"PATCH", "/tags", "{}"}} {
		status, _, body := twinRequest(t, s, r, bad[0], bad[1], bad[2])
		var e struct{ Message string }
		if err := json.Unmarshal([]byte(body), &e); status != 400 || err != nil || e.Message == "" {
			t.Errorf("%v: %d %s", bad, status, body)
		}
	}
	patch := func(value int) {
		must(t, h, http.MethodPatch, "/twins/dev-1?api-version=2021-04-12", fmt.Sprintf(`{"properties":{"desired":{"x":%d}}}`, value))
	}
	patch(1) // nobody has asked for
	if status, _, _ := twinRequest(t, s, r, "PUT", "/notifications/twin/properties/desired", ""); status != 200 {
		t.Errorf("PUT: %d", status)
	}
	patch(2)
	m := receive(t, r)
	if m.Annotations["resource"] != "/properties/desired" || m.Annotations["version"] != int64(3) || string(m.GetData()) != `{"x":2,"$version":3}` ||
		m.Properties != nil && m.Properties.CorrelationID != nil {
		t.Errorf("notified: %v %v %s", m.Annotations, m.Properties, m.GetData())
	}
	if status, _, _ := twinRequest(t, s, r, "DELETE", "/notifications/twin/properties/desired", ""); status != 200 {
		t.Errorf("DELETE: %d", status)
	}
	patch(3)
	if status, _, body := twinRequest(t, s, r, "GET", "", ""); status != 200 || !strings.Contains(body, `"x":3`) {
		t.Errorf("GET: %d %s", status, body)
	}
	// A second pair is another's; a second link of one is a conflict.
	if _, err := d.s.NewReceiver(t.Context(), "/devices/dev-1/twin", &amqp.ReceiverOptions{Properties: pair}); err == nil {
		t.Error("two links of one pair")
	} else if condition, _ := refusal(err); condition != "com.microsoft:link-creation-conflict" {
		t.Error(err)
	}
}

func TestAMQPMethods(t *testing.T) { everyHub(t, testAMQPMethods) }

func testAMQPMethods(t *testing.T, h *hub.Hub, c *service.Client) {
	key := newDevice(t, c, "dev-1").Authentication.SymmetricKey.Primary
	d := newAMQPDevice(t, h, "dev-1", key)
	call := func() (methods.Response, error) {
		return c.InvokeMethod(t.Context(), "dev-1", methods.Request{Name: "reboot", Payload: json.RawMessage(`{"in":5}`), ResponseTimeout: methods.Seconds(5 * time.Second)})
	}
	if _, err := call(); err == nil {
		t.Error("a method of a device without links")
	}
	pair := map[string]any{"com.microsoft:channel-correlation-id": "methods:1"}
	s := d.sender("/methods/devicebound", pair)
	r := d.receiver("/methods/devicebound", &amqp.ReceiverOptions{Properties: pair, Credit: 10})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 2 {
			m := receive(t, r)
			if m.ApplicationProperties["IoThub-methodname"] != "reboot" || string(m.GetData()) != `{"in":5}` {
				t.Errorf("called: %v %s", m.ApplicationProperties, m.GetData())
			}
			id := m.Properties.CorrelationID
			if i == 1 {
				id = id.(amqp.UUID).String()
			}
			if err := s.Send(context.Background(), &amqp.Message{
				Properties:            &amqp.MessageProperties{CorrelationID: id},
				ApplicationProperties: map[string]any{"IoThub-status": int32(201)}, Data: [][]byte{[]byte(`"ok"`)},
			}, nil); err != nil {
				t.Error(err)
			}
		}
	}()
	eventually(t, "credit", func() bool { return h.Stats().Connected == 1 })
	for range 2 {
		var got methods.Response
		eventually(t, "an answer", func() (ok bool) {
			var err error
			got, err = call()
			return err == nil
		})
		if got.Status != 201 || string(got.Payload) != `"ok"` {
			t.Errorf("answered: %+v", got)
		}
	}
	<-done
}

func TestAMQPMessages(t *testing.T) { everyHub(t, testAMQPMessages) }

func testAMQPMessages(t *testing.T, h *hub.Hub, c *service.Client) {
	key := newDevice(t, c, "dev-1").Authentication.SymmetricKey.Primary
	send := func(text string) {
		must(t, h, http.MethodPost, "/devices/dev-1/messages/deviceBound?api-version=2021-04-12", text, "iothub-messageid", "m-"+text, "iothub-app-color", "red")
	}
	for _, text := range []string{"1", "2", "3", "4"} {
		send(text)
	}
	d := newAMQPDevice(t, h, "dev-1", key)
	r := d.receiver("/messages/devicebound", &amqp.ReceiverOptions{Credit: -1, SettlementMode: amqp.ReceiverSettleModeSecond.Ptr()})
	one := func() *amqp.Message {
		t.Helper()
		if err := r.IssueCredit(1); err != nil {
			t.Fatal(err)
		}
		return receive(t, r)
	}
	m := one()
	if string(m.GetData()) != "1" || m.Properties.MessageID != "m-1" || *m.Properties.To != "/devices/dev-1/messages/devicebound" || len(m.DeliveryTag) != 16 {
		t.Errorf("message: %s %+v %x", m.GetData(), m.Properties, m.DeliveryTag)
	}
	if m.Annotations["iothub-deliverycount"] != uint8(0) || m.ApplicationProperties["color"] != "red" {
		t.Errorf("annotations %v, properties %v", m.Annotations, m.ApplicationProperties)
	}
	if _, ok := m.Annotations["x-opt-sequence-number"].(uint64); !ok {
		t.Errorf("annotations %v", m.Annotations)
	}
	if err := r.ReleaseMessage(t.Context(), m); err != nil {
		t.Error(err)
	}
	if m = one(); string(m.GetData()) != "1" || m.Annotations["iothub-deliverycount"] != uint8(1) {
		t.Errorf("after it was released: %s %v", m.GetData(), m.Annotations)
	}
	if err := r.AcceptMessage(t.Context(), m); err != nil {
		t.Error(err)
	}
	if m = one(); string(m.GetData()) != "2" {
		t.Errorf("the second is %s", m.GetData())
	}
	_ = r.RejectMessage(t.Context(), m, nil) // which is told what it said
	one()
	if err := r.Close(t.Context()); err != nil { // with the third under way
		t.Error(err)
	}
	r = d.receiver("/messages/devicebound", &amqp.ReceiverOptions{Credit: 10})
	for _, want := range []string{"3", "4"} {
		m := receive(t, r)
		if string(m.GetData()) != want {
			t.Errorf("%s comes; want %s", m.GetData(), want)
		}
		if err := r.AcceptMessage(t.Context(), m); err != nil {
			t.Error(err)
		}
	}
	send("5")
	if m := receive(t, r); string(m.GetData()) != "5" {
		t.Errorf("%s comes; want 5", m.GetData())
	}
}

// A newer connection takes a device over, whatever either speaks, and the other devices of the older connection stay.
func TestAMQPTakeOver(t *testing.T) { everyHub(t, testAMQPTakeOver) }

func testAMQPTakeOver(t *testing.T, h *hub.Hub, c *service.Client) {
	conn := amqpConn(t, h, nil)
	s, keys, senders := threeSenders(t, conn, c)
	mqtt, _, err := connect(t, h, "dev-0", keys[0])
	if err != nil {
		t.Fatal(err)
	}
	newAMQPDevice(t, h, "dev-1", keys[1]).receiver("/messages/devicebound", nil)
	for i, snd := range senders[:2] {
		var condition, text string
		eventually(t, "taken over", func() bool {
			condition, text = refusal(snd.Send(t.Context(), amqp.NewMessage(nil), nil))
			return condition != ""
		})
		if condition != "amqp:internal-error" || text != "Another AMQP Client has opened a Receive Link" {
			t.Errorf("dev-%d: %s %s", i, condition, text)
		}
	}
	if err := senders[2].Send(t.Context(), amqp.NewMessage(nil), nil); err != nil {
		t.Errorf("dev-2: %v", err)
	}
	// And back.
	if _, err := s.NewSender(t.Context(), "/devices/dev-0/messages/events", nil); err != nil {
		t.Error(err)
	}
	eventually(t, "the MQTT connection ends", func() bool { return !mqtt.IsConnectionOpen() })
	// Whoever is disabled or deleted goes, alone.
	if err := c.DeleteDevice(t.Context(), "dev-2"); err != nil {
		t.Fatal(err)
	}
	var condition string
	eventually(t, "gone", func() bool {
		condition, _ = refusal(senders[2].Send(t.Context(), amqp.NewMessage(nil), nil))
		return condition != ""
	})
	if condition != "amqp:unauthorized-access" {
		t.Errorf("a deleted device: %s", condition)
	}
	if n := h.Stats().AMQP; n != 2 {
		t.Errorf("%d connections; want 2", n)
	}
}

// An identity has at most sixteen links; those of others on the connection are its own.
func TestAMQPLinksOfOneIdentity(t *testing.T) {
	h, c := open(t, hub.Options{})
	key := newDevice(t, c, "dev-1").Authentication.SymmetricKey.Primary
	other := newDevice(t, c, "dev-2").Authentication.SymmetricKey.Primary
	conn := amqpConn(t, h, nil)
	putToken(t, conn, "localhost/devices/dev-1", deviceToken("dev-1", key, time.Hour))
	putToken(t, conn, "localhost/devices/dev-2", deviceToken("dev-2", other, time.Hour))
	s := amqpSession(t, conn)
	for i := range 17 {
		_, err := s.NewSender(t.Context(), "/devices/dev-1/messages/events", nil)
		if i < 16 && err != nil {
			t.Fatal(err)
		}
		if condition, text := refusal(err); i == 16 && condition != "amqp:resource-limit-exceeded" {
			t.Errorf("the 17th: %s %s", condition, text)
		}
	}
	if _, err := s.NewSender(t.Context(), "/devices/dev-2/messages/events", nil); err != nil {
		t.Error(err)
	}
	// The same names in two sessions are two links.
	for range 2 {
		if _, err := amqpSession(t, conn).NewSender(t.Context(), "/devices/dev-2/messages/events", &amqp.SenderOptions{Name: "TelemetrySenderLink"}); err != nil {
			t.Error(err)
		}
	}
}

// A graceful restart says so.
func TestAMQPRestart(t *testing.T) {
	h, c := open(t, hub.Options{})
	key := newDevice(t, c, "dev-1").Authentication.SymmetricKey.Primary
	conn := amqpConn(t, h, nil)
	if status, text := putToken(t, conn, "localhost/devices/dev-1", deviceToken("dev-1", key, time.Hour)); status != 200 {
		t.Fatalf("%d %s", status, text)
	}
	h.Restart(0)
	<-conn.Done()
	err := conn.Err()
	var gone *amqp.ConnError
	if !errors.As(err, &gone) || gone.RemoteErr == nil || gone.RemoteErr.Condition != "amqp:connection:forced" {
		t.Errorf("the connection ended with %v", err)
	}
}
