package kube

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// quote is a text as a scalar of YAML: JSON's strings are all scalars of YAML.
func quote(text string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(text) // of a string it does not fail
	return strings.NewReplacer("\u007f", `\u007f`, "\u0085", `\u0085`, "\ufeff", `\ufeff`).Replace(strings.TrimSuffix(b.String(), "\n"))
}

// notStrings are words that some version of YAML takes for something else than a string.
var notStrings = regexp.MustCompile(`^(?i:y|n|yes|no|on|off|true|false|null)$`)

// plainScalar is what stands for itself: it begins as no number does, and has no sign that means something in YAML.
var plainScalar = regexp.MustCompile(`^(?:[A-Za-z]|/|--)[A-Za-z0-9_./:@-]*$`)

// scalar is a text as a scalar of YAML, without quotation marks where it needs none.
func scalar(text string) string {
	if plainScalar.MatchString(text) && !notStrings.MatchString(text) && !strings.HasSuffix(text, ":") {
		return text
	}
	return quote(text)
}

// isText reports whether a ConfigMap can have it under data.
func isText(b []byte) bool { return utf8.Valid(b) }

// literal is a text in lines, as people read it, as a value that is indented by so much; or quoted, where its lines would not be as they are.
func literal(text string, indent int) string {
	if strings.Trim(text, "\n") == "" || strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }) {
		return quote(text)
	}
	b := &strings.Builder{}
	b.WriteString("|")
	if text[0] == ' ' || text[0] == '\n' || text[0] == '\t' { // how far the lines are indented does not show in the first one
		b.WriteString("2")
	}
	switch {
	case !strings.HasSuffix(text, "\n"):
		b.WriteString("-")
	case strings.HasSuffix(text, "\n\n"):
		b.WriteString("+")
	}
	for line := range strings.Lines(text) {
		b.WriteString("\n")
		if line = strings.TrimSuffix(line, "\n"); line != "" {
			b.WriteString(strings.Repeat(" ", indent) + line)
		}
	}
	return b.String()
}
