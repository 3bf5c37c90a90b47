package jsonparse

import (
	"unicode/utf16"
	"unicode/utf8"
)

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
			return p.interner.Text(text), true
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
			return p.interner.Text(p.buf), true
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
