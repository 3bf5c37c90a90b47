package payload_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/fleet/payload"
)

// anyJSON is payloads of JSON of any kind, as rows of a file are.
type anyJSON string

func (x anyJSON) Append(dst []byte, _ *payload.Context) []byte { return append(dst, x...) }
func (x anyJSON) Objects() bool                                { return strings.HasPrefix(string(x), "{") }

func template(t testing.TB, value any) payload.Source {
	t.Helper()
	p, err := payload.Compile(value)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func textOf(t testing.TB, s string) payload.Source {
	t.Helper()
	p, err := payload.CompileText(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestFilled(t *testing.T) {
	object := template(t, payload.Object{{"n", "{{ seq }}"}}) // {"n":3}
	for _, tt := range []struct {
		source        payload.Source
		size, reserve int
		want          string
	}{
		{nil, 2, 0, `{}`},
		{nil, 5, 0, `{   }`},
		{nil, 14, 0, `{"_filler":""}`},
		{nil, 16, 0, `{"_filler":"xx"}`},
		{template(t, payload.Object{}), 13, 0, `{           }`},
		{object, 1, 0, `{"n":3}`},
		{object, 7, 0, `{"n":3}`},
		{object, 8, 0, `{"n":3 }`},
		{object, 19, 0, `{"n":3            }`},
		{object, 20, 0, `{"n":3,"_filler":""}`},
		{object, 23, 0, `{"n":3,"_filler":"xxx"}`},
		{object, 33, 10, `{"n":3,"_filler":"xxx"}`},
		{object, 33, 40, `{"n":3}`},
		{template(t, []any{}), 5, 0, `[   ]`},
		{template(t, []any{1, "{{ seq }}"}), 8, 0, `[1,3   ]`},
		{template(t, "{{ seq }}"), 3, 0, `3  `},
		{textOf(t, "{{ seq }}"), 3, 0, `3  `},
		{textOf(t, "{}"), 4, 0, `{}  `},
		{textOf(t, ""), 2, 0, `  `},
		{anyJSON(`{ "a": 1 }`), 24, 0, `{ "a": 1 ,"_filler":"x"}`},
		{anyJSON("{\t}"), 16, 0, "{\t" + `"_filler":"x"}`},
		{anyJSON(`[1]`), 4, 0, `[1 ]`},
		{anyJSON(`"}"`), 5, 0, `"}"  `},
		{payload.Bytes("{}"), 4, 0, "{}\x00\x00"},
		{payload.Bytes("\x01"), 1, 0, "\x01"},
		{payload.Fill(object, 8), 9, 0, `{"n":3  }`},
	} {
		f := payload.Fill(tt.source, tt.size)
		c := newContext(1)
		c.Reserve = tt.reserve
		if got := string(f.Append([]byte("before"), c)); got != "before"+tt.want {
			t.Errorf("%T of %d bytes, %d in reserve: %q; want %q", tt.source, tt.size, tt.reserve, got, tt.want)
		}
		if f.Size() != tt.size || f.Source() == nil {
			t.Errorf("it fills %v to %d; want %v to %d", f.Source(), f.Size(), tt.source, tt.size)
		}
	}
}

// A payload of any form has exactly the size that was asked for, unless it is larger by itself, and holds what it held.
func TestFilledExactly(t *testing.T) {
	texts := rapid.SampledFrom([]string{"x", "", "{{ uniform 0 1000 }}", `{{ pick "a" "bbbbbbbbbbbbbb" "" }}`, "{{ seq }} {{ uuid }}", "é\"\\", "{{ bool }}"})
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.IntRange(1, 300).Draw(rt, "size")
		list := []any{}
		for _, s := range rapid.SliceOfN(texts, 0, 5).Draw(rt, "list") {
			list = append(list, s)
		}
		members := rapid.MapOfN(rapid.StringMatching(`[a-z]{1,5}`), texts, 0, 5).Draw(rt, "members")
		object := payload.Object{}
		for _, name := range slices.Sorted(maps.Keys(members)) {
			object = append(object, payload.Member{Name: name, Value: members[name]})
		}
		source := map[string]payload.Source{
			"object": template(t, object), "list": template(t, list), "text": textOf(t, strings.Join(rapid.SliceOfN(texts, 0, 5).Draw(rt, "text"), "")),
			"bytes": payload.Bytes(rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(rt, "bytes")), "nothing": nil,
		}
		seed := rapid.Uint64().Draw(rt, "seed")
		for form, s := range source {
			plain, filled := []byte("{}"), payload.Fill(s, size).Append(nil, newContext(seed))
			if s != nil {
				plain = s.Append(nil, newContext(seed))
			}
			if want := max(size, len(plain)); len(filled) != want {
				rt.Fatalf("%s %s filled to %d has %d bytes: %s", form, plain, want, len(filled), filled)
			}
			switch form {
			case "text", "bytes":
				if rest, ok := bytes.CutPrefix(filled, plain); !ok || len(bytes.Trim(rest, map[string]string{"text": " ", "bytes": "\x00"}[form])) > 0 {
					rt.Fatalf("%s %q was filled to %q", form, plain, filled)
				}
			default:
				var before, after any
				if err := json.Unmarshal(filled, &after); err != nil {
					rt.Fatalf("%s %s was filled to %s: %v", form, plain, filled, err)
				}
				_ = json.Unmarshal(plain, &before)
				if m, ok := after.(map[string]any); ok {
					delete(m, payload.Filler)
				}
				if !reflect.DeepEqual(before, after) {
					rt.Fatalf("%s %s was filled to %s", form, plain, filled)
				}
			}
		}
	})
}
