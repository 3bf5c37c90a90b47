// Package color colours text for terminals, or leaves it as it is.
package color

// Style says how a text may look. The zero value is plain.
type Style struct {
	Color bool // colours, by the escape sequences of ANSI terminals
}

const (
	green  = "\x1b[32m"
	red    = "\x1b[31m"
	yellow = "\x1b[33m"
	bold   = "\x1b[1m"
	faint  = "\x1b[2m"
	reset  = "\x1b[0m"
)

func (s Style) paint(code, text string) string {
	if !s.Color {
		return text
	}
	return code + text + reset
}

// Mark is a tick or a cross.
func (s Style) Mark(ok bool) string {
	if ok {
		return s.paint(green, "✓")
	}
	return s.paint(red, "✗")
}

// Headline paints the word of a verdict: good or doubtful news, or else bad.
func (s Style) Headline(text string, good, doubtful bool) string {
	color := red
	switch {
	case good:
		color = green
	case doubtful:
		color = yellow
	}
	return s.paint(bold+color, text)
}

// Unknown is the mark of what nothing can be said of.
func (s Style) Unknown() string { return s.paint(yellow, "?") }

// Warning is the mark of what a reader must know.
func (s Style) Warning() string { return s.paint(yellow, "!") }

// Bad paints what is worse than it should be.
func (s Style) Bad(text string) string { return s.paint(red, text) }

// Doubtful paints what cannot be told.
func (s Style) Doubtful(text string) string { return s.paint(yellow, text) }

// Faint paints what only explains.
func (s Style) Faint(text string) string { return s.paint(faint, text) }

// Bold paints what is read first.
func (s Style) Bold(text string) string { return s.paint(bold, text) }
