// Package paint draws on lines of text: colours, columns, bars and sparklines.
package paint

import (
	"strings"
	"time"
	"unicode"

	"github.com/charmbracelet/x/ansi"
)

// The colours are those of the user's own palette, so that they can be read on light and on dark.
const (
	Green  = "\x1b[32m"
	Red    = "\x1b[31m"
	Yellow = "\x1b[33m"
	Cyan   = "\x1b[36m"
	Bold   = "\x1b[1m"
	Faint  = "\x1b[2m"
	Invert = "\x1b[7m"
	reset  = "\x1b[0m"
)

// Painter colours text when it is true, and leaves it as it is otherwise.
type Painter bool

// Paint gives a text a colour.
func (p Painter) Paint(code, text string) string {
	if !bool(p) || code == "" || text == "" {
		return text
	}
	return code + text + reset
}

// Clean takes from a text what would move the cursor: some of it is the target's words.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

// Fit is a text in exactly so many columns: cut with an ellipsis, or filled up on the right.
func Fit(s string, width int) string {
	s = Cut(s, width)
	return s + strings.Repeat(" ", max(0, width-ansi.StringWidth(s)))
}

// Right is Fit for a figure: filled up on the left.
func Right(s string, width int) string {
	s = Cut(s, width)
	return strings.Repeat(" ", max(0, width-ansi.StringWidth(s))) + s
}

// Cut is a text in so many columns at the most, with an ellipsis where it was cut.
func Cut(s string, width int) string { return ansi.Truncate(s, max(0, width), "…") }

// Bar is a share drawn as a line of so many columns.
func (p Painter) Bar(share float64, width int) string {
	width = max(width, 0)
	full := int(min(max(share, 0), 1)*float64(width) + 0.5)
	if share > 0 && full == 0 && width > 0 {
		full = 1
	}
	return p.Paint(Cyan, strings.Repeat("━", full)) + p.Paint(Faint, strings.Repeat("─", width-full))
}

// Spark draws times as columns, scaled from zero to the largest; a time below zero is a gap.
func Spark(times []time.Duration) string {
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

// StageBar is Bar with a mark where each stage but the last ends, at a share of the whole.
func (p Painter) StageBar(share float64, ends []float64, width int) string {
	width = max(width, 0)
	cells := []rune(Painter(false).Bar(share, width))
	full := 0
	for full < len(cells) && cells[full] == '━' {
		full++
	}
	for i := range max(0, len(ends)-1) {
		at := int(ends[i]*float64(width) + 0.5)
		if at > 0 && at < width {
			cells[at] = '┃'
			if at >= full {
				cells[at] = '│'
			}
		}
	}
	return p.Paint(Cyan, string(cells[:full])) + p.Paint(Faint, string(cells[full:]))
}
