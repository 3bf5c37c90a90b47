package scenario_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/scenario"
)

// golden compares with a committed file, or rewrites it with -update.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not what the language's table gives (%v); run make golden", path, err)
	}
}

func TestReferenceIsCurrent(t *testing.T) {
	golden(t, "../docs/scenario-reference.md", []byte(scenario.Reference()))
}

func TestSchemaIsCurrent(t *testing.T) {
	b, err := scenario.Schema()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "../configs/scenario.schema.json", b)
}

// The schema takes every example and refuses what the decoder refuses by form.
func TestSchema(t *testing.T) {
	c := jsonschema.NewCompiler()
	schema, err := c.Compile("../configs/scenario.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	check := func(b []byte) error {
		var v any
		if err := yaml.Load(b, &v); err != nil {
			t.Fatal(err)
		}
		return schema.Validate(v)
	}
	files, err := filepath.Glob("../configs/scenarios/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := check(b); err != nil {
			t.Errorf("%s: %v", f, err)
		}
		if !bytes.HasPrefix(b, []byte("# yaml-language-server: $schema=../scenario.schema.json\n")) {
			t.Errorf("%s does not name the schema in its first line", f)
		}
	}
	for _, bad := range []string{"nmae: x", "stages: 3", "fleet: {groups: [{count: many}]}", "stages: [{duration: 10}]"} {
		if check([]byte(bad)) == nil {
			t.Errorf("the schema takes %q", bad)
		}
	}
}
