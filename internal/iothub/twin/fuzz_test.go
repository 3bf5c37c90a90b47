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

// FuzzMerge merges any patch into any section, as a device's report, a service's patch
// and a service's replacement, and holds the outcome against the model.
func FuzzMerge(f *testing.F) {
	f.Add([]byte(`{"a":1,"o":{"x":1}}`), []byte(`{"a":null,"o":{"y":[1]}}`), false)
	f.Add([]byte(`{"o":{"x":{"y":1}}}`), []byte(`{"o":{"x":2}}`), true)
	f.Add([]byte(`{}`), []byte(`{"a":{"b":{"c":null}}}`), false)
	f.Add([]byte(`{"a":[1]}`), []byte(`{"a":[null]}`), false)
	f.Fuzz(func(t *testing.T, base, patch []byte, replace bool) {
		b, err := Parse(base)
		p, patchErr := Parse(patch)
		if err != nil || patchErr != nil {
			return
		}
		old, err := NewSection(Desired).Merge(b, at(1))
		if err != nil {
			return
		}
		model := newModel(Desired)
		model.write(decodeAny(base).(map[string]any), false, at(1))
		next, delta, err := mergeOrReplace(old, p, replace)
		if err != nil {
			if next != nil || err.Error() == "" {
				t.Fatalf("a refused write: %v, %q", next, err)
			}
			return
		}
		if !model.write(decodeAny(patch).(map[string]any), replace, at(2)) {
			t.Fatalf("%s into %s: beyond the size limit, and accepted", patch, base)
		}
		if got := next.AppendJSON(nil, true, true); !reflect.DeepEqual(decodeAny(got), any(model.document())) {
			t.Fatalf("%s into %s gives\n%s", patch, base, got)
		}
		if next.Size() != modelSize(model.doc) {
			t.Fatalf("%s into %s has size %d; the model %d", patch, base, next.Size(), modelSize(model.doc))
		}
		if !Merge(old.Value(), delta).Equal(next.Value()) {
			t.Fatalf("a device that merges %s into %s does not arrive at %s", delta, old.Value(), next.Value())
		}
	})
}

// mergeOrReplace writes a patch either way and returns what a device is told.
func mergeOrReplace(s *Section, patch Value, replace bool) (*Section, Value, error) {
	if replace {
		return s.Replace(patch, at(2))
	}
	next, err := s.Merge(patch, at(2))
	return next, patch, err
}

// FuzzDecodeBinary feeds the decoder of records with anything: it must refuse or give a
// twin that is written again as it was read.
func FuzzDecodeBinary(f *testing.F) {
	f.Add(New("d").AppendBinary(nil))
	f.Add(classic(f).AppendBinary(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		tw, _, err := DecodeBinary(b, nil)
		if err != nil {
			return
		}
		record := tw.AppendBinary(nil)
		again, rest, err := DecodeBinary(record, nil)
		if err != nil || len(rest) != 0 || !bytes.Equal(again.AppendBinary(nil), record) {
			t.Fatalf("%x was written as %x, which is not read back: %v", b, record, err)
		}
	})
}
