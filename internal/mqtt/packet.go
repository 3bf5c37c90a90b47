// Package mqtt is a strict codec for MQTT 3.1.1 over bytes. Every length is checked before it is
// trusted, and decoding a packet allocates nothing: strings and payloads are parts of the buffer.
package mqtt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Type is the kind of a control packet (MQTT 3.1.1 section 2.2.1).
type Type byte

// The control packets.
const (
	CONNECT     Type = 1
	CONNACK     Type = 2
	PUBLISH     Type = 3
	PUBACK      Type = 4
	PUBREC      Type = 5
	PUBREL      Type = 6
	PUBCOMP     Type = 7
	SUBSCRIBE   Type = 8
	SUBACK      Type = 9
	UNSUBSCRIBE Type = 10
	UNSUBACK    Type = 11
	PINGREQ     Type = 12
	PINGRESP    Type = 13
	DISCONNECT  Type = 14
)

// Return codes of CONNACK (MQTT 3.1.1 section 3.2.2.3).
const (
	Accepted           byte = 0
	BadProtocolVersion byte = 1
	BadClientID        byte = 2
	Unavailable        byte = 3
	BadCredentials     byte = 4
	NotAuthorized      byte = 5
)

// SubackFailure is the return code of a refused topic filter (MQTT 3.1.1 section 3.9.3).
const SubackFailure byte = 0x80

// ErrProtocol is the class of all violations of the protocol. Texts name the section.
var ErrProtocol = errors.New("MQTT protocol violation")

// Violation is an error of class [ErrProtocol]: what is wrong, by which section of the standard.
func Violation(section, what string) error {
	return fmt.Errorf("%w: %s (section %s)", ErrProtocol, what, section)
}

// Packet is a control packet: its fixed header and the bytes after it.
type Packet struct {
	Type  Type   // never a reserved one
	Flags byte   // the low four bits of the first byte
	Body  []byte // variable header and payload; part of the reader's buffer
}

// Connect is a decoded CONNECT (section 3.1). Strings and slices are parts of the packet's body.
type Connect struct {
	ProtocolName  []byte // "MQTT"; of another version the fields after ProtocolLevel are zero
	ProtocolLevel byte   // 4 for MQTT 3.1.1
	CleanSession  bool   // nothing is kept from the session before, and nothing after this one
	KeepAlive     uint16 // seconds; 0 for no limit
	ClientID      []byte // not empty unless CleanSession
	HasWill       bool   // there is a will: the fields that begin with Will count
	WillQoS       byte   // 0 to 2
	WillRetain    bool   // the will is to be retained
	WillTopic     []byte // where the will goes
	WillPayload   []byte // what it says
	HasUsername   bool   // Username counts; it may be empty all the same
	Username      []byte // UTF-8
	HasPassword   bool   // Password counts; there is none without a user name
	Password      []byte // any bytes
}

// Publish is a decoded PUBLISH (section 3.3). Topic and Payload are parts of the packet's body.
type Publish struct {
	Dup      bool   // it may have been sent before; never for QoS 0
	QoS      byte   // 0 to 2
	Retain   bool   // to be retained, or was
	Topic    []byte // without wildcards
	PacketID uint16 // 0 for QoS 0
	Payload  []byte // any bytes
}

// cursor reads a body; the first error sticks.
type cursor struct {
	b   []byte
	err error
}

func (c *cursor) fail(section, what string) {
	if c.err == nil {
		c.err = Violation(section, what)
	}
	c.b = nil
}

func (c *cursor) byte() byte {
	if len(c.b) < 1 {
		c.fail("2.3", "the packet is cut short")
		return 0
	}
	v := c.b[0]
	c.b = c.b[1:]
	return v
}

func (c *cursor) uint16() uint16 {
	if len(c.b) < 2 {
		c.fail("2.3", "the packet is cut short")
		return 0
	}
	v := binary.BigEndian.Uint16(c.b)
	c.b = c.b[2:]
	return v
}

// bytes reads a field with its length before it.
func (c *cursor) bytes() []byte {
	n := int(c.uint16())
	if c.err != nil {
		return nil
	}
	if len(c.b) < n {
		c.fail("1.5.3", "a field is longer than its packet")
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

// text reads a string: UTF-8 without U+0000 (section 1.5.3).
func (c *cursor) text() []byte {
	v := c.bytes()
	if c.err == nil && !validText(v) {
		c.fail("1.5.3", "a string is not UTF-8, or holds U+0000")
		return nil
	}
	return v
}

func validText(v []byte) bool {
	for _, b := range v {
		if b == 0 {
			return false
		}
	}
	return utf8.Valid(v)
}

func (c *cursor) packetID() uint16 {
	id := c.uint16()
	if c.err == nil && id == 0 {
		c.fail("2.3.1", "packet identifier 0")
	}
	return id
}

func (c *cursor) end() error {
	if c.err == nil && len(c.b) > 0 {
		c.fail("2.2.3", "bytes after the end of the packet")
	}
	return c.err
}

// DecodeConnect reads the body of a CONNECT. A protocol name or level other than MQTT 3.1.1 is no
// error here: the server answers it with a return code.
func DecodeConnect(body []byte, out *Connect) error {
	c := cursor{b: body}
	*out = Connect{ProtocolName: c.text(), ProtocolLevel: c.byte()}
	if c.err == nil && (string(out.ProtocolName) != "MQTT" || out.ProtocolLevel != 4) {
		return nil // the rest of another version's CONNECT has another shape
	}
	flags := c.byte()
	out.KeepAlive = c.uint16()
	out.CleanSession = flags&0x02 != 0
	out.HasWill = flags&0x04 != 0
	out.WillQoS = flags >> 3 & 3
	out.WillRetain = flags&0x20 != 0
	out.HasPassword = flags&0x40 != 0
	out.HasUsername = flags&0x80 != 0
	switch {
	case flags&1 != 0:
		c.fail("3.1.2.3", "the reserved connect flag is set")
	case out.WillQoS == 3, !out.HasWill && (out.WillQoS != 0 || out.WillRetain):
		c.fail("3.1.2.6", "the will flags contradict each other")
	case out.HasPassword && !out.HasUsername:
		c.fail("3.1.2.9", "a password without a user name")
	}
	out.ClientID = c.text()
	if c.err == nil && len(out.ClientID) == 0 && !out.CleanSession {
		c.fail("3.1.3.1", "an empty client identifier without a clean session")
	}
	if out.HasWill {
		out.WillTopic = c.text()
		out.WillPayload = c.bytes()
	}
	if out.HasUsername {
		out.Username = c.text()
	}
	if out.HasPassword {
		out.Password = c.bytes()
	}
	return c.end()
}

// DecodePublish reads a PUBLISH.
func DecodePublish(p Packet, out *Publish) error {
	*out = Publish{Dup: p.Flags&8 != 0, QoS: p.Flags >> 1 & 3, Retain: p.Flags&1 != 0}
	c := cursor{b: p.Body}
	if out.QoS == 3 {
		c.fail("3.3.1.2", "QoS 3")
	}
	if out.QoS == 0 && out.Dup {
		c.fail("3.3.1.1", "DUP on QoS 0")
	}
	out.Topic = c.text()
	if c.err == nil && !ValidTopic(out.Topic) {
		c.fail("3.3.2.1", "a topic name is empty or holds a wildcard")
	}
	if out.QoS > 0 {
		out.PacketID = c.packetID()
	}
	out.Payload = c.b
	return c.err
}

// ValidTopic reports whether a topic name is allowed in a PUBLISH (section 4.7.1).
func ValidTopic[T []byte | string](topic T) bool {
	if len(topic) == 0 {
		return false
	}
	for i := range len(topic) {
		if topic[i] == '#' || topic[i] == '+' {
			return false
		}
	}
	return true
}

// ValidFilter reports whether a topic filter is well formed (section 4.7.1).
func ValidFilter[T []byte | string](filter T) bool {
	if len(filter) == 0 {
		return false
	}
	for i := range len(filter) {
		alone := (i == 0 || filter[i-1] == '/') && (i == len(filter)-1 || filter[i+1] == '/')
		if filter[i] == '+' && !alone || filter[i] == '#' && (!alone || i != len(filter)-1) {
			return false
		}
	}
	return true
}

// DecodeAck reads the packet identifier of PUBACK, PUBREC, PUBREL, PUBCOMP or UNSUBACK.
func DecodeAck(body []byte) (uint16, error) {
	c := cursor{b: body}
	id := c.packetID()
	return id, c.end()
}

// DecodeConnack reads a CONNACK.
func DecodeConnack(body []byte) (sessionPresent bool, code byte, err error) {
	c := cursor{b: body}
	flags := c.byte()
	code = c.byte()
	if c.err == nil && flags > 1 {
		c.fail("3.2.2.1", "reserved acknowledge flags are set")
	}
	return flags&1 != 0, code, c.end()
}

// Subscription is one topic filter of a SUBSCRIBE.
type Subscription struct {
	Filter []byte // well formed, see ValidFilter
	QoS    byte   // the most that is wanted, 0 to 2
}

// DecodeSubscribe reads a SUBSCRIBE and calls each for every topic filter in it.
func DecodeSubscribe(body []byte, each func(Subscription)) (uint16, error) {
	return decodeFilters(body, true, each)
}

// DecodeUnsubscribe reads an UNSUBSCRIBE and calls each for every topic filter in it.
func DecodeUnsubscribe(body []byte, each func(filter []byte)) (uint16, error) {
	return decodeFilters(body, false, func(s Subscription) { each(s.Filter) })
}

func decodeFilters(body []byte, withQoS bool, each func(Subscription)) (uint16, error) {
	c := cursor{b: body}
	id := c.packetID()
	if c.err == nil && len(c.b) == 0 {
		c.fail("3.8.3", "no topic filter")
	}
	for c.err == nil && len(c.b) > 0 {
		s := Subscription{Filter: c.text()}
		if c.err == nil && !ValidFilter(s.Filter) {
			c.fail("4.7.1", "a malformed topic filter")
		}
		if withQoS {
			if s.QoS = c.byte(); c.err == nil && s.QoS > 2 {
				c.fail("3.8.3", "a requested QoS above 2")
			}
		}
		if c.err == nil {
			each(s)
		}
	}
	return id, c.err
}

// DecodeSuback reads a SUBACK: the packet identifier and a return code for each filter.
func DecodeSuback(body []byte) (id uint16, codes []byte, err error) {
	c := cursor{b: body}
	id = c.packetID()
	codes = c.b
	if c.err == nil && len(codes) == 0 {
		c.fail("3.9.3", "no return code")
	}
	for _, code := range codes {
		if code > 2 && code != SubackFailure {
			c.fail("3.9.3", "an unknown return code")
			break
		}
	}
	return id, codes, c.err
}
