package v5

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"

	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// cursor reads a body; the first error sticks.
type cursor struct {
	b   []byte
	err error
}

func (c *cursor) fail(section, what string) {
	if c.err == nil {
		c.err = mqtt.Violation(section, what)
	}
	c.b = nil
}

// next takes n bytes.
func (c *cursor) next(n int) []byte {
	if len(c.b) < n {
		c.fail("2.1.4", "the packet, or its properties, are cut short")
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

func (c *cursor) byte() byte {
	if v := c.next(1); v != nil {
		return v[0]
	}
	return 0
}

func (c *cursor) uint16() uint16 {
	if v := c.next(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (c *cursor) uint32() uint32 {
	if v := c.next(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

// varint reads a variable byte integer, which has as few bytes as it can (section 1.5.5).
func (c *cursor) varint() int {
	v := 0
	for shift := 0; shift <= 21; shift += 7 {
		b := c.byte()
		v |= int(b&0x7f) << shift
		switch {
		case c.err != nil:
			return 0
		case b == 0 && shift > 0:
			c.fail("1.5.5", "a variable byte integer is longer than it has to be")
			return 0
		case b < 0x80:
			return v
		}
	}
	c.fail("1.5.5", "a variable byte integer has more than four bytes")
	return 0
}

// bytes reads binary data, or the bytes of a string.
func (c *cursor) bytes() []byte {
	n := int(c.uint16())
	if c.err == nil && len(c.b) < n {
		c.fail("1.5.6", "a field is longer than its packet, or its properties")
	}
	if c.err != nil {
		return nil
	}
	return c.next(n)
}

// text reads a string: UTF-8 without U+0000.
func (c *cursor) text() []byte {
	v := c.bytes()
	if c.err == nil && (bytes.IndexByte(v, 0) >= 0 || !utf8.Valid(v)) {
		c.fail("1.5.4", "a string is not UTF-8, or holds U+0000")
		return nil
	}
	return v
}

func (c *cursor) packetID() uint16 {
	id := c.uint16()
	if c.err == nil && id == 0 {
		c.fail("2.2.1", "packet identifier 0")
	}
	return id
}

func (c *cursor) end() error {
	if c.err == nil && len(c.b) > 0 {
		c.fail("2.1.4", "bytes after the end of the packet")
	}
	return c.err
}
