// Package strictjson reads JSON files that people write: a member that is not known, one that is there twice, a value of another kind
// and text after the end are mistakes, and each says in which line it is.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Decode reads one JSON value. Its errors are one line with file and line number.
func Decode(file string, text []byte, into any) error {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return explain(file, text, d.InputOffset(), err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s:%d: there is text after the end of the JSON object; remove it", file, lineAt(text, d.InputOffset()))
	}
	return repeated(file, text)
}

// repeated finds a member that an object has twice, of which a decoder would take the last. The text is JSON.
func repeated(file string, text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	type level struct {
		names map[string]bool // of an object's members; nil in an array
		value bool            // what comes next is the value of a member
	}
	var open []level
	for {
		token, err := d.Token()
		if err != nil {
			return nil // its end
		}
		var in *level
		if len(open) > 0 {
			in = &open[len(open)-1]
		}
		if name, ok := token.(string); ok && in != nil && in.names != nil && !in.value {
			if in.names[name] {
				return fmt.Errorf("%s:%d: member %q is there twice; remove one", file, lineAt(text, d.InputOffset()), name)
			}
			in.names[name], in.value = true, true
			continue
		}
		switch token {
		case json.Delim('{'):
			open = append(open, level{names: make(map[string]bool)})
		case json.Delim('['):
			open = append(open, level{})
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		}
		if d, ok := token.(json.Delim); (!ok || d == '}' || d == ']') && len(open) > 0 {
			open[len(open)-1].value = false
		}
	}
}

// explain says where a mistake is, and what.
func explain(file string, text []byte, at int64, err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("%s:%d: this is no JSON: %w", file, lineAt(text, syntax.Offset), err)
	case errors.As(err, &kind):
		return fmt.Errorf("%s:%d: %s: expected a %s, found a %s", file, lineAt(text, kind.Offset), kind.Field, named(kind.Type.Kind().String()), kind.Value)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s: the JSON object ends too early; complete it", file)
	}
	message := strings.TrimPrefix(err.Error(), "json: ")
	if name, found := strings.CutPrefix(message, "unknown field "); found {
		if i := bytes.Index(text, []byte(name)); i >= 0 {
			at = int64(i) + 1
		}
		return fmt.Errorf("%s:%d: unknown member %s; correct its name or remove it", file, lineAt(text, at), name)
	}
	return fmt.Errorf("%s: %s", file, message)
}

// named is a Go kind as a writer of JSON knows it.
func named(kind string) string {
	switch {
	case strings.HasPrefix(kind, "int"), strings.HasPrefix(kind, "float"):
		return "number"
	case kind == "map", kind == "struct":
		return "object"
	}
	return kind
}

// lineAt is the line of an offset, counted from 1.
func lineAt(text []byte, offset int64) int {
	return 1 + bytes.Count(text[:min(max(0, offset-1), int64(len(text)))], []byte("\n"))
}
