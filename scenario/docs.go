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
		def := f.def.text()
		if def != "" && !strings.Contains(def, " ") {
			def = "`" + def + "`"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", f.key, f.value.form, def, strings.ReplaceAll(f.doc, "|", "\\|"))
	}
	for _, f := range fields {
		if f.value.fields == nil {
			continue
		}
		below := join(path, f.key)
		switch f.value.form {
		case formList:
			below += "[]"
		case formBounds:
			below += ".*[]"
		}
		section(b, below, f.value.fields)
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
	required := []string{}
	for _, f := range fields {
		s := valueSchema(f.value)
		s["description"] = f.doc
		if text, ok := f.def.acts(); ok {
			s["default"] = literal(text)
		}
		if f.value.must {
			required = append(required, f.key)
		}
		properties[f.key] = s
	}
	object := map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		object["required"] = required
	}
	return object
}

// literal is a default as JSON has it.
func literal(text string) any {
	switch plainTag(text) {
	case "!!int":
		return json.Number(text)
	case "!!bool":
		return text == "true"
	default:
		return text
	}
}

// fromEnvironment matches values that the environment gives, which may stand for any scalar.
const fromEnvironment = `\$\{`

func valueSchema(v value) map[string]any {
	pattern := func(p string) map[string]any {
		return map[string]any{"type": "string", "pattern": "(" + p + ")|(" + fromEnvironment + ")"}
	}
	either := func(what map[string]any) map[string]any {
		return map[string]any{"anyOf": []any{what, map[string]any{"type": "string", "pattern": fromEnvironment}}}
	}
	if v.choices != nil {
		return either(map[string]any{"enum": v.choices})
	}
	const aTime = `([0-9.]+(ns|us|µs|ms|s|m|h))+`
	switch v.form {
	case formName:
		return pattern("^[a-z0-9][a-z0-9-]{0,59}$")
	case formCount:
		number := map[string]any{"type": "integer"}
		if v.low != "" {
			number["minimum"], number["maximum"] = json.Number(v.low), json.Number(v.high)
		}
		return either(number)
	case formDevices, formGoals:
		one := []any{map[string]any{"type": "integer", "minimum": 0}, pattern(`^[0-9.]+%$`)}
		if v.form == formGoals {
			one = append(one, map[string]any{"type": "object", "minProperties": 1, "additionalProperties": map[string]any{"anyOf": slices.Clone(one)}})
		}
		return map[string]any{"anyOf": one}
	case formSwitch:
		return either(map[string]any{"type": "boolean"})
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
		return objectSchema(v.fields)
	case formList:
		return map[string]any{"type": "array", "items": objectSchema(v.fields)}
	case formBounds:
		one := []any{map[string]any{"type": "string"}, objectSchema(v.fields)}
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
