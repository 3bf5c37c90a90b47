// Package framing cuts a stream into MQTT packets, with little memory for each connection.
package framing

import (
	"errors"
	"fmt"
	"io"

	"github.com/twinfleet/twinfleet/internal/mqtt"
)

const (
	// smallBuffer holds nearly every packet of a device; a larger one is read into a buffer of its own.
	smallBuffer = 256
	// DefaultMaxPacket bounds a packet when Reader.MaxPacket is 0: a message of 256 KiB and its headers.
	DefaultMaxPacket = 256<<10 + 64<<10
)

// ErrTooLarge is returned for a packet above Reader.MaxPacket, before anything is allocated for it.
var ErrTooLarge = errors.New("MQTT packet too large")

// Reader cuts a stream into packets. A packet is valid until the next call of Next.
type Reader struct {
	MaxPacket int // bytes after the fixed header; DefaultMaxPacket when 0

	r          io.Reader
	buf        []byte
	start, end int // the unread bytes of buf
}

// NewReader reads from r. It buffers, so r must not be read by anyone else.
func NewReader(r io.Reader) *Reader { return &Reader{r: r, buf: make([]byte, smallBuffer)} }

// fill makes at least n unread bytes available.
func (r *Reader) fill(n int) error {
	if r.end-r.start >= n {
		return nil
	}
	if r.start > 0 && r.start+n > len(r.buf) {
		copy(r.buf, r.buf[r.start:r.end])
		r.end -= r.start
		r.start = 0
	}
	if n > len(r.buf) {
		larger := make([]byte, n)
		copy(larger, r.buf[r.start:r.end])
		r.buf, r.end, r.start = larger, r.end-r.start, 0
	}
	for r.end-r.start < n {
		k, err := r.r.Read(r.buf[r.end:])
		r.end += k
		if k == 0 && err == nil {
			err = io.ErrNoProgress
		}
		if err != nil && r.end-r.start < n {
			if errors.Is(err, io.EOF) && r.end > r.start {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// shrink gives a large buffer back when it is no longer needed.
func (r *Reader) shrink() {
	if len(r.buf) > smallBuffer && r.end-r.start <= smallBuffer {
		small := make([]byte, smallBuffer)
		copy(small, r.buf[r.start:r.end])
		r.buf, r.end, r.start = small, r.end-r.start, 0
	}
}

// Next reads the next packet. It returns io.EOF when the stream ends between packets, errors that
// match ErrProtocol or ErrTooLarge for bytes that are no packet, and the stream's own errors.
func (r *Reader) Next() (mqtt.Packet, error) {
	r.shrink()
	if err := r.fill(2); err != nil {
		return mqtt.Packet{}, err
	}
	first := r.buf[r.start]
	// Remaining length: up to four bytes of seven bits, the lowest first (section 2.2.3).
	length, header := 0, 1
	for shift := 0; ; shift += 7 {
		if shift > 21 {
			return mqtt.Packet{}, mqtt.Violation("2.2.3", "the remaining length has more than four bytes")
		}
		if err := r.fill(header + 1); err != nil {
			return mqtt.Packet{}, err
		}
		b := r.buf[r.start+header]
		header++
		length |= int(b&0x7f) << shift
		if b < 0x80 {
			break
		}
	}
	limit := r.MaxPacket
	if limit == 0 {
		limit = DefaultMaxPacket
	}
	if length > limit {
		return mqtt.Packet{}, fmt.Errorf("%w: %d bytes; at most %d are taken", ErrTooLarge, length, limit)
	}
	p := mqtt.Packet{Type: mqtt.Type(first >> 4), Flags: first & 0x0f}
	if err := checkHeader(p.Type, p.Flags, length); err != nil {
		return mqtt.Packet{}, err
	}
	if err := r.fill(header + length); err != nil {
		return mqtt.Packet{}, err
	}
	from := r.start + header
	p.Body = r.buf[from : from+length : from+length]
	r.start = from + length
	return p, nil
}

// checkHeader holds the reserved flags and the lengths that a type fixes (sections 2.2.1, 2.2.2).
func checkHeader(t mqtt.Type, flags byte, length int) error {
	want := byte(0)
	switch t {
	case mqtt.PUBLISH:
		want = flags
	case mqtt.PUBREL, mqtt.SUBSCRIBE, mqtt.UNSUBSCRIBE:
		want = 2
	}
	if flags != want {
		return mqtt.Violation("2.2.2", "reserved header flags are set")
	}
	switch t {
	case mqtt.CONNACK, mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBREL, mqtt.PUBCOMP, mqtt.UNSUBACK:
		if length != 2 {
			return mqtt.Violation("2.2.3", "wrong length for the packet's type")
		}
	case mqtt.PINGREQ, mqtt.PINGRESP, mqtt.DISCONNECT:
		if length != 0 {
			return mqtt.Violation("2.2.3", "wrong length for the packet's type")
		}
	case mqtt.CONNECT, mqtt.PUBLISH, mqtt.SUBSCRIBE, mqtt.SUBACK, mqtt.UNSUBSCRIBE:
	default:
		return mqtt.Violation("2.2.1", "a reserved packet type")
	}
	return nil
}

// Check holds the flags and lengths that a version of MQTT fixes for a type: header is how many bytes the fixed header has, length how
// many come after it.
type Check func(t mqtt.Type, flags byte, header, length int) error

// V311 is the Check of MQTT 3.1.1.
func V311(t mqtt.Type, flags byte, _, length int) error { return checkHeader(t, flags, length) }

// Cut cuts the first packet off b, of which it is a part, and returns how many bytes it takes; 0 when more have to come first. A
// packet may have up to most bytes after its header; DefaultMaxPacket when 0. Errors are those of Reader.Next.
func Cut(b []byte, most int) (p mqtt.Packet, n int, err error) { return cut(b, most, V311) }

func cut(b []byte, most int, check Check) (p mqtt.Packet, n int, err error) {
	if most == 0 {
		most = DefaultMaxPacket
	}
	length, header := 0, 1
	for shift := 0; ; shift += 7 {
		if shift > 21 {
			return p, 0, mqtt.Violation("2.2.3", "the remaining length has more than four bytes")
		}
		if len(b) <= header {
			return p, 0, nil
		}
		x := b[header]
		header++
		length |= int(x&0x7f) << shift
		if x < 0x80 {
			break
		}
	}
	if length > most {
		return p, 0, fmt.Errorf("%w: %d bytes; at most %d are taken", ErrTooLarge, length, most)
	}
	p = mqtt.Packet{Type: mqtt.Type(b[0] >> 4), Flags: b[0] & 0x0f}
	if err := check(p.Type, p.Flags, header, length); err != nil {
		return mqtt.Packet{}, 0, err
	}
	if len(b) < header+length {
		return mqtt.Packet{}, 0, nil
	}
	p.Body = b[header : header+length : header+length]
	return p, header + length, nil
}
