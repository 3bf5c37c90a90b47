package jsonvalue_test

import (
	"encoding/json"
	"math"
	"slices"
	"testing"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonparse"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
)

// mustParse parses a document the test wrote itself.
func mustParse(t testing.TB, text string) jsonvalue.Value {
	t.Helper()
	v, err := jsonparse.Parse([]byte(text))
	if err != nil {
		t.Fatalf("Parse(%s): %v", text, err)
	}
	return v
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
	if got := v.Get("z"); got.Kind() != jsonvalue.Null || !got.IsDefined() {
		t.Errorf("null has kind %v", got.Kind())
	}
	if got := v.Path("o", "p", "q").Num(); got != 7 {
		t.Errorf(`Path("o","p","q") = %v; want 7`, got)
	}
	for _, path := range [][]string{{"x"}, {"b", "x"}, {"a", "0"}, {"a", ""}, {"o", "q"}} {
		if got := v.Path(path...); got.IsDefined() || got.Kind() != jsonvalue.Undefined {
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
		v := jsonvalue.NumberValue(f)
		if v.Literal() != want || v.Num() != f {
			t.Errorf("NumberValue(%v) = %s (%v); want %s", f, v.Literal(), v.Num(), want)
		}
	}
	for _, f := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		if got := jsonvalue.NumberValue(f); got.IsDefined() {
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
	if !(jsonvalue.Value{}).Equal(jsonvalue.Value{}) || (jsonvalue.Value{}).Equal(jsonvalue.NullValue()) {
		t.Error("undefined equals undefined and nothing else")
	}
}

func TestConstructors(t *testing.T) {
	v := jsonvalue.ObjectValue(
		jsonvalue.Member{Key: "a", Value: jsonvalue.ArrayValue(jsonvalue.NumberValue(1), jsonvalue.StringValue("x"), jsonvalue.NullValue())},
		jsonvalue.Member{Key: "b", Value: jsonvalue.BoolValue(true)}, jsonvalue.Member{Key: "c", Value: jsonvalue.ObjectValue()}, jsonvalue.Member{
			Key:   "d",
			Value: jsonvalue.ArrayValue(),
		}, jsonvalue.Member{Key: "e", Value: jsonvalue.BoolValue(false)})
	if got, want := v.String(), `{"a":[1,"x",null],"b":true,"c":{},"d":[],"e":false}`; got != want {
		t.Errorf("got %s; want %s", got, want)
	}
	text, err := json.Marshal(struct{ V, W jsonvalue.Value }{V: jsonvalue.ObjectValue(jsonvalue.Member{Key: "a", Value: jsonvalue.LiteralValue("1.0")})})
	if err != nil || string(text) != `{"V":{"a":1.0},"W":null}` {
		t.Errorf("encoding/json writes %s, %v", text, err)
	}
	if (jsonvalue.Value{}).String() != "undefined" || jsonvalue.Object.String() != "object" || jsonvalue.Undefined.String() != "undefined" {
		t.Error("names of kinds")
	}
}

func TestHasArray(t *testing.T) {
	for text, want := range map[string]bool{`{"a":{"b":[]}}`: true, `[]`: true, `{"a":{"b":1}}`: false, `"x"`: false} {
		if got := mustParse(t, text).HasArray(); got != want {
			t.Errorf("HasArray(%s) = %v", text, got)
		}
	}
}
