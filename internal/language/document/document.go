// Package document is values of a language that are sent to somebody: objects, as they are or as templates, and files of them.
package document

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/fleet/payload"
	"github.com/twinfleet/twinfleet/fleet/payload/rows"
	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/form"
	"github.com/twinfleet/twinfleet/scenario/problem"
)

// Template is an object that is rendered for each device and turn.
func Template(into **payload.Template) language.Value {
	return language.Value{Form: form.Any, Read: func(r *language.Reader, path string, n *yaml.Node) {
		if n.Kind != yaml.MappingNode {
			r.Fail(path, n, "expected an object such as {temperature: \"{{ normal 21 3 }}\"}, found %s", language.KindName(n))
			return
		}
		if t := compile(r, path, n); t != nil {
			*into = t
		}
	}}
}

// Draft is the content of a message as it is written. It waits for the rows that its templates may ask for, which may stand in the file
// behind it.
type Draft struct {
	document any    // an object or a list, which are sent as JSON; nil for a text
	text     string // which is sent as it is
}

// Content is the content of a message: an object or a list, which becomes JSON, or what else there is, which is a text.
func Content(into **Draft) language.Value {
	return language.Value{Form: form.Content, Read: func(r *language.Reader, path string, n *yaml.Node) {
		if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!binary" {
			r.Fail(path, n, "the tag !!binary means nothing here; write the bytes into a file, and its name into payload_bytes: {file: …}")
			return
		}
		if n.Kind == yaml.ScalarNode {
			s, ok := r.Scalar(path, n, `an object, a list or a text, "" for an empty message`, "!!str", "!!int", "!!float", "!!bool")
			if ok {
				*into = &Draft{text: s}
			}
			return
		}
		if v, ok := read(r, path, n); ok {
			*into = &Draft{document: v}
		}
	}}
}

// Compile compiles a draft that stands at a path, with rows, which may be nil. Mistakes are problems; it is nil then.
func (d *Draft) Compile(r *language.Reader, path string, data *rows.Rows) *payload.Template {
	var c payload.Compiler
	if data != nil {
		c.Data = data
	}
	if d.document == nil {
		return told(r, path, func() (*payload.Template, error) { return c.CompileText(d.text) })
	}
	return told(r, path, func() (*payload.Template, error) { return c.Compile(d.document) })
}

// Has reports whether the draft is an object with a member of a name.
func (d *Draft) Has(name string) bool {
	object, _ := d.document.(payload.Object)
	return slices.ContainsFunc(object, func(m payload.Member) bool { return m.Name == name })
}

// Constant is an object that is sent as it is.
func Constant(into *json.RawMessage) language.Value {
	return language.Value{Form: form.Any, Read: func(r *language.Reader, path string, n *yaml.Node) {
		if n.Kind != yaml.MappingNode {
			r.Fail(path, n, "expected an object, found %s", language.KindName(n))
			return
		}
		t := compile(r, path, n)
		if t == nil {
			return
		}
		*into = json.RawMessage("{}") // of one with mistakes, so that nothing follows from them
		if text, ok := t.Constant(); ok {
			*into = text
			return
		}
		for _, member := range t.Variable() {
			r.FailAt(language.Join(path, member), problem.Place{}, "templates stand in telemetry.payload and reported.properties; "+
				"this is the same for all devices: write a value (for {{ itself {{ pick \"{{\" }}), or give groups of their own other values")
		}
	}}
}

// Rows is the name of a file with an object a row; it is found beside the file that names it.
func Rows(into **rows.Rows) language.Value {
	return language.Value{Form: form.Text, Read: func(r *language.Reader, path string, n *yaml.Node) {
		name, ok := r.Scalar(path, n, "the name of a file", "!!str")
		if !ok {
			return
		}
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(r.File), name)
		}
		var x *rows.Rows
		var err error
		if r.ReadFile != nil {
			x, err = rows.ReadBy(name, r.ReadFile)
		} else {
			x, err = rows.Read(name)
		}
		if err != nil {
			r.Fail(path, n, "%v", err)
			return
		}
		*into = x
	}}
}

// compile compiles a node as a template.
func compile(r *language.Reader, path string, n *yaml.Node) *payload.Template {
	v, ok := read(r, path, n)
	if !ok {
		return nil
	}
	return told(r, path, func() (*payload.Template, error) { return payload.Compile(v) })
}

// told is a template that is compiled; each of its mistakes is a problem at its own place.
func told(r *language.Reader, path string, compile func() (*payload.Template, error)) *payload.Template {
	t, err := compile()
	for _, one := range unjoin(err) {
		var mistake *payload.Error
		if errors.As(one, &mistake) {
			at := path
			switch {
			case strings.HasPrefix(mistake.Path, "["):
				at += mistake.Path
			case mistake.Path != "":
				at = language.Join(path, mistake.Path)
			}
			r.FailAt(at, problem.Place{}, "%v", mistake.Err)
		}
	}
	return t
}

// unjoin takes errors.Join apart.
func unjoin(err error) []error {
	var many interface{ Unwrap() []error }
	if errors.As(err, &many) && strings.Contains(err.Error(), "\n") {
		return many.Unwrap()
	}
	return []error{err}
}

// read is a node as payloads have it: members in the order of the file, dates and numbers as they are written. Mistakes are
// problems; false says that there were some.
func read(r *language.Reader, path string, n *yaml.Node) (any, bool) {
	r.Note(path, n)
	switch n.Kind {
	case yaml.MappingNode:
		before := r.Problems()
		object := make(payload.Object, 0, len(n.Content)/2)
		r.Pairs(path, n, func(key string, k, v *yaml.Node) {
			if k.Kind == yaml.MappingNode {
				r.Fail(path, k, "expected the name of a member, found an object; a template stands in quotes, as in \"{{ seq }}\"")
				return
			}
			if k.Kind != yaml.ScalarNode || k.Value == "<<" && k.Style == 0 {
				r.Fail(path, k, "expected the name of a member, found %s; names are texts, and << merges nothing here", language.KindName(k))
				return
			}
			if x, ok := read(r, language.Join(path, key), v); ok {
				object = append(object, payload.Member{Name: key, Value: x})
			}
		})
		return object, r.Problems() == before
	case yaml.SequenceNode:
		before := r.Problems()
		list := make([]any, 0, len(n.Content))
		for i, item := range n.Content {
			if x, ok := read(r, fmt.Sprintf("%s[%d]", path, i), item); ok {
				list = append(list, x)
			}
		}
		return list, r.Problems() == before
	case yaml.ScalarNode:
		return readScalar(r, path, n)
	default:
		return nil, false // an alias, of which it was said
	}
}

func readScalar(r *language.Reader, path string, n *yaml.Node) (any, bool) {
	switch n.ShortTag() {
	case "!!str", "!!timestamp":
		return n.Value, true // JSON has no dates: they stay what was written
	case "!!int", "!!float":
		var f float64
		if err := n.Decode(&f); err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
			r.Fail(path, n, "%s is no number that JSON has; write it in quotes to send it as text", n.Value)
			return nil, false
		}
		if json.Valid([]byte(n.Value)) {
			return json.Number(n.Value), true
		}
		// YAML makes 8 of 010, and 7 of a serial number that is 007.
		if digits := strings.TrimLeft(n.Value, "+-"); len(digits) > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9' {
			r.Fail(path, n, "%s begins with a zero, as no number of JSON does; write it in quotes to send it as text, or without the zero", n.Value)
			return nil, false
		}
	case "!!bool", "!!null":
	default:
		r.Fail(path, n, "the tag %s means nothing here; remove it", n.ShortTag())
		return nil, false
	}
	var v any
	if err := n.Decode(&v); err != nil {
		r.Fail(path, n, "this is no JSON: %v", err)
		return nil, false
	}
	return v, true
}
