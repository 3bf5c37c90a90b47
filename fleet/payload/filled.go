package payload

import "bytes"

// Filler is the name of the member that fills JSON objects to a size.
const Filler = "_filler"

// Filled is a source whose payloads are filled to a size. One that is larger by itself stays as it is.
type Filled struct {
	source Source
	size   int
	form   form
}

var _ Source = (*Filled)(nil)

// Fill fills the payloads of a source to a size, in bytes. JSON objects get a last member _filler with a text of x; where there is no room for
// it, spaces before their last brace. Arrays get spaces before their last bracket; texts, and other JSON, get spaces behind them; what else
// there is gets bytes of 0. A source of nil is one of empty objects.
func Fill(s Source, size int) *Filled {
	f := &Filled{source: s, size: size, form: raw}
	switch x := s.(type) {
	case nil:
		f.source, f.form = Bytes("{}"), object
	case *Template:
		f.form = x.form
	case interface{ Objects() bool }:
		f.form = anyJSON
	}
	return f
}

// Objects reports whether every payload is a JSON object.
func (f *Filled) Objects() bool { return f.form == object || Objects(f.source) }

// Size is the bytes that payloads are filled to.
func (f *Filled) Size() int { return f.size }

// Source is what is filled.
func (f *Filled) Source() Source { return f.source }

// Append appends a payload of the source, filled.
func (f *Filled) Append(dst []byte, c *Context) []byte {
	start := len(dst)
	dst = f.source.Append(dst, c)
	missing := f.size - c.Reserve - (len(dst) - start)
	if missing <= 0 {
		return dst
	}
	body := dst[start:]
	switch last := len(dst) - 1; {
	case f.form == raw:
		return padded(dst, missing, 0)
	case f.form == plain:
		return padded(dst, missing, ' ')
	case len(body) > 1 && body[len(body)-1] == '}':
		return fillObject(dst[:last], missing, len(bytes.TrimSpace(body[1:len(body)-1])) == 0)
	case len(body) > 1 && body[len(body)-1] == ']':
		return append(padded(dst[:last], missing, ' '), ']')
	}
	return padded(dst, missing, ' ')
}

// fillObject ends an object, which lacks nothing but its brace, with so many bytes more.
func fillObject(dst []byte, missing int, empty bool) []byte {
	before, behind := `,"`+Filler+`":"`, `"`
	if empty {
		before = before[1:]
	}
	if room := missing - len(before) - len(behind); room >= 0 {
		dst = append(padded(append(dst, before...), room, 'x'), behind...)
	} else {
		dst = padded(dst, missing, ' ')
	}
	return append(dst, '}')
}
