package language

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/scenario/problem"
)

// Reader decodes one file and collects its problems. Not safe for concurrent use.
type Reader struct {
	// File is the name of the file, for messages, and for files that it names relative to itself.
	File string
	// ReadFile reads the files that it names; nil reads those of the system.
	ReadFile func(name string) ([]byte, error)

	problems   problem.List
	warnings   problem.List
	places     map[string]problem.Place // of values, by path
	validating bool
	decoded    int // problems that decoding found

	hidden   []string        // values that no message may show
	unfilled map[string]bool // paths of values that are not known
}

// NewReader makes a reader of a file.
func NewReader(file string) *Reader {
	return &Reader{File: file, places: make(map[string]problem.Place), unfilled: make(map[string]bool)}
}

// Err is the problems so far, in the order of the file; nil when there are none.
func (r *Reader) Err() error { return r.problems.Err() }

// Problems is how many problems there are so far.
func (r *Reader) Problems() int { return len(r.problems) }

// Warnings is what is no mistake and yet worth a look, in the order in which it was found.
func (r *Reader) Warnings() problem.List { return r.warnings }

// WarnAt notes a warning as FailAt notes a problem.
func (r *Reader) WarnAt(path string, at problem.Place, format string, a ...any) {
	before := len(r.problems)
	r.FailAt(path, at, format, a...)
	r.warnings = append(r.warnings, r.problems[before:]...)
	r.problems = r.problems[:before]
}

// Validate ends decoding, or a part of what follows it: what overlaps a problem that was found until now is not told any more,
// for it may only follow from that one.
func (r *Reader) Validate() { r.validating, r.decoded = true, len(r.problems) }

// Hide keeps a value, which may be a secret, out of all messages.
func (r *Reader) Hide(value string) { r.hidden = append(r.hidden, value) }

// Unfilled notes that the value at a path is not known, and that nothing is to follow from that.
func (r *Reader) Unfilled(path string) { r.unfilled[path] = true }

// Unknown reports whether the value at a path is not known.
func (r *Reader) Unknown(path string) bool { return r.unfilled[path] }

// Fail notes a problem with the value at a path, which is a node.
func (r *Reader) Fail(path string, n *yaml.Node, format string, a ...any) {
	r.FailAt(path, PlaceOf(n), format, a...)
}

// FailAt notes a problem at a place; the zero Place stands for that of the path, or of the nearest path above it.
func (r *Reader) FailAt(path string, at problem.Place, format string, a ...any) {
	if r.unfilled[path] {
		return // its value is not known
	}
	if r.validating && r.Overlaps(path) {
		return // what is wrong there was said, and this may only follow from it
	}
	if own, ok := r.places[path]; ok && r.validating {
		at = own
	} else if at == (problem.Place{}) {
		at = r.nearest(path)
	}
	text := fmt.Sprintf(format, a...)
	for _, value := range r.hidden {
		text = strings.ReplaceAll(text, value, "[from the environment]") // it may be a secret
	}
	r.problems = append(r.problems, problem.Problem{File: r.File, Line: at.Line, Column: at.Column, Path: path, Text: text})
}

// nearest is where a key stands in the file, or the nearest key above it that does.
func (r *Reader) nearest(path string) problem.Place {
	for path != "" {
		if at, ok := r.places[path]; ok {
			return at
		}
		path = path[:max(strings.LastIndexByte(path, '.'), 0)]
	}
	return problem.Place{}
}

// Note keeps the place of the value at a path.
func (r *Reader) Note(path string, n *yaml.Node) { r.places[path] = PlaceOf(n) }

// Given reports whether the file says something under a path.
func (r *Reader) Given(path string) bool {
	_, ok := r.places[path]
	return ok
}

// Overlaps reports whether decoding found a problem at a path, above or below it.
func (r *Reader) Overlaps(path string) bool {
	for _, p := range r.problems[:r.decoded] {
		if path == p.Path || Below(path, p.Path) || Below(p.Path, path) {
			return true
		}
	}
	return false
}

// PlaceOf is where a node stands; nowhere for nil.
func PlaceOf(n *yaml.Node) problem.Place {
	if n == nil {
		return problem.Place{}
	}
	return problem.Place{Line: n.Line, Column: n.Column}
}

// KindName is a node's kind as messages name it.
func KindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "an object"
	case yaml.SequenceNode:
		return "a list"
	default:
		switch n.ShortTag() {
		case "!!null":
			return "nothing"
		case "!!bool":
			return "true or false"
		case "!!int", "!!float":
			return "a number"
		}
		return "text"
	}
}

// Object reads a mapping by its table of keys: unknown and repeated ones are problems.
func (r *Reader) Object(path string, n *yaml.Node, keys []Key) {
	if n.Kind != yaml.MappingNode {
		r.Fail(path, n, "expected an object, found %s", KindName(n))
		return
	}
	known := make([]string, len(keys))
	for i, k := range keys {
		known[i] = k.Name
	}
	r.Defaults(path, keys)
	r.Pairs(path, n, func(key string, k, v *yaml.Node) {
		i := slices.Index(known, key)
		if i < 0 {
			r.Fail(Join(path, key), k, "unknown key; %s", problem.DidYouMean(key, known))
			return
		}
		r.Note(Join(path, key), v)
		keys[i].Value.Read(r, Join(path, key), v)
	})
}

// Defaults gives an object the values that act when its keys are left out.
func (r *Reader) Defaults(path string, keys []Key) {
	for _, k := range keys {
		if text, ok := k.Default.Value(); ok {
			k.Value.Read(r, Join(path, k.Name), &yaml.Node{Kind: yaml.ScalarNode, Tag: PlainTag(text), Value: text})
		}
		if k.Value.Always {
			r.Defaults(Join(path, k.Name), k.Value.Keys)
		}
	}
}

// Pairs walks through a mapping; a repeated key is a problem and is passed over.
func (r *Reader) Pairs(path string, n *yaml.Node, each func(key string, k, v *yaml.Node)) {
	seen := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if first, twice := seen[k.Value]; twice {
			r.Fail(Join(path, k.Value), k, "repeated key; it stands in line %d already", first)
			continue
		}
		seen[k.Value] = k.Line
		each(k.Value, k, v)
	}
}

// Scalar is the text of a node that must be a scalar, of one of the YAML types when some are named.
func (r *Reader) Scalar(path string, n *yaml.Node, want string, tags ...string) (string, bool) {
	if r.unfilled[path] {
		return "", false
	}
	tag := n.ShortTag()
	if tag == "!!timestamp" {
		tag = "!!str" // the language has no dates
	}
	if n.Kind != yaml.ScalarNode || (len(tags) > 0 && !slices.Contains(tags, tag)) {
		r.Fail(path, n, "expected %s, found %s", want, KindName(n))
		return "", false
	}
	return n.Value, true
}
