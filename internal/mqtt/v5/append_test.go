package v5_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/eclipse/paho.golang/packets"
	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/internal/mqtt"
	v5 "github.com/twinfleet/twinfleet/internal/mqtt/v5"
)

var (
	texts  = rapid.StringMatching(`[a-zA-Zäß/ ]{1,12}`)
	binary = rapid.SliceOfN(rapid.Byte(), 1, 300)
)

// some are some properties of ids, in the order that numbers has.
func some(t *rapid.T, ids ...v5.ID) v5.Properties {
	var p v5.Properties
	for _, id := range ids {
		if !rapid.Bool().Draw(t, fmt.Sprint("has ", id)) {
			continue
		}
		switch id {
		case v5.PayloadFormat, v5.RequestProblem, v5.RequestResponse:
			p.SetNumber(id, rapid.Uint32Range(0, 1).Draw(t, "flag"))
		case v5.ReceiveMaximum, v5.TopicAliasMaximum, v5.TopicAlias:
			p.SetNumber(id, rapid.Uint32Range(1, 65_535).Draw(t, "two"))
		case v5.MessageExpiry, v5.SessionExpiry, v5.WillDelay, v5.MaximumPacketSize:
			p.SetNumber(id, rapid.Uint32Min(1).Draw(t, "four"))
		case v5.UserProperty:
			for range rapid.IntRange(1, 3).Draw(t, "user") {
				p.User = append(p.User, v5.User{Name: []byte(texts.Draw(t, "name")), Value: []byte(texts.Draw(t, "value"))})
			}
		case v5.SubscriptionID:
			p.IDs = []uint32{rapid.Uint32Range(1, v5.MaxVarint).Draw(t, "id")}
		case v5.CorrelationData, v5.AuthData:
			p.SetField(id, binary.Draw(t, "binary"))
		default:
			p.SetField(id, []byte(texts.Draw(t, "text")))
		}
	}
	return p
}

// oracle is what Paho reads of what we write.
func oracle(t *rapid.T, b []byte) *packets.ControlPacket {
	r := bytes.NewReader(b)
	c, err := packets.ReadPacket(r)
	if err != nil || r.Len() > 0 {
		t.Fatalf("paho refuses % x: %v, %d bytes left", b, err, r.Len())
	}
	return c
}

func same(t *rapid.T, got, want any) {
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Fatalf("\n%s; paho reads\n%s", g, w)
	}
}

// Paho reads what we write.
func TestPahoReadsWhatWeWrite(t *testing.T) {
	for name, test := range map[string]func(*rapid.T){
		"CONNECT": func(t *rapid.T) {
			c := v5.Connect{
				CleanStart: rapid.Bool().Draw(t, "clean"), KeepAlive: rapid.Uint16().Draw(t, "keep-alive"), ClientID: []byte(texts.Draw(t, "id")),
				HasUsername: rapid.Bool().Draw(t, "user"), HasPassword: rapid.Bool().Draw(t, "password"),
				Properties: some(t, v5.SessionExpiry, v5.AuthMethod, v5.AuthData, v5.RequestProblem, v5.RequestResponse, v5.ReceiveMaximum,
					v5.TopicAliasMaximum, v5.UserProperty, v5.MaximumPacketSize),
			}
			if c.HasUsername {
				c.Username = []byte(texts.Draw(t, "name"))
			}
			if c.HasPassword {
				c.Password = binary.Draw(t, "word")
			}
			if rapid.Bool().Draw(t, "will") {
				c.Will = &v5.Will{
					QoS: rapid.ByteRange(0, 2).Draw(t, "qos"), Retain: rapid.Bool().Draw(t, "retain"), Topic: []byte(texts.Draw(t, "topic")),
					Payload: binary.Draw(t, "payload"),
					Properties: some(t, v5.PayloadFormat, v5.MessageExpiry, v5.ContentType, v5.ResponseTopic, v5.CorrelationData, v5.WillDelay,
						v5.UserProperty),
				}
			}
			m := oracle(t, v5.AppendConnect(nil, &c)).Content.(*packets.Connect)
			same(t, []any{"MQTT", 5, c.CleanStart, c.KeepAlive, string(c.ClientID), string(c.Username), c.Password, numbers(&c.Properties)},
				[]any{m.ProtocolName, m.ProtocolVersion, m.CleanStart, m.KeepAlive, m.ClientID, m.Username, m.Password, oracleNumbers(m.Properties)})
			same(t, []any{c.HasUsername, c.HasPassword, c.Will != nil}, []any{m.UsernameFlag, m.PasswordFlag, m.WillFlag})
			if w := c.Will; w != nil {
				same(t, []any{w.QoS, w.Retain, string(w.Topic), w.Payload, numbers(&w.Properties)},
					[]any{m.WillQOS, m.WillRetain, m.WillTopic, m.WillMessage, oracleNumbers(m.WillProperties)})
			}
		},
		"PUBLISH": func(t *rapid.T) {
			p := v5.Publish{
				QoS: rapid.ByteRange(0, 2).Draw(t, "qos"), Retain: rapid.Bool().Draw(t, "retain"), Topic: []byte(texts.Draw(t, "topic")), Payload: binary.Draw(t, "payload"),
				Properties: some(t, v5.PayloadFormat, v5.MessageExpiry, v5.ContentType, v5.ResponseTopic, v5.CorrelationData, v5.TopicAlias, v5.UserProperty),
			}
			if p.QoS > 0 {
				p.PacketID, p.Dup = rapid.Uint16Min(1).Draw(t, "id"), rapid.Bool().Draw(t, "dup")
			}
			b := v5.AppendPublish(nil, &p)
			if len(b) != p.Size() {
				t.Fatalf("%d bytes; Size is %d", len(b), p.Size())
			}
			same(t, ours(mqtt.Packet{}, &p), theirs(oracle(t, b)))
			if _, m, err := read(b); err != nil || ours(mqtt.Packet{}, m) != ours(mqtt.Packet{}, &p) {
				t.Fatalf("we read %+v, %v", m, err)
			}
		},
		"acknowledgements": func(t *rapid.T) {
			m := v5.Ack{PacketID: rapid.Uint16Min(1).Draw(t, "id"), Code: rapid.SampledFrom([]byte{0, 0x92, 0x97}).Draw(t, "code")}
			kind := rapid.SampledFrom([]mqtt.Type{mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBREL, mqtt.PUBCOMP}).Draw(t, "type")
			same(t, ours(mqtt.Packet{Type: kind}, &m), theirs(oracle(t, v5.AppendAck(nil, kind, m.PacketID, m.Code))))
		},
		"SUBSCRIBE": func(t *rapid.T) {
			id, identifier := rapid.Uint16Min(1).Draw(t, "id"), rapid.Uint32Range(0, v5.MaxVarint).Draw(t, "identifier")
			var filters []v5.Subscription
			var want []packets.SubOptions
			for range rapid.IntRange(1, 4).Draw(t, "filters") {
				o := packets.SubOptions{
					Topic: texts.Draw(t, "filter"), QoS: rapid.ByteRange(0, 2).Draw(t, "qos"), RetainHandling: rapid.ByteRange(0, 2).Draw(t, "handling"),
					NoLocal: rapid.Bool().Draw(t, "local"), RetainAsPublished: rapid.Bool().Draw(t, "retain"),
				}
				want = append(want, o)
				filters = append(filters, v5.Subscription{Filter: []byte(o.Topic), QoS: o.QoS, NoLocal: o.NoLocal, RetainAsPublished: o.RetainAsPublished, RetainHandling: o.RetainHandling})
			}
			m := oracle(t, v5.AppendSubscribe(nil, id, identifier, filters...)).Content.(*packets.Subscribe)
			got := uint32(0)
			if m.Properties.SubscriptionIdentifier != nil {
				got = uint32(*m.Properties.SubscriptionIdentifier)
			}
			same(t, []any{id, identifier, want}, []any{m.PacketID, got, m.Subscriptions})
		},
		"DISCONNECT": func(t *rapid.T) {
			m := v5.Reason{Code: rapid.SampledFrom([]byte{4, 0x81, 0x82}).Draw(t, "code"), Properties: some(t, v5.SessionExpiry, v5.ReasonString)}
			same(t, ours(mqtt.Packet{Type: mqtt.DISCONNECT}, &m), theirs(oracle(t, v5.AppendDisconnect(nil, m.Code, &m.Properties))))
		},
	} {
		t.Run(name, func(t *testing.T) { rapid.Check(t, test) })
	}
	if b := v5.AppendDisconnect(nil, 0, new(v5.Properties)); string(b) != "\xe0\x00" { // which Paho itself does not read (section 3.14.2.1)
		t.Errorf("a normal DISCONNECT is % x", b)
	}
}

// We read what Paho writes.
func TestWeReadWhatPahoWrites(t *testing.T) {
	number := func(t *rapid.T, most int) *uint32 {
		if v := uint32(rapid.IntRange(0, most).Draw(t, "number")); v > 0 {
			return &v
		}
		return nil
	}
	two := func(t *rapid.T) *uint16 {
		if v := number(t, 65_535); v != nil {
			x := uint16(*v)
			return &x
		}
		return nil
	}
	bit := func(t *rapid.T) *byte {
		if v := number(t, 2); v != nil {
			x := byte(*v - 1)
			return &x
		}
		return nil
	}
	text := func(t *rapid.T) string { return rapid.SampledFrom([]string{"", "a", "ä/b"}).Draw(t, "text") }
	rapid.Check(t, func(t *rapid.T) {
		p := &packets.Properties{
			PayloadFormat: bit(t), MessageExpiry: number(t, 1<<31), ContentType: text(t), ResponseTopic: text(t), CorrelationData: []byte(text(t)), TopicAlias: two(t),
			SessionExpiryInterval: number(t, 1<<31), AssignedClientID: text(t), ServerKeepAlive: two(t), AuthMethod: text(t), AuthData: []byte(text(t)),
			ResponseInfo: text(t), ServerReference: text(t), ReceiveMaximum: two(t), TopicAliasMaximum: two(t), MaximumQOS: bit(t), RetainAvailable: bit(t),
			MaximumPacketSize: number(t, 1<<31), WildcardSubAvailable: bit(t), SubIDAvailable: bit(t), SharedSubAvailable: bit(t),
		}
		for range rapid.IntRange(0, 2).Draw(t, "user") {
			p.User = append(p.User, packets.User{Key: text(t), Value: text(t)})
		}
		if v := number(t, v5.MaxVarint); v != nil {
			id := int(*v)
			p.SubscriptionIdentifier = &id
		}
		kind := rapid.SampledFrom([]byte{
			packets.CONNACK, packets.PUBLISH, packets.PUBACK, packets.PUBREC, packets.PUBREL, packets.PUBCOMP, packets.SUBACK,
			packets.UNSUBACK, packets.DISCONNECT, packets.AUTH,
		}).Draw(t, "type")
		if kind != packets.PUBLISH {
			p.ReasonString = text(t) // which Paho would write into a PUBLISH too
		}
		c := packets.NewControlPacket(kind)
		id := rapid.Uint16Min(1).Draw(t, "id")
		switch m := c.Content.(type) {
		case *packets.Connack:
			m.Properties, m.ReasonCode = p, rapid.SampledFrom([]byte{0, 0x87}).Draw(t, "code")
			m.SessionPresent = m.ReasonCode == 0 && rapid.Bool().Draw(t, "present")
		case *packets.Publish:
			m.Properties, m.Topic, m.Payload, m.QoS, m.Retain = p, "a/"+text(t), binary.Draw(t, "payload"), rapid.ByteRange(0, 2).Draw(t, "qos"), rapid.Bool().Draw(t, "retain")
			if m.QoS > 0 {
				m.PacketID, m.Duplicate = id, rapid.Bool().Draw(t, "dup")
			}
		case *packets.Puback:
			m.Properties, m.PacketID, m.ReasonCode = p, id, 0x10
		case *packets.Pubrec:
			m.Properties, m.PacketID, m.ReasonCode = p, id, 0x97
		case *packets.Pubrel:
			m.Properties, m.PacketID, m.ReasonCode = p, id, 0x92
		case *packets.Pubcomp:
			m.Properties, m.PacketID = p, id
		case *packets.Suback:
			m.Properties, m.PacketID, m.Reasons = p, id, []byte{0, 2, 0x8f}
		case *packets.Unsuback:
			m.Properties, m.PacketID, m.Reasons = p, id, []byte{0, 0x11}
		case *packets.Disconnect:
			m.Properties, m.ReasonCode = p, 0x8e
		case *packets.Auth:
			m.Properties, m.ReasonCode, c.Flags = p, 0x18, 0 // Paho sets a flag, which is reserved (section 2.1.3)
		}
		var b bytes.Buffer
		if _, err := c.WriteTo(&b); err != nil {
			t.Fatal(err)
		}
		got, m, err := read(b.Bytes())
		if err != nil {
			t.Fatalf("we refuse % x: %v", b.Bytes(), err)
		}
		same(t, ours(got, m), theirs(oracle(t, b.Bytes())))
	})
}
