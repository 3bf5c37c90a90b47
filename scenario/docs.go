package scenario

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Reference is the reference of the language as Markdown, made from the same table as the decoder.
func Reference() string {
	var b strings.Builder
	b.WriteString(`# Scenario reference

Made from the decoder's own table by ` + "`go test ./scenario -update`" + `; every key here is a key that runs.

A scenario is a YAML file. Keys are strict: an unknown or repeated one is a mistake, and all mistakes are reported at
once, each with its place. Values from the environment are written ` + "`${NAME}`" + `, with a default ` + "`${NAME:-text}`" + `; a name that
is not set is a mistake. ` + "`--set fleet.groups.robots.count=10`" + ` overrides any key.

| form | looks like |
|---|---|
| time | ` + "`500ms`, `30s`, `5m`, `1h`" + ` |
| random time | a time; ` + "`1m..5m`" + ` evenly between; ` + "`exp(20m)` or `~20m`; `normal(20m, 5m)`" + ` |
| time, or random gaps | ` + "`15s`; `10s..20s`; `~15s`" + ` |
| rate | ` + "`100/s`, `600/m`; `0/s..100/s`" + ` changes linearly over the stage |
| share | ` + "`80%`" + ` |
| number of devices | ` + "`100`; `80%`" + ` of the whole fleet, to the nearest, and one device at least unless it is ` + "`0%`" + ` |
| bandwidth | ` + "`64KB/s`, `1.5MB/s`, `32KiB/s`, `250kbit/s`" + ` |
| weights | ` + "`{cellular: 60, wifi: 40}`" + `, or one name |
| name | small letters, digits and hyphens, 60 at most |
| any object | a YAML object that is sent as JSON |
`)
	section(&b, "", scenarioFields(&Scenario{}))
	return b.String()
}

func section(b *strings.Builder, path string, fields []field) {
	title := "The file"
	if path != "" {
		title = "`" + path + "`"
	}
	fmt.Fprintf(b, "\n## %s\n\n| key | form | default | meaning |\n|---|---|---|---|\n", title)
	for _, f := range fields {
		def := f.def
		if def != "" {
			def = "`" + def + "`"
			if strings.ContainsAny(f.def, " ") {
				def = f.def
			}
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", f.key, f.form, def, strings.ReplaceAll(f.doc, "|", "\\|"))
	}
	for _, f := range fields {
		if f.fields == nil {
			continue
		}
		below := join(path, f.key)
		switch f.form {
		case formList:
			below += "[]"
		case formBounds:
			below += ".*[]"
		}
		section(b, below, f.fields)
	}
}

// Schema is the JSON Schema (draft-07) of the language, for editors.
func Schema() ([]byte, error) {
	root := objectSchema(scenarioFields(&Scenario{}))
	root["$schema"] = "http://json-schema.org/draft-07/schema#"
	root["title"] = "twinfleet scenario"
	b, err := json.MarshalIndent(root, "", "  ")
	return append(b, '\n'), err
}

func objectSchema(fields []field) map[string]any {
	properties := make(map[string]any, len(fields))
	for _, f := range fields {
		s := valueSchema(f)
		s["description"] = f.doc
		properties[f.key] = s
	}
	return map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
}

// fromEnvironment matches values that the environment gives, which may stand for any scalar.
const fromEnvironment = `\$\{`

func valueSchema(f field) map[string]any {
	pattern := func(p string) map[string]any {
		return map[string]any{"type": "string", "pattern": "(" + p + ")|(" + fromEnvironment + ")"}
	}
	either := func(kind string) map[string]any {
		return map[string]any{"anyOf": []any{map[string]any{"type": kind}, pattern("^$")}}
	}
	const aTime = `([0-9.]+(ns|us|µs|ms|s|m|h))+`
	switch f.form {
	case formName:
		return pattern("^[a-z0-9][a-z0-9-]{0,59}$")
	case formCount:
		return either("integer")
	case formDevices, formGoals:
		one := []any{map[string]any{"type": "integer", "minimum": 0}, pattern(`^[0-9.]+%$`)}
		if f.form == formGoals {
			one = append(one, map[string]any{"type": "object", "minProperties": 1, "additionalProperties": map[string]any{"anyOf": slices.Clone(one)}})
		}
		return map[string]any{"anyOf": one}
	case formSwitch:
		return either("boolean")
	case formTime:
		return pattern("^" + aTime + "$")
	case formGaps:
		return pattern(`^(~?` + aTime + `|` + aTime + `\.\.` + aTime + `|exp\(.*\))$`)
	case formTimes:
		return pattern(`^(~?` + aTime + `(\.\.` + aTime + `)?|exp\(.*\)|normal\(.*\))$`)
	case formShare:
		return pattern(`^[0-9.]+%$`)
	case formRate:
		return pattern(`^[0-9.]+/[smh](\.\.[0-9.]+/[smh])?$`)
	case formBytes:
		return pattern(`^[0-9.]+ ?(B|KB|MB|KiB|MiB|kbit|Mbit)/s$`)
	case formObject:
		return objectSchema(f.fields)
	case formList:
		return map[string]any{"type": "array", "items": objectSchema(f.fields)}
	case formBounds:
		one := []any{map[string]any{"type": "string"}, objectSchema(f.fields)}
		several := map[string]any{"type": "array", "items": map[string]any{"anyOf": one}}
		return map[string]any{"type": "object", "additionalProperties": map[string]any{"anyOf": append(one, several)}}
	case formTexts:
		return map[string]any{"type": "array", "items": map[string]any{"type": "string"}}
	case formWeights:
		return map[string]any{"anyOf": []any{map[string]any{"type": "string"}, map[string]any{"type": "object", "additionalProperties": map[string]any{"type": "number"}}}}
	case formAny, formMap:
		return map[string]any{"type": "object"}
	default:
		return map[string]any{"type": []string{"string", "number"}}
	}
}
