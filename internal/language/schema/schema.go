// Package schema writes a table of keys as JSON Schema, draft-07, for editors.
package schema

import (
	"encoding/json"
	"slices"

	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/form"
)

// Of is the schema of a language whose file is an object with such keys.
func Of(title string, keys []language.Key) ([]byte, error) {
	root := object(keys)
	root["$schema"] = "http://json-schema.org/draft-07/schema#"
	root["title"] = title
	b, err := json.MarshalIndent(root, "", "  ")
	return append(b, '\n'), err
}

func object(keys []language.Key) map[string]any {
	properties := make(map[string]any, len(keys))
	required := []string{}
	for _, k := range keys {
		s := value(k.Value)
		s["description"] = k.Doc
		if text, ok := k.Default.Value(); ok {
			s["default"] = literal(text)
		}
		if k.Value.Must {
			required = append(required, k.Name)
		}
		properties[k.Name] = s
	}
	x := map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		x["required"] = required
	}
	return x
}

// literal is a default as JSON has it.
func literal(text string) any {
	switch language.PlainTag(text) {
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

// pattern is a text that matches an expression.
func pattern(p string) map[string]any {
	return map[string]any{"type": "string", "pattern": "(" + p + ")|(" + fromEnvironment + ")"}
}

// either is something, or a text that the environment fills.
func either(what map[string]any) map[string]any {
	return map[string]any{"anyOf": []any{what, map[string]any{"type": "string", "pattern": fromEnvironment}}}
}

// choices are words, those that are numbers without quotes too.
func choices(words []string) []any {
	var all []any
	for _, word := range words {
		all = append(all, word)
	}
	for _, word := range words {
		if language.IsNumber(word) {
			all = append(all, json.Number(word))
		}
	}
	return all
}

// points are pairs of a time and a value.
func points(of map[string]any) map[string]any {
	pair := map[string]any{"type": "array", "items": []any{pattern(form.Time.Pattern()), of}, "minItems": 2, "maxItems": 2}
	return map[string]any{"type": "array", "items": pair, "minItems": 1}
}

func value(v language.Value) map[string]any {
	if v.Form == form.CountOr {
		number := map[string]any{"type": "integer", "minimum": json.Number(v.Low), "maximum": json.Number(v.High)}
		return either(map[string]any{"anyOf": []any{number, map[string]any{"enum": v.Choices}}})
	}
	if v.Choices != nil {
		return either(map[string]any{"enum": choices(v.Choices)})
	}
	if p := v.Form.Pattern(); p != "" {
		return pattern(p)
	}
	switch v.Form {
	case form.Count:
		number := map[string]any{"type": "integer"}
		if v.Low != "" {
			number["minimum"], number["maximum"] = json.Number(v.Low), json.Number(v.High)
		}
		return either(number)
	case form.Devices, form.Goals:
		one := []any{map[string]any{"type": "integer", "minimum": 0}, pattern(form.Share.Pattern())}
		if v.Form == form.Goals {
			byGroup := map[string]any{"anyOf": slices.Clone(one)}
			one = append(one, map[string]any{"type": "object", "minProperties": 1, "additionalProperties": byGroup}, object(v.Keys))
		}
		return map[string]any{"anyOf": one}
	case form.RateShape:
		return map[string]any{"anyOf": []any{pattern(form.Rate.Pattern()), object(v.Keys)}}
	case form.RatePoints:
		return points(pattern(form.OneRate.Pattern()))
	case form.DevicePoints:
		return points(map[string]any{"anyOf": []any{map[string]any{"type": "integer", "minimum": 0}, pattern(form.Share.Pattern())}})
	case form.Switch:
		return either(map[string]any{"type": "boolean"})
	case form.Object:
		return object(v.Keys)
	case form.List:
		return map[string]any{"type": "array", "items": object(v.Keys)}
	case form.Bounds:
		one := []any{map[string]any{"type": "string"}, object(v.Keys)}
		several := map[string]any{"type": "array", "items": map[string]any{"anyOf": one}}
		return map[string]any{"type": "object", "additionalProperties": map[string]any{"anyOf": append(one, several)}}
	case form.Texts:
		return map[string]any{"type": "array", "items": map[string]any{"type": "string"}}
	case form.TextsByName:
		return map[string]any{"type": "object", "additionalProperties": map[string]any{"type": []string{"string", "number"}}}
	case form.Weights:
		byName := map[string]any{"type": "object", "additionalProperties": map[string]any{"type": "number"}}
		return map[string]any{"anyOf": []any{map[string]any{"type": "string"}, byName}}
	case form.Content:
		return map[string]any{"type": []string{"object", "array", "string", "number", "boolean"}}
	case form.Any, form.Map:
		return map[string]any{"type": "object"}
	default:
		return map[string]any{"type": []string{"string", "number"}}
	}
}
