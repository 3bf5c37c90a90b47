package scenario

import "go.yaml.in/yaml/v4"

// Generator is what a run makes of its generator's own health.
type Generator struct {
	AllowSaturated bool // a run may pass although the generator was the bottleneck
}

func generatorFields(g *Generator) []field {
	return []field{
		{"saturated", formText, "fail", "When the generator was the bottleneck: fail ends the run with exit code 98, warn only says so.", readSaturated(g), nil},
	}
}

func readSaturated(g *Generator) func(*reader, string, *yaml.Node) {
	return func(r *reader, path string, n *yaml.Node) {
		var word string
		oneOf(&word, "fail", "warn")(r, path, n)
		g.AllowSaturated = word == "warn"
	}
}
