// Package language makes a strict decoder of YAML from a table of keys. It knows no key itself: a table names them, and what
// each takes goes into a variable. Every mistake is a problem with its place, and decoding goes on after it.
package language

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/internal/language/form"
)

// Key is one key of a language, whole: the same table makes the decoder, with its defaults, the reference and the JSON Schema.
type Key struct {
	Name    string  // as it is written
	Value   Value   // what it takes
	Default Default // what acts when the key is left out
	Doc     string  // what it means, for people
}

// Value is what a key takes: what it looks like, in which bounds, and how it is read.
type Value struct {
	Form      form.Form // what it looks like
	Choices   []string  // of a text: nothing else is taken; nil for anything
	Low, High string    // bounds of a number or a time; empty for none
	Keys      []Key     // of an object, or of the items of a list of objects
	Always    bool      // of an object that is part of another: its defaults act also when it is left out
	Must      bool      // the key may not be left out
	// Read reads the value that stands at a path into its variable. It fails r when it cannot.
	Read func(r *Reader, path string, n *yaml.Node)
}

// As is the value with a form that says more.
func (v Value) As(f form.Form) Value {
	v.Form = f
	return v
}

// Part is the value of an object whose defaults act also when it is left out.
func (v Value) Part() Value {
	v.Always = true
	return v
}

// Required is the value of a key that may not be left out.
func (v Value) Required() Value {
	v.Must = true
	return v
}

// Default is what acts when a key is left out: a value, as one would write it, behind an equals sign, or words.
type Default string

// None is the default of a key whose absence needs no words.
const None Default = ""

// Is is a default that is a value, as one would write it.
func Is(value string) Default { return Default("=" + value) }

// Means is a default in words.
func Means(words string) Default { return Default(words) }

// Value is the value that acts; ok is false for words.
func (d Default) Value() (value string, ok bool) { return strings.CutPrefix(string(d), "=") }

// Text is the default as the reference has it.
func (d Default) Text() string { return strings.TrimPrefix(string(d), "=") }

// PlainTag is the YAML type of a default that is a value.
func PlainTag(text string) string {
	if _, err := strconv.ParseInt(text, 10, 64); err == nil {
		return "!!int"
	}
	if text == "true" || text == "false" {
		return "!!bool"
	}
	return "!!str"
}

// IsNumber reports whether YAML takes a plain text for a number.
func IsNumber(text string) bool {
	_, err := strconv.ParseFloat(text, 64)
	return err == nil
}

// Join is the path of a key of an object at a path.
func Join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// At is the path of an item of a list at a path.
func At(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

// Below reports whether a path lies below another.
func Below(path, top string) bool {
	rest, ok := strings.CutPrefix(path, top)
	return ok && rest != "" && (rest[0] == '.' || rest[0] == '[')
}

// limited is the form of the value with what is taken: its choices, or its bounds.
func (v Value) limited() string {
	text, words := string(v.Form), strings.Join(v.Choices, ", ")
	if v.Form == form.CountOr {
		return fmt.Sprintf("%s, %s to %s, or %s", form.Count, v.Low, v.High, words)
	}
	if words != "" {
		return text + ": " + words
	}
	switch {
	case v.Low == "", v.High == "" && v.Low == "0s":
		return text
	case v.High == "", v.High == strconv.Itoa(math.MaxInt32): // as many as there can be
		return text + ", " + v.Low + " or more"
	}
	return text + ", " + v.Low + " to " + v.High
}

// Sections writes a table as Markdown: a section an object, a row a key. path is that of the object; "" for the file.
func Sections(b *strings.Builder, path string, keys []Key) {
	title := "The file"
	if path != "" {
		title = "`" + path + "`"
	}
	fmt.Fprintf(b, "\n## %s\n\n| key | form | default | meaning |\n|---|---|---|---|\n", title)
	for _, k := range keys {
		def := k.Default.Text()
		switch {
		case def == "" && k.Value.Must:
			def = "required"
		case def != "" && !strings.Contains(def, " "):
			def = "`" + def + "`"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", k.Name, k.Value.limited(), def, strings.ReplaceAll(k.Doc, "|", "\\|"))
	}
	for _, k := range keys {
		if k.Value.Keys == nil {
			continue
		}
		at := Join(path, k.Name)
		switch k.Value.Form {
		case form.List:
			at += "[]"
		case form.Bounds:
			at += ".*[]"
		}
		Sections(b, at, k.Value.Keys)
	}
}
