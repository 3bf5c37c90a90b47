package scenario

import (
	"testing"

	"go.yaml.in/yaml/v4"
)

// A key that the schema requires is one that the decoder misses, wherever its object stands.
func TestRequiredKeysAreMissed(t *testing.T) {
	const ofABroker = "target: {hub: \"mqtt://127.0.0.1\"}\nfleet: {groups: [{name: boards, subscribe: {topics: [a]}}]}\nstages: [{name: s, devices: 1, duration: 1s}]\n"
	tried := make(map[string]bool)
	for _, text := range []string{everyObject, ofABroker} {
		withoutRequired(t, text, tried)
	}
	for path := range requiredKeys("", scenarioFields(&Scenario{})) {
		if !tried[path] {
			t.Errorf("%s: no object of the test has it", path)
		}
	}
}

// withoutRequired leaves the required keys of a valid scenario out, one at a time, and notes which they were.
func withoutRequired(t *testing.T, text string, tried map[string]bool) {
	t.Helper()
	var root yaml.Node
	if err := yaml.Load([]byte(text), &root); err != nil {
		t.Fatal(err)
	}
	decodeDefaults(t, text)
	eachObject("", root.Content[0], scenarioFields(&Scenario{}), func(path string, n *yaml.Node, fields []field) {
		for _, f := range fields {
			at := join(path, f.key)
			i := keyOf(n, f.key)
			if !f.value.must || i < 0 {
				continue
			}
			tried[at] = true
			whole := n.Content
			n.Content = append(append([]*yaml.Node{}, whole[:i]...), whole[i+2:]...)
			text, err := yaml.Dump(&root)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Decode("defaults.yaml", text, Options{Lookup: func(string) (string, bool) { return "", false }}); err == nil {
				t.Errorf("without %s the scenario is valid", at)
			}
			n.Content = whole
		}
	})
}

// keyOf is where a key of a mapping stands in it; -1 when it does not.
func keyOf(n *yaml.Node, key string) int {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return i
		}
	}
	return -1
}

// eachObject visits the objects of a file beside their tables, those within first.
func eachObject(path string, n *yaml.Node, fields []field, visit func(path string, n *yaml.Node, fields []field)) {
	for _, f := range fields {
		i := keyOf(n, f.key)
		if i < 0 || f.value.fields == nil {
			continue
		}
		items := []*yaml.Node{n.Content[i+1]}
		if f.value.form == formBounds {
			items = nil
			for k := 1; k < len(n.Content[i+1].Content); k += 2 {
				items = append(items, n.Content[i+1].Content[k])
			}
		} else if items[0].Kind == yaml.SequenceNode {
			items = items[0].Content
		}
		for _, item := range items {
			if item.Kind == yaml.MappingNode {
				eachObject(join(path, f.key), item, f.value.fields, visit)
			}
		}
	}
	visit(path, n, fields)
}

func requiredKeys(path string, fields []field) map[string]bool {
	all := make(map[string]bool)
	for _, f := range fields {
		at := join(path, f.key)
		if f.value.must {
			all[at] = true
		}
		for below := range requiredKeys(at, f.value.fields) {
			all[below] = true
		}
	}
	return all
}
