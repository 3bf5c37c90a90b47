package scenario

import (
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/form"
)

// A key that the schema requires is one that the decoder misses, wherever its object stands.
func TestRequiredKeysAreMissed(t *testing.T) {
	const ofABroker = "target: {hub: \"mqtt://127.0.0.1\"}\nfleet: {groups: [{name: boards, subscribe: {topics: [a]}, will: {topic: b}, messages: [{name: c, every: 1s}]}]}\nstages: [{name: s, devices: 1, " +
		"duration: 1s}]\n"
	tried := make(map[string]bool)
	for _, text := range []string{everyObject, ofABroker} {
		withoutRequired(t, text, tried)
	}
	for path := range requiredKeys("", new(reader).scenarioKeys(&Scenario{})) {
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
	eachObject("", root.Content[0], new(reader).scenarioKeys(&Scenario{}), func(path string, n *yaml.Node, keys []language.Key) {
		for _, f := range keys {
			at := language.Join(path, f.Name)
			i := keyOf(n, f.Name)
			if !f.Value.Must || i < 0 {
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
func eachObject(path string, n *yaml.Node, keys []language.Key, visit func(path string, n *yaml.Node, keys []language.Key)) {
	for _, f := range keys {
		i := keyOf(n, f.Name)
		if i < 0 || f.Value.Keys == nil {
			continue
		}
		items := []*yaml.Node{n.Content[i+1]}
		if f.Value.Form == form.Bounds {
			items = nil
			for k := 1; k < len(n.Content[i+1].Content); k += 2 {
				items = append(items, n.Content[i+1].Content[k])
			}
		} else if items[0].Kind == yaml.SequenceNode {
			items = items[0].Content
		}
		for _, item := range items {
			if item.Kind == yaml.MappingNode {
				eachObject(language.Join(path, f.Name), item, f.Value.Keys, visit)
			}
		}
	}
	visit(path, n, keys)
}

func requiredKeys(path string, keys []language.Key) map[string]bool {
	all := make(map[string]bool)
	for _, f := range keys {
		at := language.Join(path, f.Name)
		if f.Value.Must {
			all[at] = true
		}
		for below := range requiredKeys(at, f.Value.Keys) {
			all[below] = true
		}
	}
	return all
}
