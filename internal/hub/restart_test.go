package hub_test

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/wiretest"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/mqtt"
	"github.com/twinfleet/twinfleet/internal/mqtt/framing"
)

// A device of the service's SDKs does not subscribe again when it connects again, be it to a hub that was started anew: its twin
// and its desired properties, methods and messages reach it all the same.
func TestSessionOutlivesTheHub(t *testing.T) {
	dir := t.TempDir()
	var device registry.Identity
	t.Run("before", func(t *testing.T) {
		h, service := open(t, hub.Options{DataDir: dir})
		device = newDevice(t, service, "dev-1")
		w := online(t, h, "dev-1", device.Authentication.SymmetricKey.Primary)
		w.Subscribe(1, topics.FilterTwinResponses, topics.FilterDesired, topics.FilterMethods, topics.FilterC2D("dev-1"))
	})
	t.Run("after", func(t *testing.T) {
		h, service := open(t, hub.Options{DataDir: dir})
		if err := service.SendC2D(t.Context(), "dev-1", []byte("queued")); err != nil {
			t.Fatal(err)
		}
		w := dial(t, h)
		if present, code := w.Connect(wiretest.Login("dev-1", device.Authentication.SymmetricKey.Primary)); !present || code != mqtt.Accepted {
			t.Errorf("session present %t, CONNACK %d", present, code)
		}
		f := w.Expect(mqtt.PUBLISH)
		if f.Payload != "queued" {
			t.Errorf("%s %q", f.Topic, f.Payload)
		}
		w.Send(mqtt.AppendAck(nil, mqtt.PUBACK, f.ID))
		w.Twin()
		if _, err := service.PatchTwin(t.Context(), "dev-1", []byte(`{"properties":{"desired":{"a":1}}}`), ""); err != nil {
			t.Fatal(err)
		}
		if f := w.Expect(mqtt.PUBLISH); f.Topic != topics.Desired(2) {
			t.Errorf("%s %q", f.Topic, f.Payload)
		}
	})
}

// What a device names as its model is found by queries, also when the hub was started anew.
func TestModelIDOutlivesTheHub(t *testing.T) {
	dir := t.TempDir()
	const model = "dtmi:com:example:Thermostat;1"
	check := func(t *testing.T, h *hub.Hub) {
		t.Helper()
		eventually(t, "a query finds the model", func() bool {
			a := must(t, h, "POST", "/devices/query?api-version=2021-04-12", `{"query":"SELECT deviceId FROM devices WHERE modelId = '`+model+`'"}`)
			return a.body == `[{"deviceId":"dev-1"}]`
		})
		if a := must(t, h, "GET", "/twins/dev-1?api-version=2021-04-12", ""); a.member("modelId") != model {
			t.Errorf("the twin has the model %v", a.member("modelId"))
		}
	}
	t.Run("before", func(t *testing.T) {
		h, service := open(t, hub.Options{DataDir: dir})
		login := wiretest.Login("dev-1", newDevice(t, service, "dev-1").Authentication.SymmetricKey.Primary)
		login.Username = []byte("localhost/dev-1/?api-version=2021-04-12&model-id=dtmi%3Acom%3Aexample%3AThermostat%3B1")
		w := dial(t, h)
		if _, code := w.Connect(login); code != mqtt.Accepted {
			t.Fatalf("CONNACK %d", code)
		}
		check(t, h)
	})
	t.Run("after", func(t *testing.T) {
		h, _ := open(t, hub.Options{DataDir: dir})
		check(t, h)
	})
}

// Any integer is what a method answers, and its caller gets it.
func TestMethodStatus(t *testing.T) {
	h, service := open(t, hub.Options{})
	w := online(t, h, "dev-1", newDevice(t, service, "dev-1").Authentication.SymmetricKey.Primary)
	w.Subscribe(0, topics.FilterMethods)
	for _, status := range []int{-1, 0, 200, 99999, -2147483648} {
		answered := make(chan answer, 1)
		go func() {
			answered <- call(t, h, "POST", "/twins/dev-1/methods?api-version=2021-04-12", `{"methodName":"m","responseTimeoutInSeconds":30}`)
		}()
		topic, err := topics.Parse(w.Expect(mqtt.PUBLISH).Topic)
		if err != nil {
			t.Fatal(err)
		}
		w.Publish(0, topics.MethodResponse(status, topic.RequestID), "{}")
		if a := <-answered; a.status != 200 || a.member("status") != float64(status) {
			t.Errorf("%d: %d %s", status, a.status, a.body)
		}
	}
	w.Silent()
}

// A report for a version that no twin has is refused, and ends no connection: a device would send it again and again.
func TestReportForNoVersion(t *testing.T) {
	h, service := open(t, hub.Options{})
	w := online(t, h, "dev-1", newDevice(t, service, "dev-1").Authentication.SymmetricKey.Primary)
	w.Subscribe(0, topics.FilterTwinResponses)
	for _, version := range []string{"-1", "x", "", "99999999999999999999"} {
		w.Publish(0, topics.Report("r")+"&$version="+version, `{"a":1}`)
		if f := w.Expect(mqtt.PUBLISH); f.Topic != "$iothub/twin/res/412/?$rid=r" {
			t.Errorf("$version=%s: %s %s", version, f.Topic, f.Payload)
		}
	}
	if a := must(t, h, "GET", "/twins/dev-1?api-version=2021-04-12", ""); a.member("properties", "reported", "$version") != 1.0 {
		t.Errorf("reported all the same: %s", a.body)
	}
}

// Only a client that means MQTT or AMQP gets a WebSocket.
func TestSubprotocols(t *testing.T) {
	h, _ := open(t, hub.Options{})
	for _, tt := range []struct {
		named  []string
		status int
		agreed string
	}{
		{[]string{"mqtt"}, 101, "mqtt"},
		{[]string{"AMQPWSB10"}, 101, "AMQPWSB10"},
		{nil, 101, ""},
		{[]string{"amqp"}, 400, ""},
		{[]string{"mqttv3.1", "MQTT"}, 400, ""},
	} {
		d := websocket.Dialer{Subprotocols: tt.named}
		ws, resp, err := d.Dial("ws://"+h.Addr()+"/$iothub/websocket?iothub-no-client-cert=true", nil)
		if resp == nil || resp.StatusCode != tt.status {
			t.Errorf("%v: %v, %v; want %d", tt.named, resp, err, tt.status)
		}
		if err != nil {
			continue
		}
		if ws.Subprotocol() != tt.agreed {
			t.Errorf("%v: %q; want %q", tt.named, ws.Subprotocol(), tt.agreed)
		}
		ws.Close()
	}
}

// mailbox is what the hub has acknowledged of the messages of one device.
type mailbox struct {
	key     string
	session bool         // a SUBACK came
	sent    map[int]bool // REST has answered
	seen    map[int]bool // the device has it, and acknowledged it
	handled map[int]bool // and the hub has handled that
	over    map[int]bool // and has kept something since
	next    int
}

// run sends messages and acknowledges them until the hub is killed; an error says what it did wrong.
func (b *mailbox) run(v *victim, id string, enough *atomic.Int64) error {
	c := &http.Client{Transport: &http.Transport{}}
	defer c.CloseIdleConnections()
	if b.key == "" {
		var ok bool
		if b.key, ok = v.register(c, id); !ok {
			return nil
		}
	}
	nc, err := net.Dial("tcp", v.Address)
	if err != nil {
		return nil
	}
	defer nc.Close()
	r, err := b.connect(nc, id)
	if err != nil || r == nil {
		return err
	}
	if !b.session {
		if _, err := nc.Write(mqtt.AppendSubscribe(nil, 1, mqtt.Subscription{Filter: []byte(topics.FilterC2D(id)), QoS: 1})); err != nil {
			return nil
		}
		if p, err := r.Next(); err != nil || p.Type != mqtt.SUBACK {
			return nil
		}
		b.session = true
	}
	acknowledged := make(map[int]bool) // on this connection
	clear(b.handled)                   // what the hub that was killed had not kept yet comes again
	for {
		n := b.next
		b.next++
		handled := maps.Clone(b.handled)
		status, body, err := v.rest(c, "POST", "/devices/"+id+"/messages/deviceBound", strconv.Itoa(n))
		if err != nil {
			return nil
		}
		if status != 204 {
			return fmt.Errorf("%s: message %d: %d %s", id, n, status, body)
		}
		b.sent[n] = true
		maps.Copy(b.over, handled)
		enough.Add(-1)
		for !b.seen[n] {
			err := b.take(nc, r, acknowledged)
			if err != nil {
				return err
			}
			if b.next < 0 { // the connection ended
				b.next = n + 1
				return nil
			}
		}
		// The answer to a ping says that the hub has handled the PUBACK.
		if _, err := nc.Write(mqtt.AppendEmpty(nil, mqtt.PINGREQ)); err != nil {
			return nil
		}
		if p, err := r.Next(); err != nil || p.Type != mqtt.PINGRESP {
			return nil
		}
		for n := range acknowledged {
			b.handled[n] = true
		}
	}
}

// connect connects the device; no reader when the connection ended.
func (b *mailbox) connect(nc net.Conn, id string) (*framing.Reader, error) {
	key, err := sas.ParseKey(b.key)
	if err != nil {
		return nil, err
	}
	l := wiretest.Login(id, key)
	l.HasUsername, l.HasPassword = true, true
	if _, err := nc.Write(mqtt.AppendConnect(nil, &l)); err != nil {
		return nil, nil
	}
	r := framing.NewReader(nc)
	p, err := r.Next()
	if err != nil {
		return nil, nil
	}
	present, code, err := mqtt.DecodeConnack(p.Body)
	if err != nil || code != mqtt.Accepted || b.session && !present {
		return nil, fmt.Errorf("%s: CONNACK %d, %v, session present %t; it was acknowledged: %t", id, code, err, present, b.session)
	}
	return r, nil
}

// take takes one message and acknowledges it.
func (b *mailbox) take(nc net.Conn, r *framing.Reader, acknowledged map[int]bool) error {
	p, err := r.Next()
	if err != nil {
		b.next = -1
		return nil
	}
	var m mqtt.Publish
	if p.Type != mqtt.PUBLISH || mqtt.DecodePublish(p, &m) != nil {
		return fmt.Errorf("packet type %d came", p.Type)
	}
	n, err := strconv.Atoi(string(m.Payload))
	if err != nil {
		return err
	}
	if b.over[n] {
		return fmt.Errorf("message %d came again", n)
	}
	if _, err := nc.Write(mqtt.AppendAck(nil, mqtt.PUBACK, m.PacketID)); err == nil {
		b.seen[n], acknowledged[n] = true, true
	}
	return nil
}

// A hub with --data is killed while messages are sent to devices and acknowledged by them, repeatedly: sessions that were acknowledged are
// there, all messages whose senders were answered arrive, and none comes again once something later is on disk.
func TestKillMessages(t *testing.T) {
	dir := t.TempDir()
	var boxes [killWriters]mailbox
	for i := range boxes {
		boxes[i] = mailbox{sent: map[int]bool{}, seen: map[int]bool{}, handled: map[int]bool{}, over: map[int]bool{}}
	}
	killRounds(t, dir, func(round int) int { return 20 + round*7%40 }, func(v *victim, i int, enough *atomic.Int64) error {
		return boxes[i].run(v, fmt.Sprint("dev-", i), enough)
	})
	h, err := hub.Open(t.Context(), hub.Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	total := 0
	for i := range boxes {
		total += len(boxes[i].sent)
		boxes[i].empty(t, h, fmt.Sprint("dev-", i))
	}
	if total < 20**kills {
		t.Errorf("%d messages in %d rounds: the load does not bite", total, *kills)
	}
}

// empty takes what is left, and checks that nothing is missing.
func (b *mailbox) empty(t *testing.T, h *hub.Hub, id string) {
	t.Helper()
	nc, err := net.Dial("tcp", h.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	r, err := b.connect(nc, id)
	if err != nil || r == nil {
		t.Fatal(err)
	}
	_ = nc.SetReadDeadline(time.Now().Add(wiretest.Patience))
	for missing(b) >= 0 {
		if err := b.take(nc, r, map[int]bool{}); err != nil || b.next < 0 {
			t.Fatalf("%s: message %d is lost: %v", id, missing(b), err)
		}
	}
}

// missing is a message that the hub took and the device has not; -1 for none.
func missing(b *mailbox) int {
	for n := range b.sent {
		if !b.seen[n] {
			return n
		}
	}
	return -1
}
