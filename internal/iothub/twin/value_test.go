package twin

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"unsafe"
)

// mustParse parses a document the test wrote itself.
func mustParse(t testing.TB, text string) Value {
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
	for i := 1; i < 3*walkLimit; i++ {
		b.WriteString(`,"k` + IntValue(int64(i)).Literal() + `":0`)
	}
	large := b.String()
	if got := mustParse(t, large+`}`).Len(); got != 3*walkLimit {
		t.Errorf("Len() = %d; want %d", got, 3*walkLimit)
	}
	for _, name := range []string{"k0", "k17", "k47"} {
		if _, err := Parse([]byte(large + `,"` + name + `":1}`)); err == nil {
			t.Errorf("a second %q was accepted", name)
		}
	}
}

func TestValueAccess(t *testing.T) {
	v := mustParse(t, `{"b":true,"n":2.50,"s":"x","z":null,"a":[1,"2"],"o":{"p":{"q":7}}}`)
	if !v.Get("b").Bool() || v.Get("n").Bool() {
		t.Error("Bool() must be true for true alone")
	}
	if got := v.Get("n"); got.Num() != 2.5 || got.Literal() != "2.50" || got.Str() != "" {
		t.Errorf("number = %v, literal %q, string %q", got.Num(), got.Literal(), got.Str())
	}
	if got := v.Get("s"); got.Str() != "x" || got.Literal() != "" || got.Num() != 0 {
		t.Errorf("string = %q, literal %q, number %v", got.Str(), got.Literal(), got.Num())
	}
	if got := v.Get("z"); got.Kind() != Null || !got.IsDefined() {
		t.Errorf("null has kind %v", got.Kind())
	}
	if got := v.Path("o", "p", "q").Num(); got != 7 {
		t.Errorf(`Path("o","p","q") = %v; want 7`, got)
	}
	for _, path := range [][]string{{"x"}, {"b", "x"}, {"a", "0"}, {"a", ""}, {"o", "q"}} {
		if got := v.Path(path...); got.IsDefined() || got.Kind() != Undefined {
			t.Errorf("Path(%q) = %v; want undefined", path, got)
		}
	}
	var names []string
	for name := range v.Members() {
		names = append(names, name)
	}
	if want := []string{"b", "n", "s", "z", "a", "o"}; !slices.Equal(names, want) {
		t.Errorf("Members() = %q; want %q", names, want)
	}
	elems := slices.Collect(v.Get("a").Elems())
	if len(elems) != 2 || elems[0].Num() != 1 || elems[1].Str() != "2" {
		t.Errorf("Elems() = %v", elems)
	}
	if slices.Collect(v.Elems()) != nil {
		t.Error("an object has no elements")
	}
}

func TestNumberValue(t *testing.T) {
	for f, want := range map[float64]string{
		0: "0", 1: "1", -3: "-3", 0.5: "0.5", 1e15: "1000000000000000", 1e21: "1e+21", 1e-7: "1e-07", 1 << 60: "1152921504606847000",
	} {
		v := NumberValue(f)
		if v.Literal() != want || v.Num() != f {
			t.Errorf("NumberValue(%v) = %s (%v); want %s", f, v.Literal(), v.Num(), want)
		}
	}
	for _, f := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		if got := NumberValue(f); got.IsDefined() {
			t.Errorf("NumberValue(%v) = %v; want undefined", f, got)
		}
	}
	if got := mustParse(t, "1e999").Num(); !math.IsInf(got, 1) {
		t.Errorf("1e999 = %v; want +Inf", got)
	}
	if got := mustParse(t, "-0").Num(); got != 0 || !math.Signbit(got) {
		t.Errorf("-0 = %v; want negative zero", got)
	}
}

func TestEqual(t *testing.T) {
	tests := []struct {
		a, b string
		want bool
	}{
		{`1`, `1.0`, true},
		{`1`, `"1"`, false},
		{`null`, `false`, false},
		{`true`, `false`, false},
		{`{"a":1,"b":2}`, `{"b":2,"a":1}`, true},
		{`{"a":1,"b":2}`, `{"a":1}`, false},
		{`{"a":1,"b":2}`, `{"a":1,"c":2}`, false},
		{`[1,2]`, `[2,1]`, false},
		{`[1,2]`, `[1,2]`, true},
		{`{}`, `[]`, false},
	}
	for _, tt := range tests {
		a, b := mustParse(t, tt.a), mustParse(t, tt.b)
		if got := a.Equal(b); got != tt.want {
			t.Errorf("%s equals %s: %v; want %v", tt.a, tt.b, got, tt.want)
		}
		if got := b.Equal(a); got != tt.want {
			t.Errorf("%s equals %s: %v; want %v", tt.b, tt.a, got, tt.want)
		}
	}
	if !(Value{}).Equal(Value{}) || (Value{}).Equal(NullValue()) {
		t.Error("undefined equals undefined and nothing else")
	}
}

func TestConstructors(t *testing.T) {
	v := ObjectValue(
		Member{"a", ArrayValue(NumberValue(1), StringValue("x"), NullValue())},
		Member{"b", BoolValue(true)}, Member{"c", ObjectValue()}, Member{"d", ArrayValue()}, Member{"e", BoolValue(false)})
	if got, want := v.String(), `{"a":[1,"x",null],"b":true,"c":{},"d":[],"e":false}`; got != want {
		t.Errorf("got %s; want %s", got, want)
	}
	var fromJSON struct{ V, W Value }
	if err := json.Unmarshal([]byte(`{"V":{"a":1.0}}`), &fromJSON); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(fromJSON)
	if err != nil || string(text) != `{"V":{"a":1.0},"W":null}` {
		t.Errorf("round trip through encoding/json: %s, %v", text, err)
	}
	if (Value{}).String() != "undefined" || Object.String() != "object" || Undefined.String() != "undefined" {
		t.Error("names of kinds")
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
