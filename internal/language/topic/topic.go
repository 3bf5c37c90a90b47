// Package topic is templates of MQTT topics, filters and names: what is filled in for each device, and what may stand in them.
package topic

import (
	"fmt"
	"strings"
	"unicode"
)

// IndexWidth is how many digits an index has at the least, unless a scenario says otherwise.
const IndexWidth = 6

// Index is a number as {index} is replaced by it: with zeros before it, for width digits at the least.
func Index(n, width int) string { return fmt.Sprintf("%0*d", width, n) }

// Fill replaces {device}, {group} and {index} in a template. The index has six digits, as in device ids.
func Fill(template, device, group string, index int) string {
	return FillWith(template, device, group, Index(index, IndexWidth))
}

// FillWith is Fill with an index as it stands.
func FillWith(template, device, group, index string) string {
	if !strings.Contains(template, "{") {
		return template
	}
	return strings.NewReplacer("{device}", device, "{group}", group, "{index}", index).Replace(template)
}

// Mistakes says what is wrong with a template of a topic, or of a filter, by MQTT 3.1.1 section 4.7 and the names that are
// filled in.
func Mistakes(template string, filter bool) (mistakes []string) {
	if x := Unknown(template); x != "" {
		return []string{x}
	}
	filled := Fill(template, "i", "g", 0)
	levels := strings.Split(filled, "/")
	for i, level := range levels {
		switch {
		case !strings.ContainsAny(level, "+#"):
		case !filter:
			return []string{fmt.Sprintf("%q has a wildcard; messages are sent to one topic", template)}
		case level == "#" && i < len(levels)-1:
			return []string{fmt.Sprintf("%q goes on after #, which must be the last level", template)}
		case level != "+" && level != "#":
			return []string{fmt.Sprintf("the wildcard in %q is not a level of its own", template)}
		}
	}
	if template == "" || len(filled) > 65535 {
		mistakes = append(mistakes, "a topic has 1 to 65,535 bytes")
	}
	if x := Character(template); x != "" {
		mistakes = append(mistakes, x)
	}
	return mistakes
}

// Unknown says which name in braces nothing is known to fill in for; "" for none.
func Unknown(template string) string {
	_, rest, found := strings.Cut(Fill(template, "i", "g", 0), "{")
	if !found {
		return ""
	}
	name, _, _ := strings.Cut(rest, "}")
	return fmt.Sprintf("nothing is known to put in for {%s}; there are {device}, {group}, {index}", name)
}

// Character says which character of a text, that is sent as an MQTT string, a server need not take: NUL ends the connection,
// and control characters and non-characters may (MQTT 3.1.1 section 1.5.3). It is "" for none.
func Character(text string) string {
	for _, c := range text {
		if unicode.IsControl(c) || c&0xfffe == 0xfffe || c >= 0xfdd0 && c <= 0xfdef {
			return fmt.Sprintf("%q holds the character U+%04X, for which servers end the connection", text, c)
		}
	}
	return ""
}
