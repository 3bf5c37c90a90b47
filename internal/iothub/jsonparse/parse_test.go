package jsonparse

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
)

// mustParse parses a document the test wrote itself.
func mustParse(t testing.TB, text string) jsonvalue.Value {
	t.Helper()
	v, err := Parse([]byte(text))
	if err != nil {
		t.Fatalf("Parse(%s): %v", text, err)
	}
	return v
}

func TestParseKeepsTextAndOrder(t *testing.T) {
	for _, text := range []string{
		`null`, `true`, `false`, `0`, `-0`, `1.0`, `1e3`, `-12.5E-07`, `12345678901234567890`,
		`""`, `"a b"`, `"\u0000\n\"\\"`, `"é€😀"`, `[]`, `{}`, `[1,[2,{"a":null}],"x"]`,
		`{"z":1,"a":{"y":1.0,"b":[true,false]},"":0}`,
	} {
		if got := mustParse(t, text).String(); got != text {
			t.Errorf("Parse(%s).String() = %s", text, got)
		}
	}
	spaced := " {\t\"a\" :\r\n[ 1 , 2 ] , \"b\" : { } } "
	if got, want := mustParse(t, spaced).String(), `{"a":[1,2],"b":{}}`; got != want {
		t.Errorf("Parse(%q) = %s; want %s", spaced, got, want)
	}
	if got, want := mustParse(t, `"\/\b\f\r\t\u00e9\uD83D\ude00"`).Str(), "/\b\f\r\té😀"; got != want {
		t.Errorf("escapes decode to %q; want %q", got, want)
	}
}

func TestParseRefuses(t *testing.T) {
	tests := []struct {
		text   string
		offset int
		reason string
	}{
		{``, 0, "unexpected end"},
		{`{`, 1, "a name was expected"},
		{`{"a"}`, 4, "a colon was expected"},
		{`{"a":1,}`, 7, "a name was expected"},
		{`{"a":1 "b":2}`, 7, "a comma or a closing brace was expected"},
		{`{"a":1,"a":2}`, 7, "duplicate name"},
		{`{"a":1,"\u0061":2}`, 7, "duplicate name"},
		{`[1,]`, 3, "a value was expected"},
		{`[1 2]`, 3, "a comma or a closing bracket was expected"},
		{`01`, 1, "text after the value"},
		{`-`, 1, "a digit was expected"},
		{`1.`, 2, "a digit was expected"},
		{`1e+`, 3, "a digit was expected"},
		{`.5`, 0, "a value was expected"},
		{`nul`, 0, "a value was expected"},
		{`"abc`, 4, "a string has no end"},
		{`"a\`, 2, "a string has no end"},
		{"\"a\nb\"", 2, "a control character in a string"},
		{"\"a\xffb\"", 1, "a string is not valid UTF-8"},
		{"\"\\n\xff\"", 1, "a string is not valid UTF-8"},
		{`"\x"`, 1, "an unknown escape"},
		{`"\u12g4"`, 1, "an escape needs four hexadecimal digits"},
		{`"\ud800"`, 1, "an escape of half a surrogate pair"},
		{`"\udc00\ud800"`, 1, "an escape of half a surrogate pair"},
		{`{} {}`, 3, "text after the value"},
		{strings.Repeat("[", MaxDepth+1), MaxDepth, "nested too deeply"},
		{strings.Repeat(`{"a":`, MaxDepth+1), 5 * MaxDepth, "nested too deeply"},
	}
	for _, tt := range tests {
		_, err := Parse([]byte(tt.text))
		var syntax *SyntaxError
		if !errors.As(err, &syntax) {
			t.Errorf("Parse(%.40q) error = %v; want a SyntaxError", tt.text, err)
			continue
		}
		if syntax.Offset != tt.offset || syntax.Reason != tt.reason {
			t.Errorf("Parse(%.40q) = %v; want offset %d: %s", tt.text, err, tt.offset, tt.reason)
		}
	}
	deep := strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth)
	mustParse(t, deep)
}

func TestParseDuplicateNamesInLargeObjects(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"k0":0`)
	for i := 1; i < 3*manyNames; i++ {
		b.WriteString(`,"k` + jsonvalue.IntValue(int64(i)).Literal() + `":0`)
	}
	large := b.String()
	if got := mustParse(t, large+`}`).Len(); got != 3*manyNames {
		t.Errorf("Len() = %d; want %d", got, 3*manyNames)
	}
	for _, name := range []string{"k0", "k17", "k47"} {
		if _, err := Parse([]byte(large + `,"` + name + `":1}`)); err == nil {
			t.Errorf("a second %q was accepted", name)
		}
	}
}

// TestInternerShares proves that two documents hold the same bytes, and that the
// result does not depend on the interner.
func TestInternerShares(t *testing.T) {
	in := NewInterner()
	text := []byte(`{"connectivity":{"type":"cellular","rssi":-71}}`)
	one, err := in.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	two, err := in.Parse(slices.Clone(text))
	if err != nil {
		t.Fatal(err)
	}
	a, b := one.Path("connectivity", "type").Str(), two.Path("connectivity", "type").Str()
	if unsafe.StringData(a) != unsafe.StringData(b) {
		t.Error("equal words are stored twice")
	}
	clear(text)
	if !one.Equal(two) || one.String() != `{"connectivity":{"type":"cellular","rssi":-71}}` {
		t.Errorf("the value shares memory with the text it was read from: %s", one)
	}
}

// TestInternerInParallel parses different texts at once with one interner: each must come
// out as it went in.
func TestInternerInParallel(t *testing.T) {
	in := NewInterner()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for n := range 500 {
				text := fmt.Sprintf(`{"k%d":{"%d":[%d,"v%d\n"]}}`, n%7, g, n, n%50)
				if v, err := in.Parse([]byte(text)); err != nil || v.String() != text {
					t.Errorf("Parse(%s) = %s, %v", text, v, err)
				}
			}
		})
	}
	wg.Wait()
}

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
		second, err := in.Parse(out)
		if err != nil || !second.Equal(v) || !bytes.Equal(second.AppendJSON(nil), out) {
			t.Fatalf("%q is not read back as it was written: %v", out, err)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	text := []byte(`{"deviceId":"dev-1","etag":"AAAAAAAAAAI=","deviceEtag":"NzQxMTYyNTA3","status":"enabled","statusUpdateTime":"2026-01-01T00:00:01.1234567Z",` +
		`"connectionState":"Connected","lastActivityTime":"2026-01-01T00:00:02.1234567Z","cloudToDeviceMessageCount":3,"version":4,` +
		`"tags":{"location":{"region":"US","plant":"Redmond43"}},"properties":{"desired":{"telemetrySendFrequency":"5m","route":{"on":true},` +
		`"$metadata":{"$lastUpdated":"2026-01-01T00:00:03.1234567Z","$lastUpdatedVersion":2},"$version":2},` +
		`"reported":{"connectivity":{"type":"cellular"},"$metadata":{"$lastUpdated":"2026-01-01T00:00:04.1234567Z"},"$version":2}}}`)
	for name, in := range map[string]*Interner{"plain": nil, "interned": NewInterner()} {
		b.Run("report/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := in.Parse([]byte(`{"connectivity":{"type":"cellular"}}`)); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("twin/"+name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if _, err := in.Parse(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
