package scenario

import "go.yaml.in/yaml/v4"

// Generator is what a run makes of its generator's own health.
type Generator struct {
	AllowSaturated bool // a run may pass although the generator was the bottleneck
}

func generatorFields(g *Generator) []field {
	return []field{
		{"saturated", readSaturated(g), is("fail"), "When the generator was the bottleneck: fail ends the run with exit code 98, warn only says so."},
	}
}

func readSaturated(g *Generator) value {
	return value{form: formText, choices: []string{"fail", "warn"}, read: func(r *reader, path string, n *yaml.Node) {
		var word string
		oneOf(&word, "fail", "warn").read(r, path, n)
		g.AllowSaturated = word == "warn"
	}}
}
