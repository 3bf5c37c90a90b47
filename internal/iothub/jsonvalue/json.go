package jsonvalue

import "unicode/utf8"

// MarshalJSON returns the compact JSON text; an Undefined value is written as null,
// because JSON has no other word for it.
func (v Value) MarshalJSON() ([]byte, error) { return v.AppendJSON(nil), nil }

// String returns the compact JSON text, and "undefined" where there is no value.
func (v Value) String() string {
	if v.node == nil {
		return "undefined"
	}
	return string(v.AppendJSON(nil))
}

// AppendJSON appends the compact JSON text: members in their order, numbers as they
// were written. An Undefined value is written as null.
func (v Value) AppendJSON(dst []byte) []byte {
	switch v.Kind() {
	case Bool:
		if v.Bool() {
			return append(dst, "true"...)
		}
		return append(dst, "false"...)
	case Number:
		return append(dst, v.text...)
	case String:
		return AppendString(dst, v.text)
	case Array:
		dst = append(dst, '[')
		for i := range v.node.members {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = v.node.members[i].Value.AppendJSON(dst)
		}
		return append(dst, ']')
	case Object:
		dst = append(dst, '{')
		dst = AppendMembers(dst, v.node.members)
		return append(dst, '}')
	default:
		return append(dst, "null"...)
	}
}

// AppendMembers appends the members of an object without the braces.
func AppendMembers(dst []byte, members []Member) []byte {
	for i := range members {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendString(dst, members[i].Key)
		dst = append(dst, ':')
		dst = members[i].Value.AppendJSON(dst)
	}
	return dst
}

const hexDigits = "0123456789abcdef"

// AppendString appends a JSON string, escaping only what JSON demands (RFC 8259
// section 7). Bytes that are no UTF-8, which Parse never lets in, become U+FFFD.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(dst, s[start:i]...)
				dst = utf8.AppendRune(dst, utf8.RuneError)
				start = i + 1
			}
			i += size
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		dst = append(dst, s[start:i]...)
		dst = appendEscape(dst, c)
		i++
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// appendEscape appends the escape of a quotation mark, backslash or control character.
func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	default:
		return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
	}
}

// AppendName appends a name that needs no escapes, and its colon.
func AppendName(dst []byte, name string, comma bool) []byte {
	if comma {
		dst = append(dst, ',')
	}
	dst = append(dst, '"')
	dst = append(dst, name...)
	return append(dst, '"', ':')
}
