// Package jsonvalue is JSON in memory: immutable values that share what they have in common.
package jsonvalue

import (
	"iter"
	"math"
	"strconv"
)

// Kind says what a [Value] is. The zero Kind is Undefined: no value at all, which
// is not the same as null.
type Kind uint8

// The kinds of a value. Undefined is what a lookup of an absent member gives.
const (
	Undefined Kind = iota
	Null
	Bool
	Number
	String
	Array
	Object
)

// String names the kind in lower case, as messages show it.
func (k Kind) String() string {
	switch k {
	case Null:
		return "null"
	case Bool:
		return "boolean"
	case Number:
		return "number"
	case String:
		return "string"
	case Array:
		return "array"
	case Object:
		return "object"
	default:
		return "undefined"
	}
}

// Value is one immutable JSON value. The zero Value is Undefined.
//
// A Value is three words, and a string, number, boolean or null needs no memory
// beyond its own text: 100,000 twins are held as Values. Copies share their
// content. Values are compared with [Value.Equal], never with ==.
type Value struct {
	_    [0]func() // Makes == a compile error: it would compare pointers.
	text string    // The content of a string, the literal of a number.
	node *node     // nil for Undefined; one of the shared nodes below for a scalar.
}

// node is what tells values apart. Scalars point at one of a few shared nodes;
// every object and array has its own. An array keeps its elements as members
// without a key: arrays are rare in twins and one small node serves both.
type node struct {
	kind    Kind
	members []Member
}

// Member is one name and value of an object.
type Member struct {
	Key   string // as in the document, without escapes; empty for an element of an array
	Value Value  // Never Undefined
}

// The shared nodes of the scalars and of the empty containers. They never change.
var (
	nullNode    = &node{kind: Null}
	trueNode    = &node{kind: Bool}
	falseNode   = &node{kind: Bool}
	numberNode  = &node{kind: Number}
	stringNode  = &node{kind: String}
	emptyObject = &node{kind: Object}
	emptyArray  = &node{kind: Array}
)

// NullValue returns the JSON null.
func NullValue() Value { return Value{node: nullNode} }

// BoolValue returns a JSON boolean.
func BoolValue(b bool) Value {
	if b {
		return Value{node: trueNode}
	}
	return Value{node: falseNode}
}

// NumberValue returns a JSON number in its shortest form. JSON has no infinities
// and no NaN: for those the result is Undefined.
func NumberValue(f float64) Value {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return Value{}
	}
	if i := int64(f); float64(i) == f && i > -1<<53 && i < 1<<53 {
		return IntValue(i)
	}
	format := byte('f')
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'e'
	}
	return Value{text: strconv.FormatFloat(f, format, -1, 64), node: numberNode}
}

// IntValue returns a JSON number without fraction.
func IntValue(i int64) Value {
	return Value{text: strconv.FormatInt(i, 10), node: numberNode}
}

// LiteralValue returns the JSON number with that text, which must be one (RFC 8259 section 6). The text is kept
// as it is: "1.0" stays "1.0".
func LiteralValue(number string) Value { return Value{text: number, node: numberNode} }

// StringValue returns a JSON string. The text must be valid UTF-8.
func StringValue(s string) Value { return Value{text: s, node: stringNode} }

// ObjectValue returns an object with the members in the order given. Names must
// differ from each other and members must not be Undefined; of two members with
// one name lookups find the first. The slice is kept: the caller must not change it.
func ObjectValue(members ...Member) Value {
	if len(members) == 0 {
		return Value{node: emptyObject}
	}
	return Value{node: &node{kind: Object, members: members}}
}

// ArrayValue returns an array of the values in the order given, none of which may
// be Undefined.
func ArrayValue(values ...Value) Value {
	if len(values) == 0 {
		return Value{node: emptyArray}
	}
	elems := make([]Member, len(values))
	for i, v := range values {
		elems[i].Value = v
	}
	return ArrayOfMembers(elems)
}

// ArrayOfMembers returns an array of the values of members without names. The slice is kept: the caller must
// not change it.
func ArrayOfMembers(elems []Member) Value {
	if len(elems) == 0 {
		return Value{node: emptyArray}
	}
	return Value{node: &node{kind: Array, members: elems}}
}

// Kind says what the value is.
func (v Value) Kind() Kind {
	if v.node == nil {
		return Undefined
	}
	return v.node.kind
}

// IsDefined reports whether there is a value, null included.
func (v Value) IsDefined() bool { return v.node != nil }

// IsScalar reports whether the value is a boolean, a number or a string.
func (v Value) IsScalar() bool {
	switch v.Kind() {
	case Bool, Number, String:
		return true
	default:
		return false
	}
}

// Bool returns the boolean, and false for every other kind.
func (v Value) Bool() bool { return v.node == trueNode }

// Str returns the content of a string, and "" for every other kind.
func (v Value) Str() string {
	if v.node != stringNode {
		return ""
	}
	return v.text
}

// Literal returns the text of a number as it was written ("1.0" stays "1.0"), and
// "" for every other kind.
func (v Value) Literal() string {
	if v.node != numberNode {
		return ""
	}
	return v.text
}

// Num returns the number nearest to the literal, and 0 for every other kind. A
// literal beyond the range of a float64 gives an infinity.
func (v Value) Num() float64 {
	if v.node != numberNode {
		return 0
	}
	if f, ok := smallInteger(v.text); ok {
		return f
	}
	f, _ := strconv.ParseFloat(v.text, 64) // The grammar was checked: only the range can fail, with ±Inf.
	return f
}

// smallInteger reads a literal of at most 15 digits and nothing else: most numbers
// of a twin are such, and scans over many twins read them often.
func smallInteger(s string) (float64, bool) {
	digits := s
	if len(s) > 0 && s[0] == '-' {
		digits = s[1:]
	}
	if len(digits) == 0 || len(digits) > 15 || s == "-0" {
		return 0, false
	}
	n := int64(0)
	for i := range len(digits) {
		c := digits[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + int64(c)
	}
	if len(digits) != len(s) {
		n = -n
	}
	return float64(n), true
}

// Len returns the number of members of an object or of elements of an array, and 0
// for every other kind.
func (v Value) Len() int {
	if v.node == nil {
		return 0
	}
	return len(v.node.members)
}

// Get returns the member of an object with that name, or Undefined.
func (v Value) Get(key string) Value {
	if v.node == nil || v.node.kind != Object {
		return Value{}
	}
	for i := range v.node.members {
		if v.node.members[i].Key == key {
			return v.node.members[i].Value
		}
	}
	return Value{}
}

// Path walks down the objects by name. No names give the value itself.
func (v Value) Path(path ...string) Value {
	for _, key := range path {
		v = v.Get(key)
	}
	return v
}

// Members walks the members of an object in their order. Other kinds have none.
func (v Value) Members() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		if v.node == nil || v.node.kind != Object {
			return
		}
		for i := range v.node.members {
			m := &v.node.members[i]
			if !yield(m.Key, m.Value) {
				return
			}
		}
	}
}

// Elems walks the elements of an array. Other kinds have none.
func (v Value) Elems() iter.Seq[Value] {
	return func(yield func(Value) bool) {
		if v.node == nil || v.node.kind != Array {
			return
		}
		for i := range v.node.members {
			if !yield(v.node.members[i].Value) {
				return
			}
		}
	}
}

// Equal reports whether two values are the same JSON: numbers by their value,
// objects whatever the order of their members, arrays in order. Undefined equals
// Undefined alone.
func (v Value) Equal(w Value) bool {
	if v.Kind() != w.Kind() {
		return false
	}
	switch v.Kind() {
	case Bool:
		return v.node == w.node
	case String:
		return v.text == w.text
	case Number:
		return v.text == w.text || v.Num() == w.Num()
	case Array, Object:
		return v.node == w.node || equalMembers(v, w)
	default:
		return true
	}
}

// equalMembers compares two objects or two arrays.
func equalMembers(v, w Value) bool {
	if len(v.node.members) != len(w.node.members) {
		return false
	}
	for i := range v.node.members {
		m := &v.node.members[i]
		other := w.node.members[i]
		if m.Key != other.Key {
			other.Value = w.Get(m.Key)
		}
		if !m.Value.Equal(other.Value) {
			return false
		}
	}
	return true
}

// HasArray reports whether an array stands anywhere in the value. Clients older than api-version 2019-10-01 may
// not send any.
func (v Value) HasArray() bool {
	switch v.Kind() {
	case Array:
		return true
	case Object:
		for i := range v.node.members {
			if v.node.members[i].Value.HasArray() {
				return true
			}
		}
	}
	return false
}
