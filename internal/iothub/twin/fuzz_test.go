package twin

import (
	"bytes"
	"encoding/json"
	"io"
	"reflect"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// depthOf returns how deep a valid JSON text nests.
func depthOf(b []byte) int {
	depth, deepest, inString := 0, 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}

// strictlyValid asks an independent reader, which also refuses duplicate names and
// invalid UTF-8, whether b is exactly one JSON value.
func strictlyValid(b []byte) bool {
	d := jsontext.NewDecoder(bytes.NewReader(b))
	if _, err := d.ReadValue(); err != nil {
		return false
	}
	_, err := d.ReadToken()
	return err == io.EOF
}

// FuzzParse holds the parser against two other readers: one must accept exactly the
// same texts, and encoding/json must read the same value before and after a round trip.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`{"location":{"region":"US","plant":"Redmond43"}}`, `[1.0,-2e5,true,null,"\u00e9\ud83d\ude00"]`,
		`{"a":1,"a":2}`, "\"\xff\"", `{"$version":1}`, ` { } `, `"\ud800"`, `[[[[]]]]`, `-0.0E+1`,
	} {
		f.Add([]byte(seed))
	}
	in := NewInterner()
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := Parse(b)
		valid := strictlyValid(b)
		if valid && depthOf(b) > MaxDepth {
			valid = false
		}
		if (err == nil) != valid {
			t.Fatalf("Parse(%q) error = %v; strictly valid: %v", b, err, valid)
		}
		if err != nil {
			return
		}
		out := v.AppendJSON(nil)
		var want, got any
		wantErr, gotErr := json.Unmarshal(b, &want), json.Unmarshal(out, &got)
		if (wantErr == nil) != (gotErr == nil) || !reflect.DeepEqual(got, want) {
			t.Fatalf("Parse(%q) was written as %q", b, out)
		}
		again, err := in.Parse(out)
		if err != nil || !again.Equal(v) || !bytes.Equal(again.AppendJSON(nil), out) {
			t.Fatalf("%q is not read back as it was written: %v", out, err)
		}
	})
}
