package human

import (
	"strings"
	"unicode/utf8"
)

// Width is how many columns a line of Wrap has at most.
const Width = 100

// Wrap writes a text in lines that fit a terminal: the first begins with first, the others with rest. A word that is longer than a
// line stays whole.
func Wrap(b *strings.Builder, first, rest, text string) {
	line, empty := first, true
	for _, word := range strings.Fields(text) {
		if !empty && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > Width {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line, empty = rest, true
		}
		if !empty {
			line += " "
		}
		line, empty = line+word, false
	}
	b.WriteString(strings.TrimRight(line, " ") + "\n")
}
