package tree

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/scenario/problem"
)

// Override sets one key: path=value, the value in YAML. Items of a list are named by their number, or by their name. Mistakes
// are problems of --set.
func Override(r *language.Reader, root *yaml.Node, set string) {
	path, text, ok := strings.Cut(set, "=")
	if !ok || path == "" {
		r.FailAt("--set "+set, problem.Place{}, "write --set key=value, as in --set fleet.groups.robots.count=10")
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
		next := child(node, part)
		if next == nil && node.Kind == yaml.MappingNode {
			next = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
			node.Content = append(node.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: part}, next)
		}
		if next == nil && node.Kind == yaml.ScalarNode && i > 0 {
			whole := strings.Join(parts[:i], ".")
			r.FailAt("--set "+path, problem.Place{}, "%s is a single value; set it whole, as in %[1]s={%s: …}", whole, part)
			return
		}
		if next == nil {
			r.FailAt("--set "+path, problem.Place{}, "there is no %s; %s", strings.Join(parts[:i+1], "."), problem.DidYouMean(part, childNames(node)))
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
func child(n *yaml.Node, part string) *yaml.Node {
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
		if id := child(item, "name"); item.Kind == yaml.MappingNode && id != nil && id.Value == part {
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
