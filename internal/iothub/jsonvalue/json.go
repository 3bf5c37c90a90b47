package jsonvalue

import "github.com/twinfleet/twinfleet/internal/iothub/jsonstring"

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
		return jsonstring.Append(dst, v.text)
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
		dst = jsonstring.Append(dst, members[i].Key)
		dst = append(dst, ':')
		dst = members[i].Value.AppendJSON(dst)
	}
	return dst
}
