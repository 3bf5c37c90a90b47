package terminal

import (
	"strings"
	"time"
	"unicode"

	"github.com/charmbracelet/x/ansi"
)

// The colours are those of the user's own palette, so that they can be read on light and on dark.
const (
	green  = "\x1b[32m"
	red    = "\x1b[31m"
	yellow = "\x1b[33m"
	cyan   = "\x1b[36m"
	bold   = "\x1b[1m"
	faint  = "\x1b[2m"
	reset  = "\x1b[0m"
)

// painter colours text, or leaves it as it is.
type painter bool

func (p painter) paint(code, text string) string {
	if !bool(p) || code == "" || text == "" {
		return text
	}
	return code + text + reset
}

// clean takes from a text what would move the cursor: some of it is the target's words.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

// fit is a text in exactly so many columns: cut with an ellipsis, or filled up on the right.
func fit(s string, width int) string {
	s = cut(s, width)
	return s + strings.Repeat(" ", max(0, width-ansi.StringWidth(s)))
}

// right is fit for a figure: filled up on the left.
func right(s string, width int) string {
	s = cut(s, width)
	return strings.Repeat(" ", max(0, width-ansi.StringWidth(s))) + s
}

func cut(s string, width int) string { return ansi.Truncate(s, max(0, width), "…") }

// bar is a share drawn as a line of so many columns.
func (p painter) bar(share float64, width int) string {
	width = max(width, 0)
	full := int(min(max(share, 0), 1)*float64(width) + 0.5)
	if share > 0 && full == 0 && width > 0 {
		full = 1
	}
	return p.paint(cyan, strings.Repeat("━", full)) + p.paint(faint, strings.Repeat("─", width-full))
}

// spark draws times as columns, scaled from zero to the largest; a time below zero is a gap.
func spark(times []time.Duration) string {
	const levels = "▁▂▃▄▅▆▇█"
	var most time.Duration
	for _, t := range times {
		most = max(most, t)
	}
	var b strings.Builder
	steps := []rune(levels)
	for _, t := range times {
		switch {
		case t < 0:
			b.WriteByte(' ')
		case most == 0:
			b.WriteRune(steps[0])
		default:
			b.WriteRune(steps[min(int(float64(t)/float64(most)*float64(len(steps))), len(steps)-1)])
		}
	}
	return b.String()
}
