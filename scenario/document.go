package scenario

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/fleet/payload"
)

// value is a node as payloads and documents have it: members in the order of the file, dates and numbers as they
// are written. Mistakes are problems; false says that there were some.
func (r *reader) value(path string, n *yaml.Node) (any, bool) {
	r.places[path] = placeOf(n)
	switch n.Kind {
	case yaml.MappingNode:
		before := len(r.problems)
		object := make(payload.Object, 0, len(n.Content)/2)
		r.pairs(path, n, func(key string, k, v *yaml.Node) {
			if k.Kind != yaml.ScalarNode || k.Value == "<<" && k.Style == 0 {
				r.fail(path, k, "expected the name of a member, found %s; names are texts, and << merges nothing here", kindName(k))
				return
			}
			if x, ok := r.value(join(path, key), v); ok {
				object = append(object, payload.Member{Name: key, Value: x})
			}
		})
		return object, len(r.problems) == before
	case yaml.SequenceNode:
		before := len(r.problems)
		list := make([]any, 0, len(n.Content))
		for i, item := range n.Content {
			if x, ok := r.value(fmt.Sprintf("%s[%d]", path, i), item); ok {
				list = append(list, x)
			}
		}
		return list, len(r.problems) == before
	case yaml.ScalarNode:
		return r.scalarValue(path, n)
	default:
		return nil, false // an alias, of which it was said
	}
}

func (r *reader) scalarValue(path string, n *yaml.Node) (any, bool) {
	switch n.ShortTag() {
	case "!!str", "!!timestamp":
		return n.Value, true // JSON has no dates: they stay what was written
	case "!!int", "!!float":
		var f float64
		if err := n.Decode(&f); err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
			r.fail(path, n, "%s is no number that JSON has; write it in quotes to send it as text", n.Value)
			return nil, false
		}
		if json.Valid([]byte(n.Value)) {
			return json.Number(n.Value), true
		}
	case "!!bool", "!!null":
	default:
		r.fail(path, n, "the tag %s means nothing here; remove it", n.ShortTag())
		return nil, false
	}
	var v any
	if err := n.Decode(&v); err != nil {
		r.fail(path, n, "this is no JSON: %v", err)
		return nil, false
	}
	return v, true
}

// compile compiles a node as a template; each of its mistakes is a problem at its own place.
func (r *reader) compile(path string, n *yaml.Node) *payload.Template {
	v, ok := r.value(path, n)
	if !ok {
		return nil
	}
	t, err := payload.Compile(v)
	for _, one := range unjoin(err) {
		var mistake *payload.Error
		if errors.As(one, &mistake) {
			at := path
			if mistake.Path != "" {
				at = join(path, mistake.Path)
			}
			r.failAt(at, place{}, "%v", mistake.Err)
		}
	}
	return t
}

// template reads an object that is rendered for each device and turn.
func template(into **payload.Template) value {
	return value{form: formAny, read: func(r *reader, path string, n *yaml.Node) {
		if n.Kind != yaml.MappingNode {
			r.fail(path, n, "expected an object such as {temperature: \"{{ normal 21 3 }}\"}, found %s", kindName(n))
			return
		}
		if t := r.compile(path, n); t != nil {
			*into = t
		}
	}}
}

// document reads an object that is sent as it is.
func document(into *json.RawMessage) value {
	return value{form: formAny, read: func(r *reader, path string, n *yaml.Node) {
		if n.Kind != yaml.MappingNode {
			r.fail(path, n, "expected an object, found %s", kindName(n))
			return
		}
		t := r.compile(path, n)
		if t == nil {
			return
		}
		*into = json.RawMessage("{}") // of one with mistakes, so that nothing follows from them
		if text, ok := t.Constant(); ok {
			*into = text
			return
		}
		for _, member := range t.Variable() {
			r.failAt(join(path, member), place{}, "templates stand in telemetry.payload and reported.properties; this is the same for all devices: write a value (for {{ itself {{ pick \"{{\" }}), or give groups of their own other values")
		}
	}}
}
