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
