// Package configs holds what the program brings along: the example scenarios, templates for scenarios of one's
// own, and the JSON Schema of the language.
package configs

import (
	"embed"
	"io/fs"
	"path"
	"strings"
)

//go:embed scenarios templates scenario.schema.json
var files embed.FS

// SchemaFile is what the file of the JSON Schema is called.
const SchemaFile = "scenario.schema.json"

// Scenario is a scenario that the program brings along.
type Scenario struct {
	Name        string // by which the program takes it
	Description string // in a line
	Text        []byte // YAML
}

// Examples are the built-in scenarios by name.
func Examples() []Scenario { return scenarios("scenarios") }

// Templates are the scenarios to begin one's own from, by name.
func Templates() []Scenario { return scenarios("templates") }

// Schema is the JSON Schema (draft-07) of scenarios.
func Schema() []byte { return read(SchemaFile) }

// Files are all of it: scenarios, the data that they read, templates, and the schema that they name.
func Files() fs.FS { return files }

func scenarios(dir string) []Scenario {
	names, err := fs.Glob(files, dir+"/*.yaml")
	if err != nil {
		panic(err) // the pattern is wrong
	}
	all := make([]Scenario, 0, len(names))
	for _, name := range names {
		text := read(name)
		all = append(all, Scenario{strings.TrimSuffix(path.Base(name), ".yaml"), description(text), text})
	}
	return all
}

// read reads an embedded file, which cannot fail unless its name is wrong.
func read(name string) []byte {
	b, err := files.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return b
}

// description is what a scenario says of itself.
func description(text []byte) string {
	for line := range strings.Lines(string(text)) {
		if d, ok := strings.CutPrefix(line, "description:"); ok {
			return strings.Trim(strings.TrimSpace(d), `"`)
		}
	}
	return ""
}
