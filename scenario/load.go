package scenario

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// Options of Load.
type Options struct {
	// Set overrides keys: "fleet.groups.robots.count=10", "seed=7". Items of a list are named by their
	// number, groups[0], or by their name.
	Set []string
	// Devices is how many devices the whole fleet is to have, and Duration how long the stages are to last together:
	// groups and stages keep their proportions. 0 for what the file says.
	Devices  int
	Duration time.Duration
	// Lookup finds environment variables; os.LookupEnv when nil.
	Lookup func(name string) (string, bool)
	// ReadFile reads a file that the scenario names; nil reads regular files of the system.
	ReadFile func(name string) ([]byte, error)
}

// Load reads and checks a scenario file. Mistakes in it are Problems; other errors are about the file.
func Load(file string, o Options) (*Scenario, error) {
	b, err := ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the scenario: %w", err)
	}
	return Decode(file, b, o)
}

// maxFile bounds a scenario file; it is larger than any that a person would write.
const maxFile = 4 << 20

// ReadFile reads a scenario file for Decode. It stops beyond 4 MiB, which Decode refuses: some files, such as
// devices, have no end.
func ReadFile(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

// Decode checks a scenario. The file's name is for messages, and names the scenario if it does not itself.
func Decode(file string, b []byte, o Options) (*Scenario, error) {
	if o.Lookup == nil {
		o.Lookup = os.LookupEnv
	}
	r := &reader{file: file, lookup: o.Lookup, files: o.ReadFile, devices: o.Devices, duration: o.Duration, places: make(map[string]place), unfilled: make(map[string]bool)}
	root, err := r.parse(b)
	if err != nil {
		return nil, err
	}
	for _, set := range o.Set {
		r.override(root, set)
	}
	asRun := withoutSecrets("", root)
	r.substitute("", root, 0)
	s := fresh(file)
	r.object("", root, scenarioFields(s))
	if root.Kind != yaml.MappingNode {
		return nil, r.problems.asError()
	}
	r.validating, r.decoded = true, len(r.problems)
	r.finish(s)
	r.decoded = len(r.problems) // what a file that the scenario names lacks may have consequences, too
	r.validate(s)
	if err := r.problems.asError(); err != nil {
		return nil, err
	}
	for _, set := range r.scaled {
		r.override(asRun, set)
	}
	s.Source, err = source(asRun)
	return s, err
}

// fresh is a scenario with what holds when a file says nothing.
func fresh(file string) *Scenario {
	return &Scenario{Name: nameOf(file)}
}

// nameOf makes a file's name the name of its scenario: it goes into labels, addresses and the names of folders, so that a
// hyphen stands for everything but letters and digits of ASCII, dots and underscores.
func nameOf(file string) string {
	base := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
	plain := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
			return r
		}
		return '-'
	}, base)
	if plain = strings.Trim(plain[:min(len(plain), 60)], ".-"); plain == "" {
		return "scenario"
	}
	return plain
}

func (r *reader) parse(b []byte) (*yaml.Node, error) {
	if len(b) > maxFile {
		return nil, Problems{{File: r.file, Text: fmt.Sprintf("the file has more than %d bytes, which is all that a scenario may have", maxFile)}}
	}
	var doc yaml.Node
	err := yaml.Load(b, &doc)
	switch {
	case err != nil && strings.Contains(err.Error(), "no documents in stream"), err == nil && len(doc.Content) != 1:
		return nil, Problems{{File: r.file, Text: "the file is empty; begin with name, fleet and stages"}}
	case err != nil:
		return nil, Problems{r.syntaxProblem(err)}
	}
	return doc.Content[0], nil
}

// syntaxProblem says where the YAML itself is wrong.
func (r *reader) syntaxProblem(err error) Problem {
	p := Problem{File: r.file, Text: "this is no YAML: " + strings.TrimPrefix(err.Error(), "yaml: ")}
	var one *yaml.LoadError
	var many *yaml.LoadErrors
	if errors.As(err, &many) && len(many.Errors) > 0 {
		one = many.Errors[0]
	} else if !errors.As(err, &one) {
		return p
	}
	p.Line, p.Column = max(one.Mark.Line, 0), max(one.Mark.Column, 0)
	p.Text = "this is no YAML: " + strings.TrimPrefix(one.Message, "yaml: ")
	return p
}

// maxNesting bounds the walk through a file that refers to itself.
const maxNesting = 50

// substitute replaces ${NAME} in values by environment variables: after parsing, so that a value can
// add no keys. ${NAME:-text} has a default, $${ stands for ${.
func (r *reader) substitute(path string, n *yaml.Node, depth int) {
	switch {
	case depth > maxNesting:
		r.fail(path, n, "nested more than %d levels deep", maxNesting)
	case n.Kind == yaml.AliasNode:
		r.fail(path, n, "aliases are not part of the language; write the value out")
	case n.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			r.substitute(join(path, n.Content[i].Value), n.Content[i+1], depth+1)
		}
	case n.Kind == yaml.SequenceNode:
		for i, item := range n.Content {
			r.substitute(fmt.Sprintf("%s[%d]", path, i), item, depth+1)
		}
	case n.Kind == yaml.ScalarNode && strings.Contains(n.Value, "${"):
		r.expand(path, n)
	}
}

func (r *reader) expand(path string, n *yaml.Node) {
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
			r.fail(path, n, "${ without }; write ${NAME}, or $${ for the signs themselves")
			r.unfilled[path] = true
			return
		}
		name, def, hasDefault := strings.Cut(inner, ":-")
		value, ok := r.lookup(name)
		switch {
		case ok && (value != "" || !hasDefault):
			b.WriteString(value)
			if len(value) > 3 {
				r.fromEnvironment = append(r.fromEnvironment, value)
			}
		case hasDefault:
			b.WriteString(def)
		default:
			r.fail(path, n, "the environment variable %s is not set; set it, or write ${%s:-default}", name, name)
			r.unfilled[path] = true
			return
		}
		rest = tail
	}
	n.Value = b.String()
	if n.Style == 0 {
		n.Tag = "" // a plain value is of the type that it looks like, now that it is known
	}
}

// override sets one key: path=value, the value in YAML.
func (r *reader) override(root *yaml.Node, set string) {
	path, text, ok := strings.Cut(set, "=")
	if !ok || path == "" {
		r.failAt("--set "+set, place{}, "write --set key=value, as in --set fleet.groups.robots.count=10")
		return
	}
	var doc yaml.Node
	if err := yaml.Load([]byte(text), &doc); err != nil || len(doc.Content) != 1 {
		doc.Content = []*yaml.Node{{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}}
	}
	node := root
	parts := strings.Split(strings.NewReplacer("[", ".", "]", "").Replace(path), ".")
	for i, part := range parts {
		last := i == len(parts)-1
		next := r.child(node, part)
		if next == nil && node.Kind == yaml.MappingNode {
			next = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
			node.Content = append(node.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: part}, next)
		}
		if next == nil && node.Kind == yaml.ScalarNode && i > 0 {
			whole := strings.Join(parts[:i], ".")
			r.failAt("--set "+path, place{}, "%s is a single value; set it whole, as in %[1]s={%s: …}", whole, part)
			return
		}
		if next == nil {
			r.failAt("--set "+path, place{}, "there is no %s; %s", strings.Join(parts[:i+1], "."), didYouMean(part, childNames(node)))
			return
		}
		if last {
			*next = *doc.Content[0]
			next.Line, next.Column = 0, 0
		}
		node = next
	}
}

// child finds a member of an object, or an item of a list by number or by its name.
func (r *reader) child(n *yaml.Node, part string) *yaml.Node {
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == part {
				return n.Content[i+1]
			}
		}
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		return nil
	}
	for i, item := range n.Content {
		if fmt.Sprint(i) == part {
			return item
		}
		if id := r.child(item, "name"); item.Kind == yaml.MappingNode && id != nil && id.Value == part {
			return item
		}
	}
	return nil
}

func childNames(n *yaml.Node) []string {
	var names []string
	for i, item := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			names = append(names, item.Value)
		}
		if n.Kind == yaml.SequenceNode && item.Kind == yaml.MappingNode {
			for j := 0; j+1 < len(item.Content); j += 2 {
				if item.Content[j].Value == "name" {
					names = append(names, item.Content[j+1].Value)
				}
			}
		}
	}
	if names == nil {
		names = []string{"no keys below it"}
	}
	return slices.Compact(names)
}
