package v5

import (
	"encoding/binary"

	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// ID is the identifier of a property (section 2.2.2.2).
type ID byte

// The properties.
const (
	PayloadFormat        ID = 1
	MessageExpiry        ID = 2
	ContentType          ID = 3
	ResponseTopic        ID = 8
	CorrelationData      ID = 9
	SubscriptionID       ID = 11
	SessionExpiry        ID = 17
	AssignedClientID     ID = 18
	ServerKeepAlive      ID = 19
	AuthMethod           ID = 21
	AuthData             ID = 22
	RequestProblem       ID = 23
	WillDelay            ID = 24
	RequestResponse      ID = 25
	ResponseInformation  ID = 26
	ServerReference      ID = 28
	ReasonString         ID = 31
	ReceiveMaximum       ID = 33
	TopicAliasMaximum    ID = 34
	TopicAlias           ID = 35
	MaximumQoS           ID = 36
	RetainAvailable      ID = 37
	UserProperty         ID = 38
	MaximumPacketSize    ID = 39
	WildcardAvailable    ID = 40
	IdentifiersAvailable ID = 41
	SharedAvailable      ID = 42
)

// kind is how the value of a property is written.
type kind byte

const (
	none   kind = iota // no property
	flag               // one byte, 0 or 1: no property has another
	two                // two bytes
	four               // four bytes
	varint             // a variable byte integer
	text               // a string
	binaryData
	pair // two strings
)

// places are the packets that may hold a property, a bit each; will is that of the will in a CONNECT.
type places uint32

const will mqtt.Type = 0

// The sets of packets that the table of section 2.2.2.2 has.
const (
	inMessage    = places(1<<will | 1<<mqtt.PUBLISH)
	inConnects   = places(1<<mqtt.CONNECT | 1<<mqtt.CONNACK)
	inConnack    = places(1 << mqtt.CONNACK)
	inAuth       = inConnects | places(1<<AUTH)
	inEverything = places(1<<will | 1<<mqtt.CONNECT | 1<<mqtt.PUBLISH | 1<<mqtt.SUBSCRIBE | 1<<mqtt.UNSUBSCRIBE)
	inAnswers    = places(1<<mqtt.CONNACK | 1<<mqtt.PUBACK | 1<<mqtt.PUBREC | 1<<mqtt.PUBREL | 1<<mqtt.PUBCOMP | 1<<mqtt.SUBACK | 1<<mqtt.UNSUBACK |
		1<<mqtt.DISCONNECT | 1<<AUTH)
)

// property is a row of the table of section 2.2.2.2.
type property struct {
	kind    kind
	places  places
	nonzero bool // 0 is an error
}

// about is the table.
func about(id ID) property {
	switch id {
	case PayloadFormat:
		return property{flag, inMessage, false}
	case MessageExpiry:
		return property{four, inMessage, false}
	case ContentType, ResponseTopic:
		return property{text, inMessage, false}
	case CorrelationData:
		return property{binaryData, inMessage, false}
	case SubscriptionID:
		return property{varint, places(1<<mqtt.PUBLISH | 1<<mqtt.SUBSCRIBE), true}
	case SessionExpiry:
		return property{four, inConnects | places(1<<mqtt.DISCONNECT), false}
	case AssignedClientID, ResponseInformation:
		return property{text, inConnack, false}
	case ServerKeepAlive:
		return property{two, inConnack, false}
	case AuthMethod:
		return property{text, inAuth, false}
	case AuthData:
		return property{binaryData, inAuth, false}
	case RequestProblem, RequestResponse:
		return property{flag, places(1 << mqtt.CONNECT), false}
	case WillDelay:
		return property{four, places(1 << will), false}
	case ServerReference:
		return property{text, inConnack | places(1<<mqtt.DISCONNECT), false}
	case ReasonString:
		return property{text, inAnswers, false}
	case ReceiveMaximum:
		return property{two, inConnects, true}
	case TopicAliasMaximum:
		return property{two, inConnects, false}
	case TopicAlias:
		return property{two, places(1 << mqtt.PUBLISH), true}
	case MaximumQoS, RetainAvailable, WildcardAvailable, IdentifiersAvailable, SharedAvailable:
		return property{flag, inConnack, false}
	case UserProperty:
		return property{pair, inEverything | inAnswers, false}
	case MaximumPacketSize:
		return property{four, inConnects, true}
	}
	return property{}
}

// User is a user property. Its texts are parts of the packet's body.
type User struct{ Name, Value []byte }

// Properties are those of one packet. The zero value is none.
type Properties struct {
	User []User   // in their order
	IDs  []uint32 // subscription identifiers, 1 to MaxVarint; only a PUBLISH has several

	has     uint64 // a bit for each ID that numbers and fields have
	numbers []number
	fields  []field
}

// number is a property with a number for its value.
type number struct {
	id ID
	v  uint32
}

// field is a property with a string, or binary data, for its value.
type field struct {
	id ID
	v  []byte
}

// Number is the value of a property that is a number, and whether it is there.
func (p *Properties) Number(id ID) (uint32, bool) {
	if p.has&(1<<id) != 0 {
		for _, x := range p.numbers {
			if x.id == id {
				return x.v, true
			}
		}
	}
	return 0, false
}

// Field is the value of a property that is a string or binary data, and whether it is there. It is a part of the packet's body.
func (p *Properties) Field(id ID) ([]byte, bool) {
	if p.has&(1<<id) != 0 {
		for _, x := range p.fields {
			if x.id == id {
				return x.v, true
			}
		}
	}
	return nil, false
}

// SetNumber adds a property that is a number, and is not there yet.
func (p *Properties) SetNumber(id ID, v uint32) {
	p.has |= 1 << id
	p.numbers = append(p.numbers, number{id, v})
}

// SetField adds a property that is a string or binary data, and is not there yet.
func (p *Properties) SetField(id ID, v []byte) {
	p.has |= 1 << id
	p.fields = append(p.fields, field{id, v})
}

// size is how many bytes the properties take, without their length before them.
func (p *Properties) size() int {
	n := 0
	for _, x := range p.numbers {
		switch about(x.id).kind {
		case flag:
			n += 2
		case two:
			n += 3
		case four:
			n += 5
		}
	}
	for _, x := range p.fields {
		n += 3 + len(x.v)
	}
	for _, x := range p.User {
		n += 5 + len(x.Name) + len(x.Value)
	}
	for _, x := range p.IDs {
		n += 1 + varintSize(int(x))
	}
	return n
}

// writable reports whether all fields are short enough.
func (p *Properties) writable() bool {
	for _, x := range p.fields {
		if len(x.v) > mqtt.MaxField {
			return false
		}
	}
	for _, x := range p.User {
		if len(x.Name) > mqtt.MaxField || len(x.Value) > mqtt.MaxField {
			return false
		}
	}
	return true
}

// append appends the properties, with their length before them.
func (p *Properties) append(dst []byte) []byte {
	dst = appendVarint(dst, p.size())
	for _, x := range p.numbers {
		dst = append(dst, byte(x.id))
		switch about(x.id).kind {
		case flag:
			dst = append(dst, byte(x.v))
		case two:
			dst = binary.BigEndian.AppendUint16(dst, uint16(x.v))
		case four:
			dst = binary.BigEndian.AppendUint32(dst, x.v)
		}
	}
	for _, x := range p.fields {
		dst = appendField(append(dst, byte(x.id)), x.v)
	}
	for _, x := range p.User {
		dst = appendField(appendField(append(dst, byte(UserProperty)), x.Name), x.Value)
	}
	for _, x := range p.IDs {
		dst = appendVarint(append(dst, byte(SubscriptionID)), int(x))
	}
	return dst
}

// properties reads the properties of a packet, which are checked against the table.
func (c *cursor) properties(t mqtt.Type, p *Properties) {
	n := c.varint()
	if n > len(c.b) {
		c.fail("2.2.2.1", "the properties are longer than their packet")
	}
	if c.err != nil {
		return
	}
	rest := c.b[n:]
	c.b = c.b[:n:n]
	for c.err == nil && len(c.b) > 0 {
		c.property(t, p)
	}
	if c.err == nil {
		c.b = rest
	}
}

// property reads one property.
func (c *cursor) property(t mqtt.Type, p *Properties) {
	raw := c.varint()
	if raw > 0x7f { // all that there are have one byte
		raw = 0
	}
	id := ID(raw)
	x := about(id)
	switch {
	case c.err != nil:
		return
	case x.kind == none:
		c.fail("2.2.2.2", "an unknown property")
		return
	case x.places&(1<<t) == 0:
		c.fail("2.2.2.2", "a property of another packet")
		return
	case p.has&(1<<id) != 0, id == SubscriptionID && t == mqtt.SUBSCRIBE && len(p.IDs) > 0:
		c.fail("2.2.2", "a property that comes twice")
		return
	}
	var v int
	switch x.kind {
	case flag:
		if v = int(c.byte()); v > 1 {
			c.fail("2.2.2", "a property that is neither 0 nor 1")
		}
	case two:
		v = int(c.uint16())
	case four:
		v = int(c.uint32())
	case varint:
		v = c.varint()
	case pair:
		name := c.text()
		p.User = append(p.User, User{name, c.text()})
		return
	case text:
		v := c.text()
		if c.err == nil && id == ResponseTopic && !mqtt.ValidTopic(v) {
			c.fail("3.3.2.3.5", "a response topic is empty or holds a wildcard")
		}
		p.SetField(id, v)
		return
	case binaryData:
		p.SetField(id, c.bytes())
		return
	}
	if c.err == nil && x.nonzero && v == 0 {
		c.fail("2.2.2", "a property that must not be 0")
	}
	if id == SubscriptionID {
		p.IDs = append(p.IDs, uint32(v))
		return
	}
	p.SetNumber(id, uint32(v))
}
