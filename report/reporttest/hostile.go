package reporttest

import (
	"reflect"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/report/clean"
)

// evil is what nobody should have in a name: it moves a cursor, begins lines, and is markup of several kinds.
const evil = "\x1b[31m\n# head\n\x07 ![x](http://e.example/x.png) [l](javascript:x) @here www.e.example <img src=x> | ``` `c`"

// Hostile puts such text behind every text that a value holds, as in a record that somebody sends, and cleans it as those are cleaned.
func Hostile[T any](p *T) {
	spoil(reflect.ValueOf(p).Elem())
	clean.All(p)
}

func spoil(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if v.CanSet() && v.Type() == reflect.TypeFor[string]() {
			v.SetString(v.String() + evil)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			spoil(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				spoil(v.Field(i))
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			spoil(v.Index(i))
		}
	}
}

// PlainMarkdown fails a test whose Markdown holds markup that came with the text of Hostile, outside code blocks.
func PlainMarkdown(t *testing.T, text string) {
	t.Helper()
	if !strings.Contains(text, "head") {
		t.Error("nothing of the hostile text is shown: the test tests nothing")
	}
	code := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			code = !code
			continue
		}
		if code {
			continue
		}
		if i := strings.IndexByte(line, '`'); i >= 0 { // in code of a line nothing is markup
			j := strings.LastIndexByte(line, '`')
			line = line[:i] + line[j:]
		}
		line = strings.ReplaceAll(line, `\]`, "")
		for _, markup := range []string{"](", "<img", "@here", "http://", "www.", "\x1b", "\x07"} {
			if strings.Contains(line, markup) {
				t.Errorf("%q in %q", markup, line)
			}
		}
		if strings.HasPrefix(line, "# head") {
			t.Errorf("a heading of its own: %q", line)
		}
	}
	if code {
		t.Error("a code block does not end where it should")
	}
}
