// Package amqp is a strict codec of AMQP 1.0 (OASIS, parts 1 to 5): values, frames, performatives and messages. It opens no
// connection. What it reads it does not copy: what it returns is part of what it was given. It allocates nothing for flow, transfer
// and disposition, and believes no size and no count before there is room for it.
package amqp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/twinfleet/twinfleet/internal/uuid"
)

// ErrDecode is matched by errors of everything that is no AMQP 1.0, amqp:decode-error.
var ErrDecode = errors.New("malformed AMQP")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDecode, fmt.Sprintf(format, args...))
}

// Constructors of values (part 1, section 1.6).
const (
	tDescribed  = 0x00
	tNull       = 0x40
	tTrue       = 0x41
	tFalse      = 0x42
	tUint0      = 0x43
	tUlong0     = 0x44
	tList0      = 0x45
	tUbyte      = 0x50
	tByte       = 0x51
	tSmallUint  = 0x52
	tSmallUlong = 0x53
	tSmallInt   = 0x54
	tSmallLong  = 0x55
	tBool       = 0x56
	tUshort     = 0x60
	tShort      = 0x61
	tUint       = 0x70
	tInt        = 0x71
	tFloat      = 0x72
	tChar       = 0x73
	tDecimal32  = 0x74
	tUlong      = 0x80
	tLong       = 0x81
	tDouble     = 0x82
	tTimestamp  = 0x83
	tDecimal64  = 0x84
	tDecimal128 = 0x94
	tUUID       = 0x98
	tBinary8    = 0xa0
	tString8    = 0xa1
	tSymbol8    = 0xa3
	tBinary32   = 0xb0
	tString32   = 0xb1
	tSymbol32   = 0xb3
	tList8      = 0xc0
	tMap8       = 0xc1
	tList32     = 0xd0
	tMap32      = 0xd1
	tArray8     = 0xe0
	tArray32    = 0xf0
)

// maxDepth is how deep lists, maps, arrays and descriptions may be nested. The deepest of the standard has half of it.
const maxDepth = 8

// Value is one value as it is encoded, constructor and all, and was checked through and through. Written where another is wanted it
// keeps its type, as the echo of an id must. The zero Value is none.
type Value []byte

// Read takes the first value off b and returns what follows it. An error matches ErrDecode.
func Read(b []byte) (v Value, rest []byte, err error) {
	n, err := check(b, 0)
	if err != nil {
		return nil, nil, err
	}
	return Value(b[:n:n]), b[n:], nil
}

// check is how many bytes the first value of b has, all of which are as they must be.
func check(b []byte, depth int) (int, error) {
	if len(b) == 0 {
		return 0, malformed("a value is missing")
	}
	if depth > maxDepth {
		return 0, malformed("values are nested deeper than %d", maxDepth)
	}
	if b[0] == tDescribed {
		n := 1
		for range 2 { // the descriptor, and what it describes
			k, err := check(b[n:], depth+1)
			if err != nil {
				return 0, err
			}
			n += k
		}
		return n, nil
	}
	n, err := checkBody(b[0], b[1:], depth)
	return 1 + n, err
}

// checkBody is how many of the bytes after a constructor are the value's.
func checkBody(constructor byte, b []byte, depth int) (int, error) {
	fixed := -1
	switch constructor >> 4 {
	case 4:
		fixed = 0
	case 5:
		fixed = 1
	case 6:
		fixed = 2
	case 7:
		fixed = 4
	case 8:
		fixed = 8
	case 9:
		fixed = 16
	}
	kind := kindOf(constructor)
	if kind == Absent {
		return 0, malformed("0x%02x constructs no value", constructor)
	}
	if fixed >= 0 {
		if len(b) < fixed {
			return 0, malformed("a %v is cut short", kind)
		}
		if constructor == tBool && b[0] > 1 {
			return 0, malformed("a boolean of %d", b[0])
		}
		return fixed, nil
	}
	width := 1
	if constructor&0x10 != 0 {
		width = 4
	}
	size, err := length(b, width)
	if err != nil {
		return 0, fmt.Errorf("%w (%v)", err, kind)
	}
	body := b[width : width+size]
	switch kind {
	case String:
		if !utf8.Valid(body) {
			return 0, malformed("a string is no UTF-8")
		}
	case Symbol:
		for _, c := range body {
			if c > 0x7f {
				return 0, malformed("a symbol is no ASCII")
			}
		}
	case List, Map, Array:
		if err := checkCompound(kind, body, width, depth); err != nil {
			return 0, err
		}
	}
	return width + size, nil
}

// length reads a size of so many bytes, for which there must be room behind it.
func length(b []byte, width int) (int, error) {
	if len(b) < width {
		return 0, malformed("a size is cut short")
	}
	size := uint64(b[0])
	if width == 4 {
		size = uint64(binary.BigEndian.Uint32(b))
	}
	if size > uint64(len(b)-width) {
		return 0, malformed("a size of %d bytes where there are %d", size, len(b)-width)
	}
	return int(size), nil
}

// checkCompound checks the count and the elements of a list, a map or an array, which fill its bytes.
func checkCompound(kind Kind, b []byte, width, depth int) error {
	if len(b) < width {
		return malformed("the count of a %v is cut short", kind)
	}
	count := uint64(b[0])
	if width == 4 {
		count = uint64(binary.BigEndian.Uint32(b))
	}
	b = b[width:]
	if kind == Map && count%2 != 0 {
		return malformed("a map of %d keys and values", count)
	}
	if kind == Array {
		return checkArray(b, count, depth)
	}
	if count > uint64(len(b)) {
		return malformed("a %v of %d elements in %d bytes", kind, count, len(b))
	}
	for range count {
		n, err := check(b, depth+1)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	if len(b) > 0 {
		return malformed("%d bytes behind the elements of a %v", len(b), kind)
	}
	return nil
}

func checkArray(b []byte, count uint64, depth int) error {
	constructor, b, err := elements(b, depth)
	if err != nil {
		return err
	}
	if constructor>>4 == 4 { // elements without a byte, of which any count would do
		if len(b) > 0 || count > maxEmpty {
			return malformed("an array of %d elements in %d bytes", count, len(b))
		}
		return nil
	}
	if count > uint64(len(b)) {
		return malformed("an array of %d elements in %d bytes", count, len(b))
	}
	for range count {
		n, err := checkBody(constructor, b, depth+1)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	if len(b) > 0 {
		return malformed("%d bytes behind the elements of an array", len(b))
	}
	return nil
}

// maxEmpty is the most elements of an array whose elements have no bytes.
const maxEmpty = 255

// elements reads the constructor of an array's elements, and what describes them, and returns what follows.
func elements(b []byte, depth int) (byte, []byte, error) {
	for depth < maxDepth {
		switch {
		case len(b) == 0:
			return 0, nil, malformed("an array without a constructor")
		case b[0] != tDescribed:
			return b[0], b[1:], nil
		}
		n, err := check(b[1:], depth+1)
		if err != nil {
			return 0, nil, err
		}
		b, depth = b[1+n:], depth+1
	}
	return 0, nil, malformed("values are nested deeper than %d", maxDepth)
}

// Kind is the type of the value.
func (v Value) Kind() Kind {
	if len(v) == 0 {
		return Absent
	}
	return kindOf(v[0])
}

// IsNull reports whether there is no value, or null.
func (v Value) IsNull() bool { return len(v) == 0 || v[0] == tNull }

// Bool is a boolean; ok is false for anything else.
func (v Value) Bool() (value, ok bool) {
	switch v.Kind() {
	case Bool:
		return v[0] == tTrue || v[0] == tBool && v[1] == 1, true
	default:
		return false, false
	}
}

// Uint is an unsigned integer of any width; ok is false for anything else.
func (v Value) Uint() (value uint64, ok bool) {
	if len(v) == 0 {
		return 0, false
	}
	switch v[0] {
	case tUint0, tUlong0:
		return 0, true
	case tUbyte, tSmallUint, tSmallUlong:
		return uint64(v[1]), true
	case tUshort:
		return uint64(binary.BigEndian.Uint16(v[1:])), true
	case tUint:
		return uint64(binary.BigEndian.Uint32(v[1:])), true
	case tUlong:
		return binary.BigEndian.Uint64(v[1:]), true
	}
	return 0, false
}

// Int is an integer of any width, signed or not; ok is false for anything else, and for what no int64 holds.
func (v Value) Int() (value int64, ok bool) {
	if u, ok := v.Uint(); ok {
		return int64(u), u <= math.MaxInt64
	}
	if len(v) == 0 {
		return 0, false
	}
	switch v[0] {
	case tByte, tSmallInt, tSmallLong:
		return int64(int8(v[1])), true
	case tShort:
		return int64(int16(binary.BigEndian.Uint16(v[1:]))), true
	case tInt:
		return int64(int32(binary.BigEndian.Uint32(v[1:]))), true
	case tLong:
		return int64(binary.BigEndian.Uint64(v[1:])), true
	}
	return 0, false
}

// Float is a float or a double; ok is false for anything else.
func (v Value) Float() (value float64, ok bool) {
	switch v.Kind() {
	case Float:
		return float64(math.Float32frombits(binary.BigEndian.Uint32(v[1:]))), true
	case Double:
		return math.Float64frombits(binary.BigEndian.Uint64(v[1:])), true
	default:
		return 0, false
	}
}

// Time is a timestamp, in UTC; ok is false for anything else.
func (v Value) Time() (value time.Time, ok bool) {
	if v.Kind() != Timestamp {
		return time.Time{}, false
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(v[1:]))).UTC(), true
}

// UUID is a uuid; ok is false for anything else.
func (v Value) UUID() (value [16]byte, ok bool) {
	if v.Kind() != UUID {
		return value, false
	}
	return [16]byte(v[1:]), true
}

// Bytes are those of a binary, a string or a symbol; nil for anything else.
func (v Value) Bytes() []byte {
	if len(v) == 0 {
		return nil
	}
	switch v[0] {
	case tBinary8, tString8, tSymbol8:
		return v[2:]
	case tBinary32, tString32, tSymbol32:
		return v[5:]
	}
	return nil
}

// Text is a string or a symbol; ok is false for anything else.
func (v Value) Text() (value string, ok bool) {
	switch v.Kind() {
	case String, Symbol:
		return string(v.Bytes()), true
	default:
		return "", false
	}
}

// String prints a value of a simple type for people, and where ids and properties may be of any: a uuid in lower case, a timestamp as
// RFC 3339 has it. It is empty for null and for lists and their like.
func (v Value) String() string {
	switch v.Kind() {
	case String, Symbol, Binary:
		return string(v.Bytes())
	case UUID:
		u, _ := v.UUID()
		return uuid.UUID(u).String()
	case Bool:
		b, _ := v.Bool()
		return strconv.FormatBool(b)
	case Float, Double:
		f, _ := v.Float()
		return strconv.FormatFloat(f, 'g', -1, 64)
	case Timestamp:
		t, _ := v.Time()
		return t.Format(time.RFC3339Nano)
	default:
	}
	if n, ok := v.Uint(); ok {
		return strconv.FormatUint(n, 10)
	}
	if n, ok := v.Int(); ok {
		return strconv.FormatInt(n, 10)
	}
	return ""
}

// Is reports whether the value is a string or a symbol with a text.
func (v Value) Is(text string) bool {
	k := v.Kind()
	return (k == String || k == Symbol) && string(v.Bytes()) == text
}

// Describe splits a described value; ok is false for anything else.
func (v Value) Describe() (descriptor, value Value, ok bool) {
	if v.Kind() != Described {
		return nil, nil, false
	}
	descriptor, rest := cut(v[1:])
	return descriptor, Value(rest), true
}

// cut is Read of bytes that were checked.
func cut(b []byte) (Value, []byte) {
	if b[0] == tDescribed {
		_, rest := cut(b[1:])
		_, rest = cut(rest)
		n := len(b) - len(rest)
		return Value(b[:n:n]), rest
	}
	n := 1 + bodySize(b[0], b[1:])
	return Value(b[:n:n]), b[n:]
}

// bodySize is how many of the bytes after a constructor, which were checked, are the value's.
func bodySize(constructor byte, b []byte) int {
	switch constructor >> 4 {
	case 5:
		return 1
	case 6:
		return 2
	case 7:
		return 4
	case 8:
		return 8
	case 9:
		return 16
	case 0xa, 0xc, 0xe:
		return 1 + int(b[0])
	case 0xb, 0xd, 0xf:
		return 4 + int(binary.BigEndian.Uint32(b))
	}
	return 0
}

// body is the count and the elements of a list, a map or an array.
func (v Value) body() (count int, b []byte) {
	switch {
	case len(v) == 0 || v[0]>>4 < 0xc:
		return 0, nil
	case v[0]&0x10 == 0:
		return int(v[2]), v[3:]
	default:
		return int(binary.BigEndian.Uint32(v[5:])), v[9:]
	}
}

// Len is how many elements a list or an array has, or how many keys and values a map; 0 for anything else.
func (v Value) Len() int {
	n, _ := v.body()
	return n
}

// Elements are those of a list; of an array, each with the array's constructor, for which it allocates. There are none of anything
// else.
func (v Value) Elements() iter.Seq[Value] {
	return func(yield func(Value) bool) {
		count, b := v.body()
		switch v.Kind() {
		case List:
			for range count {
				var e Value
				if e, b = cut(b); !yield(e) {
					return
				}
			}
		case Array:
			constructor, rest, err := elements(b, 0)
			if err != nil {
				return
			}
			for range count {
				n := bodySize(constructor, rest)
				e := append(Value{constructor}, rest[:n]...)
				if rest = rest[n:]; !yield(e) {
					return
				}
			}
		default:
		}
	}
}

// Pairs are the keys and values of a map; none of anything else.
func (v Value) Pairs() iter.Seq2[Value, Value] {
	return func(yield func(key, value Value) bool) {
		if v.Kind() != Map {
			return
		}
		count, b := v.body()
		for range count / 2 {
			var key, value Value
			key, b = cut(b)
			value, b = cut(b)
			if !yield(key, value) {
				return
			}
		}
	}
}

// Get is the value of a map's key, a string or a symbol; nil when there is none, or no map.
func (v Value) Get(key string) Value {
	for k, value := range v.Pairs() {
		if k.Is(key) {
			return value
		}
	}
	return nil
}

// Multiple are the values of a field that may hold one, or an array of them (part 1, section 1.4).
func (v Value) Multiple() iter.Seq[Value] {
	if v.Kind() == Array {
		return v.Elements()
	}
	return func(yield func(Value) bool) {
		if !v.IsNull() {
			yield(v)
		}
	}
}
