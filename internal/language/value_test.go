package language_test

import (
	"fmt"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/value"
)

// A number that may be a word, the contrary of a truth, and texts with names are read in the order of the file, or say what they should be.
func TestValues(t *testing.T) {
	for _, tt := range []struct {
		what, text string
		want       string // what is read, or what is said
	}{
		{"count", "7", "7"},
		{"count", "all", "-1"},
		{"count", "1_0", "10"},
		{"count", `"7"`, "7"},
		{"count", "some", `"some" is neither a whole number nor all`},
		{"count", "11", "11 is out of range; use 0 to 10"},
		{"count", "[1]", "expected a whole number"},
		{"count", "1.5", "expected a whole number"},
		{"not", "true", "false"},
		{"not", "false", "true"},
		{"not", "maybe", "expected true or false"},
		{"texts", "{b: x, a: y}", "b=x a=y"},
		{"texts", "{}", ""},
		{"texts", "[b]", "expected names with texts such as {Name: value}, found a list"},
		{"texts", "{b: [x]}", "expected text, found a list"},
	} {
		var doc yaml.Node
		if err := yaml.Load([]byte(tt.text), &doc); err != nil {
			t.Fatal(err)
		}
		count, not, texts := 0, false, []string(nil)
		v := map[string]language.Value{
			"count": value.CountOr(&count, 0, 10, "all", -1), "not": value.Not(&not),
			"texts": value.TextsByName(func(name, text string) { texts = append(texts, name+"="+text) }),
		}[tt.what]
		r := language.NewReader("x.yaml")
		v.Read(r, "key", doc.Content[0])
		got := map[string]string{"count": fmt.Sprint(count), "not": fmt.Sprint(not), "texts": strings.Join(texts, " ")}[tt.what]
		if err := r.Err(); err != nil {
			got = err.Error()
		}
		if r.Err() == nil && got != tt.want || !strings.Contains(got, tt.want) {
			t.Errorf("%s %s: %q; want %q", tt.what, tt.text, got, tt.want)
		}
	}
}
