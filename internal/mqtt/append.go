package mqtt

// Bounds of what a packet can hold (MQTT 3.1.1 sections 1.5.3 and 2.2.3).
const (
	MaxField = 65_535      // bytes of a string, such as a topic
	MaxBody  = 268_435_455 // bytes after the fixed header
)

// PublishFits reports whether a PUBLISH can hold a topic and a payload of so many bytes.
func PublishFits(topic, payload int) bool { return fits(4+topic+payload, topic) }

// fits reports whether a packet can hold a body of n bytes, with fields of given lengths in it.
func fits(n int, fields ...int) bool {
	for _, field := range fields {
		if field > MaxField {
			return false
		}
	}
	return n <= MaxBody
}

// AppendHeader appends a fixed header for a body of n bytes.
func AppendHeader(dst []byte, t Type, flags byte, n int) []byte {
	dst = append(dst, byte(t)<<4|flags)
	for n > 0x7f {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

func appendUint16(dst []byte, v uint16) []byte { return append(dst, byte(v>>8), byte(v)) }

func appendField[T []byte | string](dst []byte, v T) []byte {
	return append(appendUint16(dst, uint16(len(v))), v...)
}

// AppendConnect appends a CONNECT of MQTT 3.1.1. One with a field above MaxField is not written: dst is returned as it is.
func AppendConnect(dst []byte, c *Connect) []byte {
	var flags byte
	n := 10 + 2 + len(c.ClientID)
	if c.CleanSession {
		flags |= 0x02
	}
	if c.HasWill {
		flags |= 0x04 | c.WillQoS<<3
		if c.WillRetain {
			flags |= 0x20
		}
		n += 4 + len(c.WillTopic) + len(c.WillPayload)
	}
	if c.HasUsername {
		flags |= 0x80
		n += 2 + len(c.Username)
	}
	if c.HasPassword {
		flags |= 0x40
		n += 2 + len(c.Password)
	}
	if !fits(n, len(c.ClientID), len(c.WillTopic), len(c.WillPayload), len(c.Username), len(c.Password)) {
		return dst
	}
	dst = AppendHeader(dst, CONNECT, 0, n)
	dst = appendField(dst, "MQTT")
	dst = append(dst, 4, flags)
	dst = appendUint16(dst, c.KeepAlive)
	dst = appendField(dst, c.ClientID)
	if c.HasWill {
		dst = appendField(appendField(dst, c.WillTopic), c.WillPayload)
	}
	if c.HasUsername {
		dst = appendField(dst, c.Username)
	}
	if c.HasPassword {
		dst = appendField(dst, c.Password)
	}
	return dst
}

// AppendConnack appends a CONNACK.
func AppendConnack(dst []byte, sessionPresent bool, code byte) []byte {
	var flags byte
	if sessionPresent {
		flags = 1
	}
	return append(AppendHeader(dst, CONNACK, 0, 2), flags, code)
}

// AppendPublish appends a PUBLISH. The packet identifier is left out for QoS 0. One that does not fit, see PublishFits, is not
// written: dst is returned as it is.
func AppendPublish(dst []byte, topic string, payload []byte, qos byte, retain, dup bool, id uint16) []byte {
	flags := qos << 1
	if retain {
		flags |= 1
	}
	if dup {
		flags |= 8
	}
	n := 2 + len(topic) + len(payload)
	if qos > 0 {
		n += 2
	}
	if !PublishFits(len(topic), len(payload)) {
		return dst
	}
	dst = appendField(AppendHeader(dst, PUBLISH, flags, n), topic)
	if qos > 0 {
		dst = appendUint16(dst, id)
	}
	return append(dst, payload...)
}

// AppendAck appends a PUBACK, PUBREC, PUBREL, PUBCOMP or UNSUBACK.
func AppendAck(dst []byte, t Type, id uint16) []byte {
	var flags byte
	if t == PUBREL {
		flags = 2
	}
	return appendUint16(AppendHeader(dst, t, flags, 2), id)
}

// AppendSubscribe appends a SUBSCRIBE. One with a filter above MaxField is not written: dst is returned as it is.
func AppendSubscribe(dst []byte, id uint16, filters ...Subscription) []byte {
	n := 2
	for _, f := range filters {
		if n += 3 + len(f.Filter); !fits(n, len(f.Filter)) {
			return dst
		}
	}
	dst = appendUint16(AppendHeader(dst, SUBSCRIBE, 2, n), id)
	for _, f := range filters {
		dst = append(appendField(dst, f.Filter), f.QoS)
	}
	return dst
}

// AppendUnsubscribe appends an UNSUBSCRIBE. One with a filter above MaxField is not written: dst is returned as it is.
func AppendUnsubscribe(dst []byte, id uint16, filters ...string) []byte {
	n := 2
	for _, f := range filters {
		if n += 2 + len(f); !fits(n, len(f)) {
			return dst
		}
	}
	dst = appendUint16(AppendHeader(dst, UNSUBSCRIBE, 2, n), id)
	for _, f := range filters {
		dst = appendField(dst, f)
	}
	return dst
}

// AppendSuback appends a SUBACK.
func AppendSuback(dst []byte, id uint16, codes ...byte) []byte {
	dst = AppendHeader(dst, SUBACK, 0, 2+len(codes))
	return append(appendUint16(dst, id), codes...)
}

// AppendEmpty appends a PINGREQ, PINGRESP or DISCONNECT.
func AppendEmpty(dst []byte, t Type) []byte { return AppendHeader(dst, t, 0, 0) }
