// Package jsonparse reads JSON text into values, as strictly as a hub does.
package jsonparse

import (
	"fmt"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
)

// MaxDepth is how deep Parse lets objects and arrays nest. Twins allow ten levels of
// objects; the bound leaves room for arrays and for the messages that say so, and
// keeps a hostile document from exhausting the stack.
const MaxDepth = 64

// SyntaxError says where a text stops being JSON, or JSON that a hub accepts.
type SyntaxError struct {
	Offset int    // Bytes before the mistake.
	Reason string // What is wrong, in lower case.
}

// Error names the place and the reason. It does not repeat the text.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("invalid JSON at offset %d: %s", e.Offset, e.Reason)
}

// Parse reads one JSON value (RFC 8259) and nothing after it but white space. It
// refuses what has two meanings: duplicate names, text that is not valid UTF-8,
// escapes of half a surrogate pair; and nesting beyond [MaxDepth]. The result shares
// no memory with b. Errors are [*SyntaxError].
func Parse(b []byte) (jsonvalue.Value, error) {
	return (*Interner)(nil).Parse(b)
}

// Parse is the function [Parse], except that short strings are taken from the
// interner, so that documents which say the same thing share its memory.
func (in *Interner) Parse(b []byte) (jsonvalue.Value, error) {
	p := in.parser(b)
	defer in.release(p)
	v, ok := p.value(0)
	if !ok {
		return jsonvalue.Value{}, p.failure()
	}
	p.space()
	if p.pos != len(b) {
		p.fail("text after the value")
		return jsonvalue.Value{}, p.failure()
	}
	return v, nil
}

// parser walks the text once. Members of the objects under way wait on one stack, so
// that each object is made once, in its exact size.
type parser struct {
	in       []byte
	pos      int
	interner *Interner
	stack    []jsonvalue.Member
	buf      []byte // Holds a string with escapes while it is decoded.
	reason   string
}

// fail notes the first mistake and always returns false.
func (p *parser) fail(reason string) bool {
	if p.reason == "" {
		p.reason = reason
	}
	return false
}

// failure makes the error out of the mistake noted.
func (p *parser) failure() error {
	return &SyntaxError{Offset: p.pos, Reason: p.reason}
}

// space skips white space.
func (p *parser) space() {
	for p.pos < len(p.in) {
		switch p.in[p.pos] {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return
		}
	}
}

// peek returns the next byte, or 0 at the end of the text.
func (p *parser) peek() byte {
	if p.pos < len(p.in) {
		return p.in[p.pos]
	}
	return 0
}

// value reads one value of any kind.
func (p *parser) value(depth int) (jsonvalue.Value, bool) {
	p.space()
	switch c := p.peek(); c {
	case '{':
		return p.object(depth)
	case '[':
		return p.array(depth)
	case '"':
		s, ok := p.str()
		return jsonvalue.StringValue(s), ok
	case 't':
		return jsonvalue.BoolValue(true), p.word("true")
	case 'f':
		return jsonvalue.BoolValue(false), p.word("false")
	case 'n':
		return jsonvalue.NullValue(), p.word("null")
	default:
		if c == '-' || c-'0' <= 9 {
			return p.number()
		}
		if p.pos == len(p.in) {
			return jsonvalue.Value{}, p.fail("unexpected end")
		}
		return jsonvalue.Value{}, p.fail("a value was expected")
	}
}

// word reads one of the three literal words.
func (p *parser) word(w string) bool {
	if len(p.in)-p.pos < len(w) || string(p.in[p.pos:p.pos+len(w)]) != w {
		return p.fail("a value was expected")
	}
	p.pos += len(w)
	return true
}

// number reads a number and keeps its text.
func (p *parser) number() (jsonvalue.Value, bool) {
	start := p.pos
	if p.peek() == '-' {
		p.pos++
	}
	if p.peek() == '0' {
		p.pos++
	} else if !p.digits() {
		return jsonvalue.Value{}, false
	}
	if p.peek() == '.' {
		p.pos++
		if !p.digits() {
			return jsonvalue.Value{}, false
		}
	}
	if c := p.peek(); c == 'e' || c == 'E' {
		p.pos++
		if c := p.peek(); c == '+' || c == '-' {
			p.pos++
		}
		if !p.digits() {
			return jsonvalue.Value{}, false
		}
	}
	return jsonvalue.LiteralValue(p.interner.Text(p.in[start:p.pos])), true
}

// digits skips digits, of which there must be one.
func (p *parser) digits() bool {
	start := p.pos
	for p.pos < len(p.in) && p.in[p.pos]-'0' <= 9 {
		p.pos++
	}
	if p.pos == start {
		return p.fail("a digit was expected")
	}
	return true
}

// array reads an array; the next byte is its bracket.
func (p *parser) array(depth int) (jsonvalue.Value, bool) {
	if depth == MaxDepth {
		return jsonvalue.Value{}, p.fail("nested too deeply")
	}
	p.pos++
	base := len(p.stack)
	p.space()
	if p.peek() == ']' {
		p.pos++
		return jsonvalue.ArrayValue(), true
	}
	for {
		v, ok := p.value(depth + 1)
		if !ok {
			return jsonvalue.Value{}, false
		}
		p.stack = append(p.stack, jsonvalue.Member{Value: v})
		p.space()
		switch p.peek() {
		case ',':
			p.pos++
		case ']':
			p.pos++
			return jsonvalue.ArrayOfMembers(p.pop(base)), true
		default:
			return jsonvalue.Value{}, p.fail("a comma or a closing bracket was expected")
		}
	}
}

// object reads an object; the next byte is its brace.
func (p *parser) object(depth int) (jsonvalue.Value, bool) {
	if depth == MaxDepth {
		return jsonvalue.Value{}, p.fail("nested too deeply")
	}
	p.pos++
	base := len(p.stack)
	var names map[string]bool // Used once an object is large: see seen.
	p.space()
	if p.peek() == '}' {
		p.pos++
		return jsonvalue.ObjectValue(), true
	}
	for {
		p.space()
		start := p.pos
		if p.peek() != '"' {
			return jsonvalue.Value{}, p.fail("a name was expected")
		}
		key, ok := p.str()
		if !ok {
			return jsonvalue.Value{}, false
		}
		if p.seen(&names, base, key) {
			p.pos = start
			return jsonvalue.Value{}, p.fail("duplicate name")
		}
		p.space()
		if p.peek() != ':' {
			return jsonvalue.Value{}, p.fail("a colon was expected")
		}
		p.pos++
		v, ok := p.value(depth + 1)
		if !ok {
			return jsonvalue.Value{}, false
		}
		p.stack = append(p.stack, jsonvalue.Member{Key: key, Value: v})
		p.space()
		switch p.peek() {
		case ',':
			p.pos++
		case '}':
			p.pos++
			return jsonvalue.ObjectValue(p.pop(base)...), true
		default:
			return jsonvalue.Value{}, p.fail("a comma or a closing brace was expected")
		}
	}
}

// manyNames is the number of names from which a table is quicker than a walk. It keeps the work from
// growing with the square of the size.
const manyNames = 16

// seen reports whether the object under way has the name already.
func (p *parser) seen(names *map[string]bool, base int, key string) bool {
	members := p.stack[base:]
	if len(members) < manyNames {
		for i := range members {
			if members[i].Key == key {
				return true
			}
		}
		return false
	}
	if *names == nil {
		*names = make(map[string]bool, 4*manyNames)
		for i := range members {
			(*names)[members[i].Key] = true
		}
	}
	if (*names)[key] {
		return true
	}
	(*names)[key] = true
	return false
}

// pop takes the members of a container that is complete off the stack.
func (p *parser) pop(base int) []jsonvalue.Member {
	members := make([]jsonvalue.Member, len(p.stack)-base)
	copy(members, p.stack[base:])
	p.stack = p.stack[:base]
	return members
}
