package twin

import (
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
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
func Parse(b []byte) (Value, error) {
	return (*Interner)(nil).Parse(b)
}

// Parse is the function [Parse], except that short strings are taken from the
// interner, so that documents which say the same thing share its memory.
func (in *Interner) Parse(b []byte) (Value, error) {
	p := in.parser(b)
	defer in.release(p)
	v, ok := p.value(0)
	if !ok {
		return Value{}, p.failure()
	}
	p.space()
	if p.pos != len(b) {
		p.fail("text after the value")
		return Value{}, p.failure()
	}
	return v, nil
}

// parser walks the text once. Members of the objects under way wait on one stack, so
// that each object is made once, in its exact size.
type parser struct {
	in       []byte
	pos      int
	interner *Interner
	stack    []Member
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
func (p *parser) value(depth int) (Value, bool) {
	p.space()
	switch c := p.peek(); c {
	case '{':
		return p.object(depth)
	case '[':
		return p.array(depth)
	case '"':
		s, ok := p.str()
		return Value{text: s, node: stringNode}, ok
	case 't':
		return Value{node: trueNode}, p.word("true")
	case 'f':
		return Value{node: falseNode}, p.word("false")
	case 'n':
		return Value{node: nullNode}, p.word("null")
	default:
		if c == '-' || c-'0' <= 9 {
			return p.number()
		}
		if p.pos == len(p.in) {
			return Value{}, p.fail("unexpected end")
		}
		return Value{}, p.fail("a value was expected")
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
func (p *parser) number() (Value, bool) {
	start := p.pos
	if p.peek() == '-' {
		p.pos++
	}
	if p.peek() == '0' {
		p.pos++
	} else if !p.digits() {
		return Value{}, false
	}
	if p.peek() == '.' {
		p.pos++
		if !p.digits() {
			return Value{}, false
		}
	}
	if c := p.peek(); c == 'e' || c == 'E' {
		p.pos++
		if c := p.peek(); c == '+' || c == '-' {
			p.pos++
		}
		if !p.digits() {
			return Value{}, false
		}
	}
	return Value{text: p.interner.text(p.in[start:p.pos]), node: numberNode}, true
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
func (p *parser) array(depth int) (Value, bool) {
	if depth == MaxDepth {
		return Value{}, p.fail("nested too deeply")
	}
	p.pos++
	base := len(p.stack)
	p.space()
	if p.peek() == ']' {
		p.pos++
		return Value{node: emptyArray}, true
	}
	for {
		v, ok := p.value(depth + 1)
		if !ok {
			return Value{}, false
		}
		p.stack = append(p.stack, Member{Value: v})
		p.space()
		switch p.peek() {
		case ',':
			p.pos++
		case ']':
			p.pos++
			return p.build(Array, base), true
		default:
			return Value{}, p.fail("a comma or a closing bracket was expected")
		}
	}
}

// object reads an object; the next byte is its brace.
func (p *parser) object(depth int) (Value, bool) {
	if depth == MaxDepth {
		return Value{}, p.fail("nested too deeply")
	}
	p.pos++
	base := len(p.stack)
	var names map[string]bool // Used once an object is large: see seen.
	p.space()
	if p.peek() == '}' {
		p.pos++
		return Value{node: emptyObject}, true
	}
	for {
		p.space()
		start := p.pos
		if p.peek() != '"' {
			return Value{}, p.fail("a name was expected")
		}
		key, ok := p.str()
		if !ok {
			return Value{}, false
		}
		if p.seen(&names, base, key) {
			p.pos = start
			return Value{}, p.fail("duplicate name")
		}
		p.space()
		if p.peek() != ':' {
			return Value{}, p.fail("a colon was expected")
		}
		p.pos++
		v, ok := p.value(depth + 1)
		if !ok {
			return Value{}, false
		}
		p.stack = append(p.stack, Member{Key: key, Value: v})
		p.space()
		switch p.peek() {
		case ',':
			p.pos++
		case '}':
			p.pos++
			return p.build(Object, base), true
		default:
			return Value{}, p.fail("a comma or a closing brace was expected")
		}
	}
}

// walkLimit is the number of names up to which a walk is quicker than a table. Above
// it tables keep the work from growing with the square of the size.
const walkLimit = 16

// seen reports whether the object under way has the name already.
func (p *parser) seen(names *map[string]bool, base int, key string) bool {
	members := p.stack[base:]
	if len(members) < walkLimit {
		for i := range members {
			if members[i].Key == key {
				return true
			}
		}
		return false
	}
	if *names == nil {
		*names = make(map[string]bool, 4*walkLimit)
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

// build makes a container of what lies on the stack from base on.
func (p *parser) build(kind Kind, base int) Value {
	members := make([]Member, len(p.stack)-base)
	copy(members, p.stack[base:])
	p.stack = p.stack[:base]
	return Value{node: &node{kind: kind, members: members}}
}

// str reads a string; the next byte is its quotation mark.
func (p *parser) str() (string, bool) {
	p.pos++
	start := p.pos
	ascii := true
	for p.pos < len(p.in) {
		c := p.in[p.pos]
		switch {
		case c == '"':
			text := p.in[start:p.pos]
			if !ascii && !utf8.Valid(text) {
				p.pos = start
				return "", p.fail("a string is not valid UTF-8")
			}
			p.pos++
			return p.interner.text(text), true
		case c == '\\':
			return p.escaped(start)
		case c < ' ':
			return "", p.fail("a control character in a string")
		case c >= utf8.RuneSelf:
			ascii = false
		}
		p.pos++
	}
	return "", p.fail("a string has no end")
}

// escaped reads on in a string that began at start, from its first backslash.
func (p *parser) escaped(start int) (string, bool) {
	p.buf = append(p.buf[:0], p.in[start:p.pos]...)
	for p.pos < len(p.in) {
		c := p.in[p.pos]
		switch {
		case c == '"':
			if !utf8.Valid(p.buf) {
				p.pos = start
				return "", p.fail("a string is not valid UTF-8")
			}
			p.pos++
			return p.interner.text(p.buf), true
		case c == '\\':
			if !p.escape() {
				return "", false
			}
		case c < ' ':
			return "", p.fail("a control character in a string")
		default:
			p.buf = append(p.buf, c)
			p.pos++
		}
	}
	return "", p.fail("a string has no end")
}

// escape decodes one escape; the next byte is its backslash.
func (p *parser) escape() bool {
	if len(p.in)-p.pos < 2 {
		return p.fail("a string has no end")
	}
	c := p.in[p.pos+1]
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		return p.unicode()
	default:
		return p.fail("an unknown escape")
	}
	p.buf = append(p.buf, c)
	p.pos += 2
	return true
}

// unicode decodes \uXXXX, or two of them that make a surrogate pair.
func (p *parser) unicode() bool {
	r, ok := p.hex4(p.pos)
	if !ok {
		return p.fail("an escape needs four hexadecimal digits")
	}
	size := 6
	if utf16.IsSurrogate(r) {
		low, ok := p.hex4(p.pos + size)
		if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
			return p.fail("an escape of half a surrogate pair")
		}
		size *= 2
	}
	p.buf = utf8.AppendRune(p.buf, r)
	p.pos += size
	return true
}

// hex4 reads \uXXXX at a place of the text.
func (p *parser) hex4(at int) (rune, bool) {
	if len(p.in)-at < 6 || p.in[at] != '\\' || p.in[at+1] != 'u' {
		return 0, false
	}
	r := rune(0)
	for _, c := range p.in[at+2 : at+6] {
		switch {
		case c-'0' <= 9:
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
