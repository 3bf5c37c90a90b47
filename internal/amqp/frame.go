package amqp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
)

// Header is the eight bytes with which each side begins a layer (part 2, section 2.2).
type Header [8]byte

// The headers of the layers.
var (
	HeaderAMQP = Header{'A', 'M', 'Q', 'P', 0, 1, 0, 0}
	HeaderSASL = Header{'A', 'M', 'Q', 'P', 3, 1, 0, 0}
)

// IsHeader reports whether the first bytes of b begin a header rather than a frame: the size of a frame would be more than a gigabyte.
func IsHeader(b []byte) bool { return len(b) >= 4 && string(b[:4]) == "AMQP" }

// The types of frames.
const (
	FrameAMQP = 0 // of a connection
	FrameSASL = 1 // of its security layer
)

// Sizes of frames, in bytes.
const (
	FrameHeader  = 8   // before a frame's body
	MinMaxFrame  = 512 // that every peer takes (part 2, section 2.4.1)
	maxSASLFrame = 64 << 10
)

// ErrFrameSize is matched by errors of frames that are larger than may be, before anything is kept of them: amqp:connection:framing-error.
var ErrFrameSize = errors.New("AMQP frame too large")

// Frame is one frame.
type Frame struct {
	Type    byte   // FrameAMQP or FrameSASL
	Channel uint16 // of the session; 0 of a SASL frame
	Body    []byte // performative and payload; empty in a heartbeat
}

// Cut takes the first frame off b, of which it is a part, and returns how many bytes it has; 0 when more have to come first. most is
// the largest frame, in bytes, header and all; 64 KiB when 0. Errors match ErrDecode or ErrFrameSize.
func Cut(b []byte, most uint32) (f Frame, n int, err error) {
	if most == 0 {
		most = maxSASLFrame
	}
	if len(b) < 4 {
		return f, 0, nil
	}
	size := binary.BigEndian.Uint32(b)
	switch {
	case size > most:
		return f, 0, fmt.Errorf("%w: %d bytes; at most %d are taken", ErrFrameSize, size, most)
	case size < FrameHeader:
		return f, 0, malformed("a frame of %d bytes", size)
	case len(b) < FrameHeader:
		return f, 0, nil
	}
	offset := uint32(b[4]) * 4
	if offset < FrameHeader || offset > size {
		return f, 0, malformed("a frame of %d bytes whose body begins at %d", size, offset)
	}
	if b[5] != FrameAMQP && b[5] != FrameSASL {
		return f, 0, malformed("a frame of type %d", b[5])
	}
	if uint64(len(b)) < uint64(size) {
		return f, 0, nil
	}
	f = Frame{Type: b[5], Channel: binary.BigEndian.Uint16(b[6:]), Body: b[offset:size:size]}
	return f, int(size), nil
}

// BeginFrame begins a frame; EndFrame ends it, with what BeginFrame has returned.
func BeginFrame(b []byte, kind byte, channel uint16) (frame []byte, start int) {
	return append(b, 0, 0, 0, 0, 2, kind, byte(channel>>8), byte(channel)), len(b)
}

// EndFrame ends a frame.
func EndFrame(b []byte, start int) []byte {
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start))
	return b
}

// AppendHeartbeat appends an empty frame.
func AppendHeartbeat(b []byte) []byte {
	b, start := BeginFrame(b, FrameAMQP, 0)
	return EndFrame(b, start)
}

// AppendFrame appends a frame with a performative, and the payload of a transfer behind it.
func AppendFrame(b []byte, channel uint16, p Performative, payload []byte) []byte {
	b, start := BeginFrame(b, FrameAMQP, channel)
	b = append(p.Append(b), payload...)
	return EndFrame(b, start)
}

// AppendTransfer appends the next frame of a delivery, with at most so many bytes of what is left of its message, and returns what is
// left then. Of t it says whether more follows, and leaves what is for the frame after it: the first one alone has the delivery's id, tag
// and format. An empty message has a frame too.
func AppendTransfer(b []byte, channel uint16, t *Transfer, message []byte, most int) (frame, rest []byte) {
	n := min(len(message), most)
	t.More = n < len(message)
	b, start := BeginFrame(b, FrameAMQP, channel)
	b = EndFrame(append(t.Append(b), message[:n]...), start)
	t.DeliveryID, t.DeliveryTag, t.MessageFormat = Uint32{}, nil, Uint32{}
	return b, message[n:]
}

// AppendSASL appends a frame of the security layer.
func AppendSASL(b []byte, p Performative) []byte {
	b, start := BeginFrame(b, FrameSASL, 0)
	return EndFrame(p.Append(b), start)
}

// Performative is the first part of a frame's body.
type Performative interface {
	// Append appends it with all its fields, also those at the end that have no value: some peers read fields by their place.
	Append(b []byte) []byte
}

// Codes of performatives (part 2, section 2.7; part 5, section 5.3.3).
const (
	CodeOpen        = 0x10
	CodeBegin       = 0x11
	CodeAttach      = 0x12
	CodeFlow        = 0x13
	CodeTransfer    = 0x14
	CodeDisposition = 0x15
	CodeDetach      = 0x16
	CodeEnd         = 0x17
	CodeClose       = 0x18

	CodeMechanisms = 0x40
	CodeInit       = 0x41
	CodeChallenge  = 0x42
	CodeResponse   = 0x43
	CodeOutcome    = 0x44
)

// Body is a frame's body, cut into its performative and the payload behind it.
type Body struct {
	Code    byte  // of the performative
	Fields  Value // a list
	Payload []byte
}

// Parse cuts a frame's body. An error matches ErrDecode.
func Parse(body []byte) (p Body, err error) {
	if len(body) == 0 {
		return p, malformed("a frame without a performative")
	}
	n, err := check(body, 0)
	if err != nil {
		return p, err
	}
	descriptor, fields, ok := Value(body[:n]).Describe()
	if !ok {
		return p, malformed("a frame begins with a %v, which is no performative", kindOf(body[0]))
	}
	code, ok := codeOf(descriptor)
	if !ok || fields.Kind() != List {
		return p, malformed("a frame begins with what is no performative")
	}
	return Body{Code: code, Fields: fields, Payload: body[n:]}, nil
}

// codeOf is the code of a descriptor of the standard: a number, or the name for it.
func codeOf(descriptor Value) (byte, bool) {
	if descriptor.Kind() == Ulong {
		n, _ := descriptor.Uint()
		return byte(n), n <= math.MaxUint8
	}
	if descriptor.Kind() != Symbol {
		return 0, false
	}
	name, _ := descriptor.Text()
	code, ok := byName(strings.TrimSuffix(strings.TrimPrefix(name, "amqp:"), ":list"))
	return code, ok
}

// byName is the code of a described type by the middle of its symbol, such as open of amqp:open:list.
func byName(name string) (byte, bool) {
	switch name {
	case "open":
		return CodeOpen, true
	case "begin":
		return CodeBegin, true
	case "attach":
		return CodeAttach, true
	case "flow":
		return CodeFlow, true
	case "transfer":
		return CodeTransfer, true
	case "disposition":
		return CodeDisposition, true
	case "detach":
		return CodeDetach, true
	case "end":
		return CodeEnd, true
	case "close":
		return CodeClose, true
	case "sasl-mechanisms":
		return CodeMechanisms, true
	case "sasl-init":
		return CodeInit, true
	case "sasl-challenge":
		return CodeChallenge, true
	case "sasl-response":
		return CodeResponse, true
	case "sasl-outcome":
		return CodeOutcome, true
	case "error":
		return codeError, true
	case "received":
		return byte(Received), true
	case "accepted":
		return byte(Accepted), true
	case "rejected":
		return byte(Rejected), true
	case "released":
		return byte(Released), true
	case "modified":
		return byte(Modified), true
	case "source":
		return codeSource, true
	case "target":
		return codeTarget, true
	case "header":
		return SectionHeader, true
	case "delivery-annotations:map":
		return SectionDeliveryAnnotations, true
	case "message-annotations:map":
		return SectionMessageAnnotations, true
	case "properties":
		return SectionProperties, true
	case "application-properties:map":
		return SectionApplicationProperties, true
	case "data:binary":
		return SectionData, true
	case "amqp-sequence":
		return SectionSequence, true
	case "amqp-value:*":
		return SectionValue, true
	case "footer:map":
		return SectionFooter, true
	}
	return 0, false
}
