package v5

import (
	"encoding/binary"

	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// MaxVarint is the largest variable byte integer (section 1.5.5).
const MaxVarint = 268_435_455

func varintSize(v int) int {
	n := 1
	for ; v > 0x7f; v >>= 7 {
		n++
	}
	return n
}

func appendVarint(dst []byte, v int) []byte {
	for ; v > 0x7f; v >>= 7 {
		dst = append(dst, byte(v)|0x80)
	}
	return append(dst, byte(v))
}

func appendField[T []byte | string](dst []byte, v T) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(v))), v...)
}

// Will is what the target sends when the connection is lost (section 3.1.3).
type Will struct {
	QoS     byte
	Retain  bool
	Topic   []byte
	Payload []byte // up to mqtt.MaxField bytes
	Properties
}

// Connect is a CONNECT (section 3.1).
type Connect struct {
	CleanStart  bool
	KeepAlive   uint16 // seconds; 0 for no limit
	ClientID    []byte // empty for one that the server gives
	Will        *Will  // nil for none
	HasUsername bool
	Username    []byte // UTF-8
	HasPassword bool
	Password    []byte // any bytes; needs no user name
	Properties
}

// AppendConnect appends a CONNECT. One with a field above mqtt.MaxField is not written: dst is returned as it is.
func AppendConnect(dst []byte, c *Connect) []byte {
	var flags byte
	n := 10 + c.Properties.prefixed() + 2 + len(c.ClientID)
	fits := c.writable() && len(c.ClientID) <= mqtt.MaxField && len(c.Username) <= mqtt.MaxField && len(c.Password) <= mqtt.MaxField
	if c.CleanStart {
		flags |= 0x02
	}
	if w := c.Will; w != nil {
		flags |= 0x04 | w.QoS<<3
		if w.Retain {
			flags |= 0x20
		}
		n += w.Properties.prefixed() + 4 + len(w.Topic) + len(w.Payload)
		fits = fits && w.writable() && len(w.Topic) <= mqtt.MaxField && len(w.Payload) <= mqtt.MaxField
	}
	if c.HasUsername {
		flags |= 0x80
		n += 2 + len(c.Username)
	}
	if c.HasPassword {
		flags |= 0x40
		n += 2 + len(c.Password)
	}
	if !fits || n > mqtt.MaxBody {
		return dst
	}
	dst = mqtt.AppendHeader(dst, mqtt.CONNECT, 0, n)
	dst = append(appendField(dst, "MQTT"), 5, flags)
	dst = c.Properties.append(binary.BigEndian.AppendUint16(dst, c.KeepAlive))
	dst = appendField(dst, c.ClientID)
	if w := c.Will; w != nil {
		dst = appendField(appendField(w.Properties.append(dst), w.Topic), w.Payload)
	}
	if c.HasUsername {
		dst = appendField(dst, c.Username)
	}
	if c.HasPassword {
		dst = appendField(dst, c.Password)
	}
	return dst
}

// prefixed is the size of the properties with their length before them.
func (p *Properties) prefixed() int {
	n := p.size()
	return varintSize(n) + n
}

// body is the size of a PUBLISH after its fixed header.
func (p *Publish) body() int {
	n := 2 + len(p.Topic) + p.prefixed() + len(p.Payload)
	if p.QoS > 0 {
		n += 2
	}
	return n
}

// Size is the size of the whole packet, in bytes; 0 for one that no packet holds.
func (p *Publish) Size() int {
	n := p.body()
	if n > mqtt.MaxBody || len(p.Topic) > mqtt.MaxField || !p.writable() {
		return 0
	}
	return 1 + varintSize(n) + n
}

// AppendPublish appends a PUBLISH. The packet identifier is left out for QoS 0. One without a Size is not written: dst is returned as it
// is.
func AppendPublish(dst []byte, p *Publish) []byte {
	if p.Size() == 0 {
		return dst
	}
	flags := p.QoS << 1
	if p.Retain {
		flags |= 1
	}
	if p.Dup {
		flags |= 8
	}
	dst = appendField(mqtt.AppendHeader(dst, mqtt.PUBLISH, flags, p.body()), p.Topic)
	if p.QoS > 0 {
		dst = binary.BigEndian.AppendUint16(dst, p.PacketID)
	}
	return append(p.Properties.append(dst), p.Payload...)
}

// AppendAck appends a PUBACK, PUBREC, PUBREL or PUBCOMP.
func AppendAck(dst []byte, t mqtt.Type, id uint16, code byte) []byte {
	if code == 0 {
		return mqtt.AppendAck(dst, t, id)
	}
	var flags byte
	if t == mqtt.PUBREL {
		flags = 2
	}
	return append(binary.BigEndian.AppendUint16(mqtt.AppendHeader(dst, t, flags, 3), id), code)
}

// Subscription is one topic filter of a SUBSCRIBE, with its options (section 3.8.3.1).
type Subscription struct {
	Filter            []byte
	QoS               byte // the most that is wanted, 0 to 2
	NoLocal           bool // not what this client publishes
	RetainAsPublished bool // the retain flag stays as it was published
	RetainHandling    byte // 0 to 2
}

// AppendSubscribe appends a SUBSCRIBE with a subscription identifier, which is left out when 0. One with a filter above mqtt.MaxField is
// not written: dst is returned as it is.
func AppendSubscribe(dst []byte, id uint16, identifier uint32, filters ...Subscription) []byte {
	var p Properties
	if identifier > 0 {
		p.IDs = []uint32{identifier}
	}
	n := 2 + p.prefixed()
	for _, f := range filters {
		if n += 3 + len(f.Filter); len(f.Filter) > mqtt.MaxField || n > mqtt.MaxBody {
			return dst
		}
	}
	dst = p.append(binary.BigEndian.AppendUint16(mqtt.AppendHeader(dst, mqtt.SUBSCRIBE, 2, n), id))
	for _, f := range filters {
		options := f.QoS | f.RetainHandling<<4
		if f.NoLocal {
			options |= 1 << 2
		}
		if f.RetainAsPublished {
			options |= 1 << 3
		}
		dst = append(appendField(dst, f.Filter), options)
	}
	return dst
}

// AppendDisconnect appends a DISCONNECT.
func AppendDisconnect(dst []byte, code byte, p *Properties) []byte {
	n := p.prefixed()
	switch {
	case n > 1:
		return p.append(append(mqtt.AppendHeader(dst, mqtt.DISCONNECT, 0, 1+n), code))
	case code != 0:
		return append(mqtt.AppendHeader(dst, mqtt.DISCONNECT, 0, 1), code)
	}
	return mqtt.AppendEmpty(dst, mqtt.DISCONNECT)
}
