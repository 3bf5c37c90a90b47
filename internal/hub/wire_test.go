package hub_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// patience is how long a test waits for what must come. Nothing waits that long for what must not.
const patience = 10 * time.Second

// wire is a device that speaks MQTT packet by packet, so that a test decides all that it sends.
type wire struct {
	t      testing.TB
	nc     net.Conn
	frames chan frame // closed when the connection ends
	lastID uint16
}

// frame is a packet that the hub sent.
type frame struct {
	kind    mqtt.Type
	body    []byte
	topic   string
	payload string
	qos     byte
	id      uint16
}

func newWire(t testing.TB, nc net.Conn) *wire {
	w := &wire{t: t, nc: nc, frames: make(chan frame, 100)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(w.frames)
		r := mqtt.NewReader(nc)
		for {
			p, err := r.Next()
			if err != nil {
				return
			}
			f := frame{kind: p.Type, body: bytes.Clone(p.Body)}
			var m mqtt.Publish
			if p.Type == mqtt.PUBLISH && mqtt.DecodePublish(p, &m) == nil {
				f.topic, f.payload, f.qos, f.id = string(m.Topic), string(m.Payload), m.QoS, m.PacketID
			}
			w.frames <- f
		}
	}()
	t.Cleanup(func() { nc.Close(); <-done })
	return w
}

// dial opens a connection in clear.
func dial(t testing.TB, h *hub.Hub) *wire {
	t.Helper()
	nc, err := net.Dial("tcp", h.Addr())
	if err != nil {
		t.Fatal(err)
	}
	return newWire(t, nc)
}

// dialTLS opens a connection with TLS.
func dialTLS(t testing.TB, h *hub.Hub, config *tls.Config) (*wire, error) {
	t.Helper()
	config.RootCAs, config.ServerName = h.CAPool(), "localhost"
	nc, err := tls.Dial("tcp", h.Addr(), config)
	if err != nil {
		return nil, err
	}
	return newWire(t, nc), nil
}

func (w *wire) send(b []byte) {
	w.t.Helper()
	// A connection that the hub has closed shows in what is read, not here.
	_, _ = w.nc.Write(b)
}

// next is the next packet.
func (w *wire) next() frame {
	w.t.Helper()
	select {
	case f, ok := <-w.frames:
		if !ok {
			w.t.Fatal("the hub closed the connection")
		}
		return f
	case <-time.After(patience):
		w.t.Fatal("no packet came")
		return frame{}
	}
}

// expect is next for a packet of a type.
func (w *wire) expect(kind mqtt.Type) frame {
	w.t.Helper()
	f := w.next()
	if f.kind != kind {
		w.t.Fatalf("packet type %d (%s %s) came; want %d", f.kind, f.topic, f.payload, kind)
	}
	return f
}

// silent checks that nothing is on its way: of what the hub has sent, the answer to a ping is the last.
func (w *wire) silent() {
	w.t.Helper()
	w.send(mqtt.AppendEmpty(nil, mqtt.PINGREQ))
	w.expect(mqtt.PINGRESP)
}

// closed checks that the hub ends the connection, whatever it sends before.
func (w *wire) closed(why string) {
	w.t.Helper()
	after := time.After(patience)
	for {
		select {
		case _, ok := <-w.frames:
			if !ok {
				return
			}
		case <-after:
			w.t.Fatalf("%s: the connection lives on", why)
		}
	}
}

// connectAs sends a CONNECT and reads the answer.
func (w *wire) connectAs(c mqtt.Connect) (present bool, code byte) {
	w.t.Helper()
	c.HasUsername, c.HasPassword = true, c.Password != nil
	w.send(mqtt.AppendConnect(nil, &c))
	present, code, err := mqtt.DecodeConnack(w.expect(mqtt.CONNACK).body)
	if err != nil {
		w.t.Fatal(err)
	}
	return present, code
}

// login is the CONNECT of a device as Microsoft's SDK for Node sends it, but for the keep-alive.
func login(id string, key iothub.Key) mqtt.Connect {
	return mqtt.Connect{
		ClientID: []byte(id), KeepAlive: 60,
		Username: []byte("localhost/" + id + "/?api-version=2021-04-12&DeviceClientType=azure-iot-device%2F1.18.4"),
		Password: []byte(iothub.NewSAS("localhost/devices/"+id, key, "", time.Now().Add(time.Hour))),
	}
}

// online connects a device over a new connection, with a session that is kept.
func online(t testing.TB, h *hub.Hub, id string, key iothub.Key) *wire {
	t.Helper()
	w := dial(t, h)
	if _, code := w.connectAs(login(id, key)); code != mqtt.Accepted {
		t.Fatalf("CONNACK %d; want 0", code)
	}
	return w
}

func (w *wire) packetID() uint16 { w.lastID++; return w.lastID }

// subscribe asks for filters and answers the QoS that the hub grants.
func (w *wire) subscribe(qos byte, filters ...string) []byte {
	w.t.Helper()
	w.sendSubscribe(qos, filters...)
	_, codes, err := mqtt.DecodeSuback(w.expect(mqtt.SUBACK).body)
	if err != nil {
		w.t.Fatal(err)
	}
	return codes
}

func (w *wire) sendSubscribe(qos byte, filters ...string) {
	var all []mqtt.Subscription
	for _, f := range filters {
		all = append(all, mqtt.Subscription{Filter: []byte(f), QoS: qos})
	}
	w.send(mqtt.AppendSubscribe(nil, w.packetID(), all...))
}

// publish sends a message and answers its packet identifier, 0 for QoS 0.
func (w *wire) publish(qos byte, topic, payload string) uint16 {
	id := uint16(0)
	if qos > 0 {
		id = w.packetID()
	}
	w.send(mqtt.AppendPublish(nil, topic, []byte(payload), qos, false, false, id))
	return id
}

// twin asks for the device's twin.
func (w *wire) twin() string {
	w.t.Helper()
	w.publish(0, iothub.TwinGetTopic("get"), " ")
	f := w.expect(mqtt.PUBLISH)
	if f.topic != "$iothub/twin/res/200/?$rid=get" {
		w.t.Fatalf("twin: %s %s", f.topic, f.payload)
	}
	return f.payload
}

// answer is what REST answers.
type answer struct {
	status int
	header http.Header
	body   string
}

// member finds a member of the answer's JSON by its path, nil if there is none.
func (a answer) member(path ...string) any {
	var v any
	if json.Unmarshal([]byte(a.body), &v) != nil {
		return nil
	}
	for _, name := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

// call speaks REST as a client of the policy iothubowner does; headers are pairs of name and value.
func call(t testing.TB, h *hub.Hub, method, path, body string, headers ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+h.Addr()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	cs := h.ConnectionString("iothubowner")
	r.Header.Set("Authorization", iothub.NewSAS(cs.HostName, cs.Key, cs.Policy, time.Now().Add(time.Hour)))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

// must is call for what has to succeed.
func must(t testing.TB, h *hub.Hub, method, path, body string, headers ...string) answer {
	t.Helper()
	a := call(t, h, method, path, body, headers...)
	if a.status >= 300 {
		t.Fatalf("%s %s: %d %s", method, path, a.status, a.body)
	}
	return a
}

// eventually asks until the answer pleases.
func eventually(t testing.TB, what string, pleases func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !pleases(); {
		if time.Now().After(end) {
			t.Fatalf("it never came about: %s", what)
		}
	}
}
