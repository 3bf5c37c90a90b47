package scenario

import (
	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/form"
	"github.com/twinfleet/twinfleet/internal/language/value"
)

// Generator is what a run makes of its generator's own health.
type Generator struct {
	AllowSaturated bool // a run may pass although the generator was the bottleneck
}

func generatorKeys(g *Generator) []language.Key {
	return []language.Key{
		key("saturated", readSaturated(g), is("fail"),
			"When the generator was the bottleneck: fail ends the run with exit code 98, warn only says so."),
	}
}

func readSaturated(g *Generator) language.Value {
	return language.Value{Form: form.Text, Choices: []string{"fail", "warn"}, Read: func(r *language.Reader, path string, n *yaml.Node) {
		var word string
		value.OneOf(&word, "fail", "warn").Read(r, path, n)
		g.AllowSaturated = word == "warn"
	}}
}
