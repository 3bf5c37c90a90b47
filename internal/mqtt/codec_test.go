package mqtt_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/twinfleet/twinfleet/internal/mqtt"
	"github.com/twinfleet/twinfleet/internal/mqtt/framing"
)

// next reads the one packet of b.
func next(t testing.TB, b []byte) mqtt.Packet {
	t.Helper()
	p, err := framing.NewReader(bytes.NewReader(b)).Next()
	if err != nil {
		t.Fatalf("% x: %v", b, err)
	}
	return p
}

func TestConnectRoundTrip(t *testing.T) {
	for _, want := range []mqtt.Connect{
		{ProtocolName: []byte("MQTT"), ProtocolLevel: 4, CleanSession: true, KeepAlive: 60, ClientID: []byte("dev-1")},
		{
			ProtocolName: []byte("MQTT"), ProtocolLevel: 4, ClientID: []byte("d"), HasUsername: true, Username: []byte("h/d/?api-version=1"),
			HasPassword: true, Password: []byte{0, 1, 255},
		},
		{
			ProtocolName: []byte("MQTT"), ProtocolLevel: 4, CleanSession: true, ClientID: []byte{}, HasWill: true, WillQoS: 1, WillRetain: true,
			WillTopic: []byte("a/b"), WillPayload: []byte("x"),
		},
	} {
		var got mqtt.Connect
		if err := mqtt.DecodeConnect(next(t, mqtt.AppendConnect(nil, &want)).Body, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
}

func TestPublishRoundTrip(t *testing.T) {
	for _, size := range []int{0, 1, 100, 127, 128, 16383, 16384, 200_000} {
		for qos := range byte(3) {
			payload := bytes.Repeat([]byte{7}, size)
			var got mqtt.Publish
			if err := mqtt.DecodePublish(next(t, mqtt.AppendPublish(nil, "a/b", payload, qos, true, qos > 0, 9)), &got); err != nil {
				t.Fatal(err)
			}
			if string(got.Topic) != "a/b" || got.QoS != qos || !got.Retain || got.Dup != (qos > 0) || !bytes.Equal(got.Payload, payload) ||
				(qos > 0) != (got.PacketID == 9) {
				t.Errorf("QoS %d, %d bytes: %d bytes of payload, %+v", qos, size, len(got.Payload), got.PacketID)
			}
		}
	}
}

// Bytes that are no packet are refused, with the section that they violate.
func TestMalformedPackets(t *testing.T) {
	publish := func(p mqtt.Packet) error { var m mqtt.Publish; return mqtt.DecodePublish(p, &m) }
	connect := func(p mqtt.Packet) error { var m mqtt.Connect; return mqtt.DecodeConnect(p.Body, &m) }
	subscribe := func(p mqtt.Packet) error {
		_, err := mqtt.DecodeSubscribe(p.Body, func(mqtt.Subscription) {})
		return err
	}
	ack := func(p mqtt.Packet) error { _, err := mqtt.DecodeAck(p.Body); return err }
	for _, tt := range []struct {
		name    string
		bytes   string
		decode  func(mqtt.Packet) error
		section string
	}{
		{"reserved type 0", "\x00\x00", nil, "2.2.1"},
		{"reserved type 15", "\xf0\x00", nil, "2.2.1"},
		{"flags on SUBSCRIBE", "\x80\x05\x00\x01\x00\x01a", nil, "2.2.2"},
		{"flags on PINGREQ", "\xc1\x00", nil, "2.2.2"},
		{"PUBACK too long", "\x40\x03\x00\x01\x00", nil, "2.2.3"},
		{"PINGREQ with a body", "\xc0\x01x", nil, "2.2.3"},
		{"remaining length of five bytes", "\x30\x80\x80\x80\x80\x01", nil, "2.2.3"},
		{"QoS 3", "\x36\x05\x00\x01a\x00\x01", publish, "3.3.1.2"},
		{"DUP on QoS 0", "\x38\x03\x00\x01a", publish, "3.3.1.1"},
		{"wildcard in a topic", "\x30\x03\x00\x01#", publish, "3.3.2.1"},
		{"empty topic", "\x30\x02\x00\x00", publish, "3.3.2.1"},
		{"topic longer than the packet", "\x30\x03\x00\x09a", publish, "1.5.3"},
		{"topic with U+0000", "\x30\x03\x00\x01\x00", publish, "1.5.3"},
		{"topic that is no UTF-8", "\x30\x03\x00\x01\xff", publish, "1.5.3"},
		{"packet id 0", "\x32\x05\x00\x01a\x00\x00", publish, "2.3.1"},
		{"PUBACK 0", "\x40\x02\x00\x00", ack, "2.3.1"},
		{"no filter", "\x82\x02\x00\x01", subscribe, "3.8.3"},
		{"filter QoS 3", "\x82\x06\x00\x01\x00\x01a\x03", subscribe, "3.8.3"},
		{"filter a#", "\x82\x07\x00\x01\x00\x02a#\x00", subscribe, "4.7.1"},
		{"reserved connect flag", "\x10\x0d\x00\x04MQTT\x04\x03\x00\x00\x00\x01a", connect, "3.1.2.3"},
		{"will QoS without will", "\x10\x0d\x00\x04MQTT\x04\x0a\x00\x00\x00\x01a", connect, "3.1.2.6"},
		{"password without user", "\x10\x10\x00\x04MQTT\x04\x42\x00\x00\x00\x01a\x00\x01x", connect, "3.1.2.9"},
		{"empty id, session kept", "\x10\x0c\x00\x04MQTT\x04\x00\x00\x00\x00\x00", connect, "3.1.3.1"},
		{"bytes after CONNECT", "\x10\x0e\x00\x04MQTT\x04\x02\x00\x00\x00\x01ax", connect, "2.2.3"},
	} {
		p, err := framing.NewReader(strings.NewReader(tt.bytes)).Next()
		if err == nil && tt.decode != nil {
			err = tt.decode(p)
		}
		if !errors.Is(err, mqtt.ErrProtocol) || !strings.Contains(err.Error(), "(section "+tt.section+")") {
			t.Errorf("%s: %v; want a violation of section %s", tt.name, err, tt.section)
		}
	}
}

// write is what the oracle writes for a packet.
func write(p packets.ControlPacket) []byte {
	var b bytes.Buffer
	_ = p.Write(&b)
	return b.Bytes()
}

// The oracle is Paho's codec. What we accept, we write so that Paho reads the same fields; Paho
// itself accepts more than the standard allows, so nothing is asked of what we refuse.
func FuzzAgainstPaho(f *testing.F) {
	connect := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	connect.ProtocolName, connect.ProtocolVersion, connect.ClientIdentifier, connect.CleanSession, connect.Keepalive = "MQTT", 4, "dev-1", true, 30
	connect.UsernameFlag, connect.Username, connect.PasswordFlag, connect.Password = true, "h/dev-1", true, []byte("x")
	publish := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	publish.TopicName, publish.Payload, publish.Qos, publish.MessageID = "a/b", []byte("hello"), 1, 7
	subscribe := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	subscribe.MessageID, subscribe.Topics, subscribe.Qoss = 3, []string{"a/#", "+"}, []byte{0, 1}
	suback := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
	suback.MessageID, suback.ReturnCodes = 3, []byte{1, 0x80}
	for _, p := range []packets.ControlPacket{
		connect, publish, subscribe, suback, packets.NewControlPacket(packets.Pingreq), packets.NewControlPacket(packets.Disconnect),
		packets.NewControlPacket(packets.Connack), &packets.PubackPacket{
			FixedHeader: packets.FixedHeader{MessageType: packets.Puback, RemainingLength: 2},
			MessageID:   9,
		},
	} {
		f.Add(write(p))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := framing.NewReader(bytes.NewReader(b)).Next()
		if err != nil {
			return
		}
		var written []byte
		var check func(packets.ControlPacket) bool
		switch p.Type {
		case mqtt.CONNECT:
			var m mqtt.Connect
			if mqtt.DecodeConnect(p.Body, &m) != nil || string(m.ProtocolName) != "MQTT" || m.ProtocolLevel != 4 {
				return
			}
			written = mqtt.AppendConnect(nil, &m)
			check = func(c packets.ControlPacket) bool {
				x := c.(*packets.ConnectPacket)
				return x.ClientIdentifier == string(m.ClientID) && x.Username == string(m.Username) && bytes.Equal(x.Password, m.Password) &&
					x.Keepalive == m.KeepAlive && x.WillTopic == string(m.WillTopic)
			}
		case mqtt.PUBLISH:
			var m mqtt.Publish
			if mqtt.DecodePublish(p, &m) != nil {
				return
			}
			written = mqtt.AppendPublish(nil, string(m.Topic), m.Payload, m.QoS, m.Retain, m.Dup, m.PacketID)
			check = func(c packets.ControlPacket) bool {
				x := c.(*packets.PublishPacket)
				return x.TopicName == string(m.Topic) && bytes.Equal(x.Payload, m.Payload) && x.Qos == m.QoS && x.MessageID == m.PacketID && x.Dup == m.Dup &&
					x.Retain == m.Retain
			}
		case mqtt.SUBSCRIBE:
			var filters []mqtt.Subscription
			id, err := mqtt.DecodeSubscribe(p.Body, func(s mqtt.Subscription) { filters = append(filters, s) })
			if err != nil {
				return
			}
			written = mqtt.AppendSubscribe(nil, id, filters...)
			check = func(c packets.ControlPacket) bool {
				x := c.(*packets.SubscribePacket)
				return x.MessageID == id && len(x.Topics) == len(filters) && x.Topics[0] == string(filters[0].Filter)
			}
		case mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBREL, mqtt.PUBCOMP, mqtt.UNSUBACK:
			id, err := mqtt.DecodeAck(p.Body)
			if err != nil {
				return
			}
			written = mqtt.AppendAck(nil, p.Type, id)
			check = func(c packets.ControlPacket) bool { return c.Details().MessageID == id }
		default:
			return
		}
		oracle, err := packets.ReadPacket(bytes.NewReader(written))
		if err != nil {
			t.Fatalf("paho refuses what we write for % x: %v", b, err)
		}
		if !check(oracle) {
			t.Errorf("paho reads % x as %v", written, oracle)
		}
	})
}

// What no packet can hold is not written, and what was there before stays.
func TestWhatDoesNotFit(t *testing.T) {
	before := []byte("before")
	most := strings.Repeat("t", mqtt.MaxField)
	long := most + "t"
	for name, got := range map[string][]byte{
		"topic":       mqtt.AppendPublish(before, long, nil, 1, false, false, 1),
		"client id":   mqtt.AppendConnect(before, &mqtt.Connect{ClientID: []byte(long)}),
		"will topic":  mqtt.AppendConnect(before, &mqtt.Connect{HasWill: true, WillTopic: []byte(long)}),
		"will":        mqtt.AppendConnect(before, &mqtt.Connect{HasWill: true, WillPayload: []byte(long)}),
		"user name":   mqtt.AppendConnect(before, &mqtt.Connect{HasUsername: true, Username: []byte(long)}),
		"password":    mqtt.AppendConnect(before, &mqtt.Connect{HasPassword: true, Password: []byte(long)}),
		"filter":      mqtt.AppendSubscribe(before, 1, mqtt.Subscription{Filter: []byte("a")}, mqtt.Subscription{Filter: []byte(long)}),
		"unsubscribe": mqtt.AppendUnsubscribe(before, 1, "a", long),
	} {
		if string(got) != "before" {
			t.Errorf("%s: %d bytes were written", name, len(got))
		}
	}
	if mqtt.PublishFits(1, mqtt.MaxBody) || mqtt.PublishFits(len(long), 0) || !mqtt.PublishFits(1, mqtt.MaxBody-5) {
		t.Error("PublishFits is wrong at its bounds")
	}
	var got mqtt.Publish
	if err := mqtt.DecodePublish(next(t, mqtt.AppendPublish(nil, most, []byte("p"), 1, false, false, 1)), &got); err != nil || string(got.Topic) != most || string(got.Payload) != "p" {
		t.Errorf("a topic of %d bytes: %v", len(most), err)
	}
}
