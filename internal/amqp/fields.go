package amqp

import (
	"math"
	"strings"
	"unicode/utf8"
)

func validText(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// Uint32 is a uint that may be missing. The zero value is.
type Uint32 struct {
	V   uint32
	Set bool
}

// Some is a uint that is there.
func Some(v uint32) Uint32 { return Uint32{v, true} }

func (u Uint32) append(b []byte) []byte {
	if !u.Set {
		return append(b, tNull)
	}
	return AppendUint(b, u.V)
}

// fields reads those of a list one after the other; what is missing at the end is null. The first mistake holds.
type fields struct {
	what string // the list is
	b    []byte
	left int
	err  error
}

func fieldsOf(what string, list Value) fields {
	n, b := list.body()
	return fields{what: what, b: b, left: n}
}

// next is the next field; nil when it is null or missing.
func (f *fields) next() Value {
	if f.left == 0 {
		return nil
	}
	f.left--
	var v Value
	v, f.b = cut(f.b)
	if v[0] == tNull {
		return nil
	}
	return v
}

// wrong notes a field that is not what it must be.
func (f *fields) wrong(name string, v Value, want Kind) {
	if f.err == nil {
		f.err = malformed("%s: %s is a %v where it must be a %v", f.what, name, v.Kind(), want)
	}
}

// missing notes a field that must be there.
func (f *fields) missing(name string) {
	if f.err == nil {
		f.err = malformed("%s: %s is missing", f.what, name)
	}
}

// of is the next field, of a kind; nil when it is missing.
func (f *fields) of(name string, kind Kind) Value {
	v := f.next()
	if v != nil && v.Kind() != kind {
		f.wrong(name, v, kind)
		return nil
	}
	return v
}

func (f *fields) uint(name string) Uint32 {
	v := f.of(name, Uint)
	n, ok := v.Uint()
	return Uint32{uint32(n), ok}
}

func (f *fields) mustUint(name string) uint32 {
	u := f.uint(name)
	if !u.Set {
		f.missing(name)
	}
	return u.V
}

func (f *fields) uintOr(name string, usual uint32) uint32 {
	if u := f.uint(name); u.Set {
		return u.V
	}
	return usual
}

func (f *fields) ushort(name string) (uint16, bool) {
	v := f.of(name, Ushort)
	n, ok := v.Uint()
	return uint16(n), ok
}

func (f *fields) ulong(name string) uint64 {
	n, _ := f.of(name, Ulong).Uint()
	return n
}

// ubyte is a ubyte of at most a number; usual when it is missing.
func (f *fields) ubyte(name string, most, usual uint8) uint8 {
	v := f.of(name, Ubyte)
	if v == nil {
		return usual
	}
	n, _ := v.Uint()
	if n > uint64(most) && f.err == nil {
		f.err = malformed("%s: %s is %d; at most %d is defined", f.what, name, n, most)
	}
	return uint8(n)
}

func (f *fields) bool(name string) bool {
	v, _ := f.of(name, Bool).Bool()
	return v
}

func (f *fields) mustBool(name string) bool {
	v := f.of(name, Bool)
	if v == nil {
		f.missing(name)
	}
	value, _ := v.Bool()
	return value
}

func (f *fields) bytes(name string) []byte { return f.of(name, Binary).Bytes() }

// text is a string or a symbol: peers confuse them where it does not matter.
func (f *fields) text(name string) []byte {
	v := f.next()
	if k := v.Kind(); v != nil && k != String && k != Symbol {
		f.wrong(name, v, String)
		return nil
	}
	return v.Bytes()
}

func (f *fields) mapping(name string) Value { return f.of(name, Map) }

// state is an outcome or another state of a delivery; its zero value when it is missing.
func (f *fields) state(name string) State {
	v := f.next()
	if v == nil {
		return State{}
	}
	s, err := decodeState(v)
	if err != nil && f.err == nil {
		f.err = malformed("%s: %s: %v", f.what, name, strings.TrimPrefix(err.Error(), ErrDecode.Error()+": "))
	}
	return s
}

// list is a described list with a code; nil when it is missing.
func (f *fields) list(name string, code byte) Value {
	v := f.next()
	if v == nil {
		return nil
	}
	descriptor, list, ok := v.Describe()
	if ok {
		var got byte
		got, ok = codeOf(descriptor)
		ok = ok && got == code && list.Kind() == List
	}
	if !ok {
		if f.err == nil {
			f.err = malformed("%s: %s is not what the standard defines", f.what, name)
		}
		return nil
	}
	return list
}

// failure is an error of the standard; nil when it is missing.
func (f *fields) failure(name string) *Error {
	list := f.list(name, codeError)
	if list == nil {
		return nil
	}
	e, err := decodeError(list)
	if err != nil && f.err == nil {
		f.err = err
	}
	return e
}

// done is what was wrong, if anything; also more fields than there are in the standard.
func (f *fields) done() error {
	if f.err == nil && f.left > 0 {
		f.err = malformed("%s has %d fields too many", f.what, f.left)
	}
	return f.err
}

// usual values of fields that may be missing (part 2, section 2.7).
const (
	noMost     = math.MaxUint32
	noMostChan = math.MaxUint16
)

func appendText(b []byte, s string) []byte {
	if s == "" {
		return append(b, tNull)
	}
	return AppendString(b, s)
}

func appendBytes(b, v []byte) []byte {
	if v == nil {
		return append(b, tNull)
	}
	return AppendBinary(b, v)
}

func appendNulls(b []byte, n int) []byte {
	for range n {
		b = append(b, tNull)
	}
	return b
}

// begin begins a described list.
func begin(b []byte, code byte) ([]byte, int) { return BeginList(AppendDescriptor(b, code)) }
