package rows

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/twinfleet/twinfleet/fleet/payload"
)

var _ payload.Data = (*Rows)(nil)

// span is where a value stands in the text of all rows; of nothing from 0 to 0, where no value is.
type span struct{ from, to uint32 }

// Column is the values of the rows' members of a name, as JSON, which must not be changed: nil for a row that has none. It is nil when no row
// has one. Of members with the same name the last one counts. It takes eight bytes a row.
func (r *Rows) Column(name string) (value func(row int) []byte) {
	spans, found := make([]span, len(r.ends)), false
	start := 0
	for i := range r.ends {
		row := r.Row(i)
		members(row, func(member, value []byte, at int) {
			if nameOf(member) == name {
				spans[i] = span{uint32(start + at), uint32(start + at + len(value))}
				found = true
			}
		})
		start += len(row)
	}
	if !found {
		return nil
	}
	return func(row int) []byte {
		if x := spans[row]; x.to > 0 {
			return r.text[x.from:x.to:x.to]
		}
		return nil
	}
}

// Columns is the names of the members that rows have, in the order in which they come first.
func (r *Rows) Columns() (names []string) {
	seen := make(map[string]bool)
	for i := range r.ends {
		members(r.Row(i), func(member, _ []byte, _ int) {
			if seen[string(member)] {
				return
			}
			seen[string(member)] = true
			if name := nameOf(member); !slices.Contains(names, name) { // which may be written in several ways
				names = append(names, name)
			}
		})
	}
	return names
}

// nameOf is the text of a JSON string.
func nameOf(quoted []byte) (s string) {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1])
	}
	_ = json.Unmarshal(quoted, &s) // it is a string of JSON
	return s
}

// members goes through the members of a row, which is JSON, with names in their quotes; at is where a value begins. What is no object has none.
func members(row []byte, each func(name, value []byte, at int)) {
	if row[0] != '{' {
		return
	}
	i := after(row, 1)
	for row[i] != '}' {
		name := row[i : i+value(row[i:])]
		i = after(row, after(row, i+len(name))+1) // behind the colon
		v := row[i : i+value(row[i:])]
		each(name, v, i)
		if i = after(row, i+len(v)); row[i] == ',' {
			i = after(row, i+1)
		}
	}
}

// after is the first place from i on that is no white space.
func after(row []byte, i int) int {
	for row[i] == ' ' || row[i] == '\t' || row[i] == '\r' || row[i] == '\n' {
		i++
	}
	return i
}

// value is how long the JSON value is that a text begins with.
func value(text []byte) int {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quoted && c == '\\':
			i++
		case c == '"':
			if quoted = !quoted; !quoted && depth == 0 {
				return i + 1
			}
		case quoted:
		case c == '{' || c == '[':
			depth++
		case (c == '}' || c == ']') && depth > 0:
			if depth--; depth == 0 {
				return i + 1
			}
		case depth == 0 && bytes.IndexByte([]byte(",]} \t\r\n"), c) >= 0:
			return i
		}
	}
	return len(text)
}
