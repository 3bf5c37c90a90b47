package v5

import "github.com/twinfleet/twinfleet/internal/mqtt"

// CheckHeader holds the flags and the lengths that a type fixes (sections 2.1.2 and 2.1.3), and that the length has as few bytes as it
// can: header is how many the fixed header has. It is for framing.Joiner.
func CheckHeader(t mqtt.Type, flags byte, header, length int) error {
	want := byte(0)
	switch t {
	case mqtt.PUBLISH:
		want = flags
	case mqtt.PUBREL, mqtt.SUBSCRIBE, mqtt.UNSUBSCRIBE:
		want = 2
	}
	least, most := 0, mqtt.MaxBody
	switch t {
	case mqtt.CONNACK, mqtt.PUBLISH:
		least = 3
	case mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBREL, mqtt.PUBCOMP:
		least = 2
	case mqtt.SUBACK, mqtt.UNSUBACK:
		least = 4
	case mqtt.PINGREQ, mqtt.PINGRESP:
		most = 0
	case mqtt.CONNECT, mqtt.SUBSCRIBE, mqtt.UNSUBSCRIBE, mqtt.DISCONNECT, AUTH:
	default:
		return mqtt.Violation("2.1.2", "a reserved packet type")
	}
	switch {
	case flags != want:
		return mqtt.Violation("2.1.3", "reserved header flags are set")
	case length < least || length > most:
		return mqtt.Violation("2.1.4", "wrong length for the packet's type")
	case header != 1+varintSize(length):
		return mqtt.Violation("1.5.5", "the remaining length is longer than it has to be")
	}
	return nil
}

// Connack is a decoded CONNACK (section 3.2).
type Connack struct {
	SessionPresent bool // never with a code that refuses
	Code           byte // 0, or above 127
	Properties
}

// DecodeConnack reads the body of a CONNACK.
func DecodeConnack(body []byte, out *Connack) error {
	c := cursor{b: body}
	flags := c.byte()
	*out = Connack{SessionPresent: flags&1 != 0, Code: c.byte()}
	switch {
	case flags > 1:
		c.fail("3.2.2.1", "reserved acknowledge flags are set")
	case out.Code > 0 && out.Code < Unspecified:
		c.fail("3.2.2.2", "an unknown reason code")
	case flags == 1 && out.Code != 0:
		c.fail("3.2.2.1.1", "a session for a connection that is refused")
	}
	c.properties(mqtt.CONNACK, &out.Properties)
	return c.end()
}

// Publish is a PUBLISH (section 3.3). Of a decoded one, all bytes are parts of the packet's body.
type Publish struct {
	Dup      bool   // it may have been sent before; never for QoS 0
	QoS      byte   // 0 to 2
	Retain   bool   // to be retained, or was
	Topic    []byte // without wildcards; empty only with a topic alias
	PacketID uint16 // 0 for QoS 0
	Payload  []byte // any bytes
	Properties
}

// DecodePublish reads a PUBLISH.
func DecodePublish(p mqtt.Packet, out *Publish) error {
	*out = Publish{Dup: p.Flags&8 != 0, QoS: p.Flags >> 1 & 3, Retain: p.Flags&1 != 0}
	c := cursor{b: p.Body}
	if out.QoS == 3 {
		c.fail("3.3.1.2", "QoS 3")
	}
	if out.QoS == 0 && out.Dup {
		c.fail("3.3.1.1", "DUP on QoS 0")
	}
	out.Topic = c.text()
	if out.QoS > 0 {
		out.PacketID = c.packetID()
	}
	c.properties(mqtt.PUBLISH, &out.Properties)
	_, alias := out.Number(TopicAlias)
	if c.err == nil && !mqtt.ValidTopic(out.Topic) && (len(out.Topic) > 0 || !alias) {
		c.fail("3.3.2.1", "a topic name is empty without an alias, or holds a wildcard")
	}
	out.Payload = c.b
	return c.err
}

// Ack is a decoded PUBACK, PUBREC, PUBREL or PUBCOMP (sections 3.4 to 3.7).
type Ack struct {
	PacketID uint16
	// Code says by section 2.4 that all is well below Unspecified. Which ones a packet may have is not checked: mochi-mqtt says with 1,
	// which is of SUBACK, that all is well with a message with QoS 1 and user properties.
	Code byte
	Properties
}

// DecodeAck reads the body of a PUBACK, PUBREC, PUBREL or PUBCOMP.
func DecodeAck(t mqtt.Type, body []byte, out *Ack) error {
	c := cursor{b: body}
	*out = Ack{PacketID: c.packetID()}
	if len(c.b) == 0 {
		return c.err
	}
	out.Code = c.byte()
	if len(c.b) > 0 {
		c.properties(t, &out.Properties)
	}
	return c.end()
}

// Codes is a decoded SUBACK or UNSUBACK (sections 3.9 and 3.11).
type Codes struct {
	PacketID uint16
	Codes    []byte // one for each filter, as many as came; parts of the packet's body
	Properties
}

// DecodeCodes reads the body of a SUBACK or an UNSUBACK.
func DecodeCodes(t mqtt.Type, body []byte, out *Codes) error {
	c := cursor{b: body}
	*out = Codes{PacketID: c.packetID()}
	c.properties(t, &out.Properties)
	out.Codes = c.b
	if c.err == nil && len(out.Codes) == 0 {
		c.fail("3.9.3", "no reason code")
	}
	for _, code := range out.Codes {
		if t == mqtt.SUBACK && code > 2 && code < Unspecified || t == mqtt.UNSUBACK && code != 0 && code != noSubscription && code < Unspecified {
			c.fail("3.9.3", "an unknown reason code")
			break
		}
	}
	return c.err
}

// Reason is a decoded DISCONNECT or AUTH (sections 3.14 and 3.15).
type Reason struct {
	Code byte
	Properties
}

// DecodeReason reads the body of a DISCONNECT or an AUTH.
func DecodeReason(t mqtt.Type, body []byte, out *Reason) error {
	*out = Reason{}
	if len(body) == 0 {
		return nil
	}
	c := cursor{b: body}
	out.Code = c.byte()
	known := out.Code >= Unspecified || out.Code == 0 || out.Code == withWill
	section := "3.14.2.1"
	if t == AUTH {
		known, section = out.Code == 0 || out.Code == continueAuth || out.Code == authAgain, "3.15.2.1"
	}
	if !known {
		c.fail(section, "an unknown reason code")
	}
	if len(c.b) > 0 {
		c.properties(t, &out.Properties)
	}
	return c.end()
}
