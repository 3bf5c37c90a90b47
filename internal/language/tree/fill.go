package tree

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/internal/language"
)

// maxNesting bounds the walk through a file that refers to itself.
const maxNesting = 50

// Fill replaces ${NAME} in values by environment variables, which lookup finds: after parsing, so that a value can
// add no keys. ${NAME:-text} has a default, $${ stands for ${. A NAME that is not set is the text of the file that NAME_FILE
// names, as containers are given secrets, as read gives it.
func Fill(r *language.Reader, root *yaml.Node, lookup func(name string) (string, bool), read func(file string) (string, error)) {
	filler{r, lookup, read}.fill("", root, 0)
}

// filler fills the values of a file.
type filler struct {
	*language.Reader
	lookup func(name string) (string, bool)
	read   func(file string) (string, error)
}

// find is the value of a variable, or that of its file.
func (r filler) find(name string) (value string, ok bool, err error) {
	if value, ok = r.lookup(name); ok {
		return value, true, nil
	}
	file, ok := r.lookup(name + "_FILE")
	if !ok || file == "" {
		return "", false, nil
	}
	value, err = r.read(file)
	return value, err == nil, err
}

func (r filler) fill(path string, n *yaml.Node, depth int) {
	switch {
	case depth > maxNesting:
		r.Fail(path, n, "nested more than %d levels deep", maxNesting)
	case n.Kind == yaml.AliasNode:
		r.Fail(path, n, "aliases are not part of the language; write the value out")
	case n.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			r.fill(language.Join(path, n.Content[i].Value), n.Content[i+1], depth+1)
		}
	case n.Kind == yaml.SequenceNode:
		for i, item := range n.Content {
			r.fill(fmt.Sprintf("%s[%d]", path, i), item, depth+1)
		}
	case n.Kind == yaml.ScalarNode && strings.Contains(n.Value, "${"):
		r.expand(path, n)
	}
}

func (r filler) expand(path string, n *yaml.Node) {
	var b strings.Builder
	rest := n.Value
	for {
		before, after, found := strings.Cut(rest, "${")
		if !found {
			b.WriteString(rest)
			break
		}
		if escaped, ok := strings.CutSuffix(before, "$"); ok {
			b.WriteString(escaped + "${")
			rest = after
			continue
		}
		b.WriteString(before)
		inner, tail, closed := strings.Cut(after, "}")
		if !closed {
			r.Fail(path, n, "${ without }; write ${NAME}, or $${ for the signs themselves")
			r.Unfilled(path)
			return
		}
		name, def, hasDefault := strings.Cut(inner, ":-")
		value, ok, err := r.find(name)
		switch {
		case err != nil:
			r.Fail(path, n, "the file of %s_FILE: %v", name, err)
			r.Unfilled(path)
			return
		case ok && (value != "" || !hasDefault):
			b.WriteString(value)
			if len(value) > 3 {
				r.Hide(value)
			}
		case hasDefault:
			b.WriteString(def)
		default:
			r.Fail(path, n, "the environment variable %s is not set; set it, or write ${%s:-default}", name, name)
			r.Unfilled(path)
			return
		}
		rest = tail
	}
	n.Value = b.String()
	if n.Style == 0 {
		n.Tag = "" // a plain value is of the type that it looks like, now that it is known
	}
}
