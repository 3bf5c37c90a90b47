package strictjson

import (
	"strings"
	"testing"
)

func TestDecode(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{`{"name": "x", "count": 2}`, ""},
		{"\ufeff{}", ""},
		{"{\n\"name\": \"x\",\n\"cuont\": 2}", `f.json:3: unknown member "cuont"; correct its name or remove it`},
		{"{\n\"count\": \"two\"}", "f.json:2: count: expected a number, found a string"},
		{"{\n\n\"name\": }", "f.json:3: this is no JSON: "},
		{"{\"name\": \"x\"}\n{}", "f.json:2: there is text after the end"},
		{"", "f.json: the JSON object ends too early"},
		{`{"name": "x"`, "f.json: the JSON object ends too early"},
	} {
		var into struct {
			Name  string `json:"name"`
			Count int    `json:"count"`
		}
		err := Decode("f.json", []byte(tt.text), &into)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want) || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%q: %v; want %s", tt.text, err, tt.want)
		}
	}
}

// A member that is there twice is a mistake; the same name elsewhere, or as a value, is none.
func TestRepeated(t *testing.T) {
	for text, want := range map[string]string{
		`{"a": 1, "b": {"a": 2}, "c": ["a", "a", {"a": 1}, {"a": 1}]}`: "",
		`{"a": "a", "b": "a"}`:             "",
		`{"a": [], "b": {}, "c": null}`:    "",
		"{\"a\": 1,\n\"b\": 2,\n\"a\": 3}": `f.json:3: member "a" is there twice; remove one`,
		`{"b": [{"c": {"x": 1}, "c": 2}]}`: `f.json:1: member "c" is there twice; remove one`,
		`{"b": {"x": [1, {}], "x": "y"}}`:  `f.json:1: member "x" is there twice; remove one`,
		"\ufeff" + `{"a": 1, "a": 1}`:      `f.json:1: member "a" is there twice; remove one`,
	} {
		var into map[string]any
		got := ""
		if err := Decode("f.json", []byte(text), &into); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q; want %q", text, got, want)
		}
	}
}
