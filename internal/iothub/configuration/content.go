package configuration

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonparse"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/limits"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/section"
)

// Leaf is one value that a configuration writes, and where below the desired properties.
type Leaf struct {
	Path  []string
	Value jsonvalue.Value // a scalar, an array or an object without members
}

// Overlaps reports whether two leaves cannot both be there: they are the same, or one stands where the other is below.
func (l Leaf) Overlaps(other Leaf) bool {
	n := min(len(l.Path), len(other.Path))
	return slices.Equal(l.Path[:n], other.Path[:n])
}

// desiredPrefix is what every path of a content begins with.
const desiredPrefix = "properties.desired"

// Kind says what a content is for.
type Kind uint8

// The kinds of content.
const (
	ForDevices Kind = iota
	ForModules
	ForEdge
)

// Parsed is a content that was read.
type Parsed struct {
	Kind    Kind
	Desired jsonvalue.Value            // of ForDevices and ForModules: one document of all its paths
	Leaves  []Leaf                     // of Desired, in the order of the document
	Modules map[string]jsonvalue.Value // of ForEdge: by module id, the desired properties
	Whole   map[string]bool            // of ForEdge: the modules whose desired properties are replaced, not merged
}

// Parse reads a content. The error is iothub.ErrInvalidConfigurationContent.
func (c Content) Parse() (Parsed, error) {
	given := 0
	for _, part := range [][]byte{c.Device, c.Module, c.Modules} {
		if len(part) > 0 && string(part) != "null" {
			given++
		}
	}
	if given != 1 {
		return Parsed{}, invalid("content must hold one of deviceContent, moduleContent and modulesContent")
	}
	p := Parsed{Kind: ForDevices}
	text := c.Device
	switch {
	case len(c.Module) > 0 && string(c.Module) != "null":
		p.Kind, text = ForModules, c.Module
	case len(c.Modules) > 0 && string(c.Modules) != "null":
		return parseEdge(c.Modules)
	}
	doc, err := jsonparse.Parse(text)
	if err != nil {
		return Parsed{}, invalid("content is no JSON: %v", err)
	}
	if p.Desired, _, err = desired(doc); err != nil {
		return Parsed{}, err
	}
	if p.Leaves = leaves(nil, nil, p.Desired); len(p.Leaves) == 0 {
		return Parsed{}, invalid("content writes nothing")
	}
	return p, nil
}

func parseEdge(text []byte) (Parsed, error) {
	doc, err := jsonparse.Parse(text)
	if err != nil || doc.Kind() != jsonvalue.Object || doc.Len() == 0 {
		return Parsed{}, invalid("modulesContent must be an object with a module")
	}
	p := Parsed{Kind: ForEdge, Modules: make(map[string]jsonvalue.Value), Whole: make(map[string]bool)}
	for id, content := range doc.Members() {
		if p.Modules[id], p.Whole[id], err = desired(content); err != nil {
			return Parsed{}, err
		}
	}
	return p, nil
}

// desired puts the paths of a content together into one document; whole says that one of them is all of the desired
// properties.
func desired(content jsonvalue.Value) (doc jsonvalue.Value, whole bool, err error) {
	if content.Kind() != jsonvalue.Object {
		return doc, false, invalid("content must be an object")
	}
	doc = jsonvalue.ObjectValue()
	for key, v := range content.Members() {
		if key == desiredPrefix {
			whole = true
			if v.Kind() != jsonvalue.Object {
				return doc, false, invalid("%s must be an object", key)
			}
		} else if !strings.HasPrefix(key, desiredPrefix+".") {
			return doc, false, invalid("the path %q must begin with %s", shorten(key), desiredPrefix)
		} else {
			path := strings.Split(key[len(desiredPrefix)+1:], ".")
			for _, name := range slices.Backward(path) {
				if name == "" {
					return doc, false, invalid("the path %q has an empty name", shorten(key))
				}
				v = jsonvalue.ObjectValue(jsonvalue.Member{Key: name, Value: v})
			}
		}
		if hasNull(v) {
			return doc, false, invalid("%q holds null", shorten(key))
		}
		doc = section.MergePatch(doc, v)
	}
	if err := limits.Check(limits.Desired, doc); err != nil {
		return doc, false, invalid("%v", err)
	}
	if err := limits.CheckSize(limits.Desired, limits.SizeOf(doc)); err != nil {
		return doc, false, invalid("%v", err)
	}
	return doc, whole, nil
}

// hasNull reports whether a value is null or an object with one somewhere; what arrays hold the limits judge.
func hasNull(v jsonvalue.Value) bool {
	if v.Kind() == jsonvalue.Null {
		return true
	}
	for _, m := range v.Map().Members() {
		if hasNull(m.Value) {
			return true
		}
	}
	return false
}

// Leaves are the leaves of a document, in its order.
func Leaves(doc jsonvalue.Value) []Leaf { return leaves(nil, nil, doc) }

// leaves appends the leaves of a document.
func leaves(all []Leaf, path []string, doc jsonvalue.Value) []Leaf {
	for _, m := range doc.Map().Members() {
		below := append(slices.Clip(path), m.Key)
		if m.Value.Kind() == jsonvalue.Object && m.Value.Len() > 0 {
			all = leaves(all, below, m.Value)
			continue
		}
		all = append(all, Leaf{below, m.Value})
	}
	return all
}

// OfProperties is the content that writes desired properties of devices: a path for each member of an object. What is
// no object has no content, which Parse refuses.
func OfProperties(properties json.RawMessage) Content {
	var members map[string]json.RawMessage
	if json.Unmarshal(properties, &members) != nil {
		members = nil
	}
	paths := make(map[string]json.RawMessage, len(members))
	for name, v := range members {
		paths[desiredPrefix+"."+name] = v
	}
	text, err := json.Marshal(paths)
	if err != nil { // its parts are JSON that was read
		return Content{}
	}
	return Content{Device: text}
}

// Document puts leaves together again.
func Document(all []Leaf) jsonvalue.Value {
	doc := jsonvalue.ObjectValue()
	for _, l := range all {
		v := l.Value
		for _, name := range slices.Backward(l.Path) {
			v = jsonvalue.ObjectValue(jsonvalue.Member{Key: name, Value: v})
		}
		doc = section.MergePatch(doc, v)
	}
	return doc
}

func invalid(format string, a ...any) error {
	return iothub.ErrInvalidConfigurationContent.With(format, a...)
}

// shorten keeps a message from growing with what a client sends.
func shorten(s string) string {
	const longest = 64
	if len(s) <= longest {
		return s
	}
	return s[:longest] + "..."
}
