package digitaltwins

import (
	"strings"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/section"
)

// Patch turns a JSON patch (RFC 6902) of a digital twin into a merge-patch of desired properties. The operations are
// add, replace and remove, of a property, a component, or a property of a component. The error is
// iothub.ErrArgumentInvalid.
func Patch(t *twin.Twin, operations jsonvalue.Value) (desired jsonvalue.Value, err error) {
	if operations.Kind() != jsonvalue.Array || operations.Len() == 0 {
		return desired, invalid("the body must be a list of operations")
	}
	desired = jsonvalue.ObjectValue()
	after := t.Desired.Value() // as the operations so far leave it
	for op := range operations.Elems() {
		change, err := operation(t, after, op)
		if err != nil {
			return jsonvalue.Value{}, err
		}
		after = section.MergePatch(after, change)
		desired = join(desired, change)
	}
	return desired, nil
}

// operation turns one operation into a merge-patch.
func operation(t *twin.Twin, after, op jsonvalue.Value) (jsonvalue.Value, error) {
	path, err := pointer(op.Get("path"))
	if err != nil {
		return jsonvalue.Value{}, err
	}
	value := op.Get("value")
	switch name := op.Get("op").Str(); name {
	case "add", "replace":
		if !value.IsDefined() || value.Kind() == jsonvalue.Null {
			return jsonvalue.Value{}, invalid("the operation %s needs a value", name)
		}
	case "remove":
		value = jsonvalue.NullValue()
	default:
		return jsonvalue.Value{}, invalid("the operation must be add, replace or remove, not %q", shorten(name))
	}
	name := path[0]
	component := isComponent(t.Reported.Value().Get(name)) || isComponent(after.Get(name))
	if len(path) == 2 {
		known := t.Reported.Value().Get(name).IsDefined() || after.Get(name).IsDefined()
		if known && !component {
			return jsonvalue.Value{}, invalid("%q is a property, which is written whole", shorten(name))
		}
		return member(name, jsonvalue.ObjectValue(marker(), jsonvalue.Member{Key: path[1], Value: value})), nil
	}
	if value.Kind() == jsonvalue.Null {
		return member(name, value), nil
	}
	marked := value.Get(keyMetadata).Kind() == jsonvalue.Object
	switch {
	case component && !marked:
		return jsonvalue.Value{}, invalid("a component that is written whole must hold \"$metadata\": {}")
	case !marked:
		return member(name, value), nil
	}
	return member(name, whole(after.Get(name), value)), nil
}

// whole is the patch that makes a component hold what a value has, and nothing else.
func whole(before, value jsonvalue.Value) jsonvalue.Value {
	members := []jsonvalue.Member{marker()}
	for key, v := range value.Members() {
		if key != keyMetadata && key != componentMarker {
			members = append(members, jsonvalue.Member{Key: key, Value: v})
		}
	}
	for key := range before.Members() {
		if key != componentMarker && !value.Get(key).IsDefined() {
			members = append(members, jsonvalue.Member{Key: key, Value: jsonvalue.NullValue()})
		}
	}
	return jsonvalue.ObjectValue(members...)
}

func marker() jsonvalue.Member {
	return jsonvalue.Member{Key: componentMarker, Value: jsonvalue.StringValue(componentType)}
}

func member(name string, v jsonvalue.Value) jsonvalue.Value {
	return jsonvalue.ObjectValue(jsonvalue.Member{Key: name, Value: v})
}

// join puts two merge-patches together: what both name the later one says, and its nulls stay.
func join(first, then jsonvalue.Value) jsonvalue.Value {
	if first.Kind() != jsonvalue.Object || then.Kind() != jsonvalue.Object {
		return then
	}
	members := make([]jsonvalue.Member, 0, first.Len()+then.Len())
	for key, v := range first.Members() {
		if later := then.Get(key); later.IsDefined() {
			v = join(v, later)
		}
		members = append(members, jsonvalue.Member{Key: key, Value: v})
	}
	for key, v := range then.Members() {
		if !first.Get(key).IsDefined() {
			members = append(members, jsonvalue.Member{Key: key, Value: v})
		}
	}
	return jsonvalue.ObjectValue(members...)
}

// pointer reads a JSON pointer (RFC 6901) to a property, a component, or a property of a component.
func pointer(v jsonvalue.Value) ([]string, error) {
	text := v.Str()
	if v.Kind() != jsonvalue.String || !strings.HasPrefix(text, "/") {
		return nil, invalid("the path of an operation must begin with /")
	}
	path := strings.Split(text[1:], "/")
	if len(path) > 2 {
		return nil, invalid("the path %q is too deep: properties are written whole", shorten(text))
	}
	for i, name := range path {
		path[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(name)
		if name == "" || strings.HasPrefix(name, "$") || name == componentMarker {
			return nil, invalid("the path %q names nothing that can be written", shorten(text))
		}
	}
	return path, nil
}

func invalid(format string, a ...any) error { return iothub.ErrArgumentInvalid.With(format, a...) }

// shorten keeps a message from growing with what a client sends.
func shorten(s string) string {
	const longest = 64
	if len(s) <= longest {
		return s
	}
	return s[:longest] + "..."
}
