package v5_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/packets"

	"github.com/twinfleet/twinfleet/internal/mqtt"
	"github.com/twinfleet/twinfleet/internal/mqtt/framing"
	v5 "github.com/twinfleet/twinfleet/internal/mqtt/v5"
)

// decoded is a packet that a server sent, as one of the types of this package.
func decoded(p mqtt.Packet) (any, error) {
	switch p.Type {
	case mqtt.CONNACK:
		var m v5.Connack
		return &m, v5.DecodeConnack(p.Body, &m)
	case mqtt.PUBLISH:
		var m v5.Publish
		return &m, v5.DecodePublish(p, &m)
	case mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBREL, mqtt.PUBCOMP:
		var m v5.Ack
		return &m, v5.DecodeAck(p.Type, p.Body, &m)
	case mqtt.SUBACK, mqtt.UNSUBACK:
		var m v5.Codes
		return &m, v5.DecodeCodes(p.Type, p.Body, &m)
	case mqtt.DISCONNECT, v5.AUTH:
		var m v5.Reason
		return &m, v5.DecodeReason(p.Type, p.Body, &m)
	}
	return nil, nil
}

// read reads the one packet of b.
func read(b []byte) (mqtt.Packet, any, error) {
	var packet mqtt.Packet
	var m any
	var j framing.Joiner
	err := j.FeedAs(v5.CheckHeader, b, mqtt.MaxBody, func(p mqtt.Packet) error {
		packet = p
		var err error
		m, err = decoded(p)
		return err
	})
	return packet, m, err
}

// What no server of MQTT 5 may send is refused, with the section that it violates.
func TestMalformedPackets(t *testing.T) {
	for _, tt := range []struct{ name, bytes, section string }{
		{"reserved type 0", "\x00\x00", "2.1.2"},
		{"flags on CONNACK", "\x21\x03\x00\x00\x00", "2.1.3"},
		{"no flags on PUBREL", "\x60\x02\x00\x01", "2.1.3"},
		{"PINGRESP with a body", "\xd0\x01x", "2.1.4"},
		{"CONNACK of MQTT 3.1.1", "\x20\x02\x00\x00", "2.1.4"},
		{"remaining length of five bytes", "\x30\x80\x80\x80\x80\x01", "2.2.3"}, // of MQTT 3.1.1, which frames alike
		{"remaining length that is too long", "\x20\x83\x00\x00\x00\x00", "1.5.5"},
		{"reserved acknowledge flags", "\x20\x03\x02\x00\x00", "3.2.2.1"},
		{"return code of MQTT 3.1.1", "\x20\x03\x00\x05\x00", "3.2.2.2"},
		{"a session for who is refused", "\x20\x03\x01\x87\x00", "3.2.2.1.1"},
		{"unknown property", "\x20\x05\x00\x00\x02\x7e\x00", "2.2.2.2"},
		{"property with an identifier of two bytes", "\x20\x06\x00\x00\x03\xa4\x02\x00", "2.2.2.2"}, // its lowest byte is that of Maximum QoS
		{"property of another packet", "\x20\x06\x00\x00\x03\x23\x00\x01", "2.2.2.2"},
		{"property of a will alone", "\x30\x09\x00\x01a\x05\x18\x00\x00\x00\x01", "2.2.2.2"},
		{"property twice", "\x20\x07\x00\x00\x04\x24\x00\x24\x00", "2.2.2"},
		{"Maximum QoS 2", "\x20\x05\x00\x00\x02\x24\x02", "2.2.2"},
		{"Receive Maximum 0", "\x20\x06\x00\x00\x03\x21\x00\x00", "2.2.2"},
		{"Maximum Packet Size 0", "\x20\x08\x00\x00\x05\x27\x00\x00\x00\x00", "2.2.2"},
		{"topic alias 0", "\x30\x07\x00\x01a\x03\x23\x00\x00", "2.2.2"},
		{"subscription identifier 0", "\x30\x06\x00\x01a\x02\x0b\x00", "2.2.2"},
		{"subscription identifier of five bytes", "\x30\x0a\x00\x01a\x06\x0b\x80\x80\x80\x80\x01", "1.5.5"},
		{"properties longer than the packet", "\x20\x03\x00\x00\x05", "2.2.2.1"},
		{"property cut short by its length", "\x20\x05\x00\x00\x02\x21\x00", "2.1.4"},
		{"length of properties that is too long", "\x20\x04\x00\x00\x80\x00", "1.5.5"},
		{"bytes after CONNACK", "\x20\x04\x00\x00\x00x", "2.1.4"},
		{"reason that is no UTF-8", "\x20\x07\x00\x80\x04\x1f\x00\x01\xff", "1.5.4"},
		{"user property with U+0000", "\x20\x09\x00\x80\x06\x26\x00\x01\x00\x00\x00", "1.5.4"},
		{"field longer than its properties", "\x20\x08\x00\x80\x04\x1f\x00\x02ab", "1.5.6"},
		{"QoS 3", "\x36\x06\x00\x01a\x00\x01\x00", "3.3.1.2"},
		{"DUP on QoS 0", "\x38\x04\x00\x01a\x00", "3.3.1.1"},
		{"wildcard in a topic", "\x30\x04\x00\x01+\x00", "3.3.2.1"},
		{"no topic and no alias", "\x30\x03\x00\x00\x00", "3.3.2.1"},
		{"packet id 0", "\x32\x06\x00\x01a\x00\x00\x00", "2.2.1"},
		{"response topic with a wildcard", "\x30\x08\x00\x01a\x04\x08\x00\x01#", "3.3.2.3.5"},
		{"payload that says it is neither text nor bytes", "\x30\x06\x00\x01a\x02\x01\x02", "2.2.2"},
		{"PUBACK 0", "\x40\x02\x00\x00", "2.2.1"},
		{"SUBACK without codes", "\x90\x03\x00\x01\x00", "2.1.4"},
		{"SUBACK with properties for codes", "\x90\x07\x00\x01\x04\x1f\x00\x01a", "3.9.3"},
		{"SUBACK with QoS 3", "\x90\x04\x00\x01\x00\x03", "3.9.3"},
		{"UNSUBACK with a QoS", "\xb0\x04\x00\x01\x00\x01", "3.9.3"},
		{"DISCONNECT with an unknown code", "\xe0\x01\x05", "3.14.2.1"},
		{"AUTH with a failure", "\xf0\x01\x87", "3.15.2.1"},
	} {
		_, _, err := read([]byte(tt.bytes))
		if !errors.Is(err, mqtt.ErrProtocol) || !strings.Contains(err.Error(), "(section "+tt.section+")") {
			t.Errorf("%s: %v; want a violation of section %s", tt.name, err, tt.section)
		}
	}
}

// What no packet can hold is not written, and what was there before stays.
func TestWhatDoesNotFit(t *testing.T) {
	before := []byte("before")
	long := []byte(strings.Repeat("t", mqtt.MaxField+1))
	var user, topic v5.Properties
	user.User = []v5.User{{Name: []byte("a"), Value: long}}
	topic.SetField(v5.ResponseTopic, long)
	for name, got := range map[string][]byte{
		"topic":            v5.AppendPublish(before, &v5.Publish{Topic: long}),
		"user property":    v5.AppendPublish(before, &v5.Publish{Topic: []byte("a"), Properties: user}),
		"response topic":   v5.AppendPublish(before, &v5.Publish{Topic: []byte("a"), Properties: topic}),
		"client id":        v5.AppendConnect(before, &v5.Connect{ClientID: long}),
		"will":             v5.AppendConnect(before, &v5.Connect{Will: &v5.Will{Payload: long}}),
		"will's property":  v5.AppendConnect(before, &v5.Connect{Will: &v5.Will{Properties: user}}),
		"password":         v5.AppendConnect(before, &v5.Connect{HasPassword: true, Password: long}),
		"filter":           v5.AppendSubscribe(before, 1, 0, v5.Subscription{Filter: long}),
		"CONNECT property": v5.AppendConnect(before, &v5.Connect{Properties: user}),
	} {
		if string(got) != "before" {
			t.Errorf("%s: %d bytes were written", name, len(got))
		}
	}
}

func TestDecodingDoesNotAllocate(t *testing.T) {
	b := v5.AppendPublish(nil, &v5.Publish{Topic: []byte("a/b"), Payload: []byte("x"), QoS: 1, PacketID: 7})
	var m v5.Publish
	if n := testing.AllocsPerRun(100, func() {
		if err := v5.DecodePublish(mqtt.Packet{Type: mqtt.PUBLISH, Flags: 2, Body: b[2:]}, &m); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations a packet", n)
	}
}

// numbers are the properties with a number that p has, by their identifier; texts those with a string or binary data; and likewise of
// the oracle's.
func numbers(p *v5.Properties) string {
	var all []string
	for id := range v5.ID(64) {
		if v, ok := p.Number(id); ok {
			all = append(all, fmt.Sprintf("%d=%d", id, v))
		}
		if v, ok := p.Field(id); ok && len(v) > 0 { // the oracle knows no difference between an empty one and none
			all = append(all, fmt.Sprintf("%d=%q", id, v))
		}
	}
	for _, u := range p.User {
		all = append(all, fmt.Sprintf("user %q=%q", u.Name, u.Value))
	}
	if n := len(p.IDs); n > 0 { // the oracle keeps the last one alone (3.3.2.3.8 has several)
		all = append(all, fmt.Sprintf("subscription %d", p.IDs[n-1]))
	}
	return strings.Join(all, " ")
}

func oracleNumbers(p *packets.Properties) string {
	if p == nil {
		return ""
	}
	var all []string
	for id := range v5.ID(64) {
		var v any
		switch id {
		case v5.PayloadFormat:
			v = p.PayloadFormat
		case v5.MessageExpiry:
			v = p.MessageExpiry
		case v5.ContentType:
			v = p.ContentType
		case v5.ResponseTopic:
			v = p.ResponseTopic
		case v5.CorrelationData:
			v = string(p.CorrelationData)
		case v5.SessionExpiry:
			v = p.SessionExpiryInterval
		case v5.AssignedClientID:
			v = p.AssignedClientID
		case v5.ServerKeepAlive:
			v = p.ServerKeepAlive
		case v5.AuthMethod:
			v = p.AuthMethod
		case v5.AuthData:
			v = string(p.AuthData)
		case v5.RequestProblem:
			v = p.RequestProblemInfo
		case v5.WillDelay:
			v = p.WillDelayInterval
		case v5.RequestResponse:
			v = p.RequestResponseInfo
		case v5.ResponseInformation:
			v = p.ResponseInfo
		case v5.ServerReference:
			v = p.ServerReference
		case v5.ReasonString:
			v = p.ReasonString
		case v5.ReceiveMaximum:
			v = p.ReceiveMaximum
		case v5.TopicAliasMaximum:
			v = p.TopicAliasMaximum
		case v5.TopicAlias:
			v = p.TopicAlias
		case v5.MaximumQoS:
			v = p.MaximumQOS
		case v5.RetainAvailable:
			v = p.RetainAvailable
		case v5.MaximumPacketSize:
			v = p.MaximumPacketSize
		case v5.WildcardAvailable:
			v = p.WildcardSubAvailable
		case v5.IdentifiersAvailable:
			v = p.SubIDAvailable
		case v5.SharedAvailable:
			v = p.SharedSubAvailable
		}
		switch v := v.(type) {
		case *byte:
			if v != nil {
				all = append(all, fmt.Sprintf("%d=%d", id, *v))
			}
		case *uint16:
			if v != nil {
				all = append(all, fmt.Sprintf("%d=%d", id, *v))
			}
		case *uint32:
			if v != nil {
				all = append(all, fmt.Sprintf("%d=%d", id, *v))
			}
		case string:
			if v != "" {
				all = append(all, fmt.Sprintf("%d=%q", id, v))
			}
		}
	}
	for _, u := range p.User {
		all = append(all, fmt.Sprintf("user %q=%q", u.Key, u.Value))
	}
	if p.SubscriptionIdentifier != nil {
		all = append(all, fmt.Sprintf("subscription %d", *p.SubscriptionIdentifier))
	}
	return strings.Join(all, " ")
}

// ours and theirs say what each side reads.
func ours(p mqtt.Packet, m any) string {
	switch m := m.(type) {
	case *v5.Connack:
		return fmt.Sprintf("CONNACK %v %d %s", m.SessionPresent, m.Code, numbers(&m.Properties))
	case *v5.Publish:
		return fmt.Sprintf("PUBLISH %v %d %v %q %d %q %s", m.Dup, m.QoS, m.Retain, m.Topic, m.PacketID, m.Payload, numbers(&m.Properties))
	case *v5.Ack:
		return fmt.Sprintf("%d: %d %d %s", p.Type, m.PacketID, m.Code, numbers(&m.Properties))
	case *v5.Codes:
		return fmt.Sprintf("%d: %d %d %s", p.Type, m.PacketID, m.Codes, numbers(&m.Properties))
	case *v5.Reason:
		return fmt.Sprintf("%d: %d %s", p.Type, m.Code, numbers(&m.Properties))
	}
	return fmt.Sprint(p.Type)
}

func theirs(c *packets.ControlPacket) string {
	ack := func(id uint16, code byte, p *packets.Properties) string {
		return fmt.Sprintf("%d: %d %d %s", c.Type, id, code, oracleNumbers(p))
	}
	switch m := c.Content.(type) {
	case *packets.Connack:
		return fmt.Sprintf("CONNACK %v %d %s", m.SessionPresent, m.ReasonCode, oracleNumbers(m.Properties))
	case *packets.Publish:
		return fmt.Sprintf("PUBLISH %v %d %v %q %d %q %s", m.Duplicate, m.QoS, m.Retain, m.Topic, m.PacketID, m.Payload, oracleNumbers(m.Properties))
	case *packets.Puback:
		return ack(m.PacketID, m.ReasonCode, m.Properties)
	case *packets.Pubrec:
		return ack(m.PacketID, m.ReasonCode, m.Properties)
	case *packets.Pubrel:
		return ack(m.PacketID, m.ReasonCode, m.Properties)
	case *packets.Pubcomp:
		return ack(m.PacketID, m.ReasonCode, m.Properties)
	case *packets.Suback:
		return fmt.Sprintf("%d: %d %d %s", c.Type, m.PacketID, m.Reasons, oracleNumbers(m.Properties))
	case *packets.Unsuback:
		return fmt.Sprintf("%d: %d %d %s", c.Type, m.PacketID, m.Reasons, oracleNumbers(m.Properties))
	case *packets.Disconnect:
		return fmt.Sprintf("%d: %d %s", c.Type, m.ReasonCode, oracleNumbers(m.Properties))
	case *packets.Auth:
		return fmt.Sprintf("%d: %d %s", c.Type, m.ReasonCode, oracleNumbers(m.Properties))
	}
	return fmt.Sprint(c.Type)
}

// The oracle is Paho's codec. Every packet of a server that we accept, it reads as we do; it accepts more than the standard allows (any
// flags, properties that repeat, strings that are no UTF-8, values out of range, bytes after the end), so nothing is asked of what we
// refuse.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		"\x20\x03\x00\x00\x00", "\x20\x0b\x01\x00\x08\x11\x00\x00\x00\x05\x21\x00\x07", "\x20\x0a\x00\x9c\x07\x1c\x00\x04b:18",
		"\x33\x10\x00\x01a\x00\x07\x09\x01\x01\x26\x00\x01k\x00\x01v!", "\x30\x08\x00\x00\x03\x23\x00\x01hi", "\x40\x02\x00\x01", "\x50\x03\x00\x01\x97",
		"\x62\x08\x00\x01\x92\x04\x1f\x00\x01x", "\x70\x02\x00\x01", "\x90\x06\x00\x01\x00\x00\x01\x87", "\xb0\x05\x00\x01\x00\x00\x11", "\xe0\x00",
		"\xe0\x02\x8e\x00", "\xf0\x02\x18\x00", "\xd0\x00", "\x30\x0a\x00\x01a\x04\x0b\x80\x01\x0b!",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, m, err := read(b)
		if err != nil || m == nil {
			return
		}
		if (p.Type == mqtt.DISCONNECT || p.Type == v5.AUTH) && len(p.Body) == 0 {
			return // which Paho refuses, and sections 3.14.2.1 and 3.15.2.1 allow
		}
		if p.Type == v5.AUTH && len(p.Body) == 1 {
			return // likewise
		}
		// The packet that was read last, as b may hold several.
		last := append(mqtt.AppendHeader(nil, p.Type, p.Flags, len(p.Body)), p.Body...)
		oracle, err := packets.ReadPacket(bytes.NewReader(last))
		if err != nil {
			t.Fatalf("paho refuses % x: %v", last, err)
		}
		if got, want := ours(p, m), theirs(oracle); got != want {
			t.Errorf("% x is\n%s; paho:\n%s", last, got, want)
		}
	})
}
