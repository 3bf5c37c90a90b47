// Package wiretest gives tests a device that speaks MQTT packet by packet, so that a test decides every
// byte it sends and sees every packet it gets.
package wiretest

import (
	"bytes"
	"net"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/mqtt"
	"github.com/twinfleet/twinfleet/internal/mqtt/framing"
)

// Patience is how long a test waits for what must come. Nothing waits that long for what must not.
const Patience = 30 * time.Second

// Wire is a device that speaks MQTT packet by packet, so that a test decides all that it sends.
type Wire struct {
	t      testing.TB
	Conn   net.Conn   // for tests that write bytes or close
	Frames chan Frame // what came and was not read yet; closed when the connection ends
	lastID uint16
}

// Frame is a packet that the hub sent.
type Frame struct {
	Kind    mqtt.Type // of any packet
	Body    []byte    // of any packet, after its fixed header
	Topic   string    // of a PUBLISH, as the three below
	Payload string    // as text
	QoS     byte      // 0 or 1
	ID      uint16    // the packet identifier; 0 for QoS 0
}

// New speaks over a connection, which it closes at the end of the test.
func New(t testing.TB, nc net.Conn) *Wire {
	w := &Wire{t: t, Conn: nc, Frames: make(chan Frame, 100)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(w.Frames)
		r := framing.NewReader(nc)
		for {
			p, err := r.Next()
			if err != nil {
				return
			}
			f := Frame{Kind: p.Type, Body: bytes.Clone(p.Body)}
			var m mqtt.Publish
			if p.Type == mqtt.PUBLISH && mqtt.DecodePublish(p, &m) == nil {
				f.Topic, f.Payload, f.QoS, f.ID = string(m.Topic), string(m.Payload), m.QoS, m.PacketID
			}
			w.Frames <- f
		}
	}()
	t.Cleanup(func() {
		nc.Close()
		for range w.Frames { // what the test did not read must not hold the reader
		}
		<-done
	})
	return w
}

// Send writes bytes as they are.
func (w *Wire) Send(b []byte) {
	w.t.Helper()
	// A connection that the hub has closed shows in what is read, not here.
	_, _ = w.Conn.Write(b)
}

// Next is the next packet.
func (w *Wire) Next() Frame {
	w.t.Helper()
	select {
	case f, ok := <-w.Frames:
		if !ok {
			w.t.Fatal("the hub closed the connection")
		}
		return f
	case <-time.After(Patience):
		w.t.Fatal("no packet came")
		return Frame{}
	}
}

// Expect is Next for a packet of a type.
func (w *Wire) Expect(kind mqtt.Type) Frame {
	w.t.Helper()
	f := w.Next()
	if f.Kind != kind {
		w.t.Fatalf("packet type %d (%s %s) came; want %d", f.Kind, f.Topic, f.Payload, kind)
	}
	return f
}

// Silent checks that nothing is on its way: of what the hub has sent, the answer to a ping is the last.
func (w *Wire) Silent() {
	w.t.Helper()
	w.Send(mqtt.AppendEmpty(nil, mqtt.PINGREQ))
	w.Expect(mqtt.PINGRESP)
}

// Closed checks that the hub ends the connection, whatever it sends before.
func (w *Wire) Closed(why string) {
	w.t.Helper()
	after := time.After(Patience)
	for {
		select {
		case _, ok := <-w.Frames:
			if !ok {
				return
			}
		case <-after:
			w.t.Fatalf("%s: the connection lives on", why)
		}
	}
}

// Connect sends a CONNECT and reads the answer.
func (w *Wire) Connect(c mqtt.Connect) (present bool, code byte) {
	w.t.Helper()
	c.HasUsername, c.HasPassword = true, c.Password != nil
	w.Send(mqtt.AppendConnect(nil, &c))
	present, code, err := mqtt.DecodeConnack(w.Expect(mqtt.CONNACK).Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return present, code
}

// Login is the CONNECT of a device as Microsoft's SDK for Node sends it, but for the keep-alive.
func Login(id string, key sas.Key) mqtt.Connect {
	return mqtt.Connect{
		ClientID: []byte(id), KeepAlive: 60,
		Username: []byte("localhost/" + id + "/?api-version=2021-04-12&DeviceClientType=azure-iot-device%2F1.18.4"),
		Password: []byte(sas.Sign("localhost/devices/"+id, key, "", time.Now().Add(time.Hour))),
	}
}

func (w *Wire) packetID() uint16 { w.lastID++; return w.lastID }

// Subscribe asks for filters and answers the QoS that the hub grants.
func (w *Wire) Subscribe(qos byte, filters ...string) []byte {
	w.t.Helper()
	w.SendSubscribe(qos, filters...)
	_, codes, err := mqtt.DecodeSuback(w.Expect(mqtt.SUBACK).Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return codes
}

// SendSubscribe asks for filters and reads nothing.
func (w *Wire) SendSubscribe(qos byte, filters ...string) {
	var all []mqtt.Subscription
	for _, f := range filters {
		all = append(all, mqtt.Subscription{Filter: []byte(f), QoS: qos})
	}
	w.Send(mqtt.AppendSubscribe(nil, w.packetID(), all...))
}

// Publish sends a message and answers its packet identifier, 0 for QoS 0.
func (w *Wire) Publish(qos byte, topic, payload string) uint16 {
	id := uint16(0)
	if qos > 0 {
		id = w.packetID()
	}
	w.Send(mqtt.AppendPublish(nil, topic, []byte(payload), qos, false, false, id))
	return id
}

// Twin asks for the device's twin.
func (w *Wire) Twin() string {
	w.t.Helper()
	w.Publish(0, topics.TwinGet("get"), " ")
	f := w.Expect(mqtt.PUBLISH)
	if f.Topic != "$iothub/twin/res/200/?$rid=get" {
		w.t.Fatalf("twin: %s %s", f.Topic, f.Payload)
	}
	return f.Payload
}
