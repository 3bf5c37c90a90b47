// Package view draws the state of a run in a width and a height, as text, with what a person has picked in it.
package view

import (
	"fmt"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"github.com/twinfleet/twinfleet/internal/terminal/layout"
	"github.com/twinfleet/twinfleet/internal/terminal/paint"
	"github.com/twinfleet/twinfleet/internal/terminal/runstate"
)

// MinWidth is the least width in columns that a view takes; narrower terminals get plain lines.
const MinWidth = 40

// Widths from which the view has more.
const (
	wide   = 120 // a sparkline in every line of the table of operations
	double = 150 // sections side by side
)

// Draw draws a state in a width and a height: a pure function. It is as many lines as the height less one,
// for the cursor, none wider than the width; nothing when the width is under MinWidth.
func Draw(s *runstate.State, u *UI, width, height int, color bool) string {
	if width < MinWidth || height < 3 {
		return ""
	}
	v := view{State: s, ui: u, width: width, height: height, Painter: paint.Painter(color)}
	room := height - 1
	lines, foot := v.head(), v.foot()
	lines = lines[:min(len(lines), max(1, room-len(foot)))]
	left := room - len(lines) - len(foot)
	switch {
	case u.help:
		lines = append(lines, v.scrolled(v.help(), left)...)
	case u.open:
		lines = append(lines, v.scrolled(v.detail(), left)...)
	default:
		lines = append(lines, layout.Lines(v.bands(), left, width, v.texts())...)
	}
	for len(lines) < room-len(foot) {
		lines = append(lines, "")
	}
	lines = append(lines[:max(0, room-len(foot))], foot...)
	return strings.Join(lines[:min(len(lines), room)], "\n")
}

// Cursor is where the cursor stands on what Draw drew: behind its last line, as at a prompt.
func Cursor(drawn string, width int) (x, y int) {
	lines := strings.Split(drawn, "\n")
	return max(0, min(ansi.StringWidth(lines[len(lines)-1])+1, width-1)), len(lines) - 1
}

type view struct {
	*runstate.State
	ui            *UI
	width, height int
	paint.Painter
}

// The sections, by name, in the order in which Tab goes through them.
const (
	thresholds = "thresholds"
	rollouts   = "rollouts"
	agents     = "agents"
	groups     = "groups"
	operations = "operations"
	failures   = "errors"
	events     = "events"
)

func sectionNames() []string {
	return []string{thresholds, rollouts, agents, groups, operations, failures, events}
}

// short says that there is no room for what is not needed.
func (v view) short() bool { return v.height < 20 }

// bands are the sections, side by side where there is room.
func (v view) bands() []layout.Band {
	if v.width < double {
		return []layout.Band{{v.thresholds()}, {v.rollouts()}, {v.agents()}, {v.groups()}, {v.operations()}, {v.failures()}, {v.events()}}
	}
	half := v
	half.width = layout.Widths(v.width, 2)[0]
	first := layout.Band{half.thresholds(), half.groups()}
	if len(first[0].Rows) == 0 || len(first[1].Rows) == 0 {
		first = layout.Band{v.thresholds(), v.groups()}
	}
	last := layout.Band{half.failures(), half.events()}
	if len(last[0].Rows) == 0 || len(last[1].Rows) == 0 {
		last = layout.Band{v.failures(), v.events()}
	}
	return []layout.Band{first, {v.rollouts()}, {v.agents()}, {v.operations()}, last}
}

// section is one of them.
func (v view) section(name string) layout.Section {
	switch name {
	case thresholds:
		return v.thresholds()
	case rollouts:
		return v.rollouts()
	case agents:
		return v.agents()
	case groups:
		return v.groups()
	case operations:
		return v.operations()
	case failures:
		return v.failures()
	default:
		return v.events()
	}
}

// picked marks a section's picked row, and that the section has it.
func (v view) picked(s layout.Section) layout.Section {
	if v.ui.focus != s.Name || len(s.Rows) == 0 {
		return s
	}
	s.Focus, s.Pick = true, v.ui.index(s)
	return s
}

func (v view) texts() layout.Texts {
	return layout.Texts{
		More: func(out []layout.Row) string {
			return v.Paint(v.hidden(out), fmt.Sprintf(" and %d more", len(out)))
		},
		Idle: func(out []layout.Row) string {
			names := make([]string, len(out))
			for i, r := range out {
				names[i] = r.Key
			}
			return v.Paint(paint.Faint, paint.Cut(fmt.Sprintf(" ended %d: %s", len(out), strings.Join(names, ", ")), v.width))
		},
		Pick: func(text string) string {
			plain := []rune(ansi.Strip(text))
			if len(plain) > 0 {
				plain[0] = '›'
			}
			return v.Paint(paint.Invert, string(plain))
		},
		Fit: paint.Fit,
	}
}

// hidden is the colour of a count of rows that are left out: one that is seen when something is wrong with any.
func (v view) hidden(out []layout.Row) string {
	if slices.ContainsFunc(out, func(r layout.Row) bool { return r.Trouble }) {
		return paint.Yellow
	}
	return paint.Faint
}

// heading is a heading: a title, with how many rows are left out, in a width, and the titles of columns.
func (v view) heading(title string, width int, rest string) func(out []layout.Row) string {
	return func(out []layout.Row) string {
		if len(out) == 0 {
			return v.Paint(paint.Faint, paint.Cut(" "+paint.Fit(title, width)+rest, v.width))
		}
		count := fmt.Sprintf("+%d", len(out))
		if v.hidden(out) == paint.Yellow {
			count += "!"
		}
		title := paint.Cut(title, width-len(count)-1)
		blank := strings.Repeat(" ", max(0, width-ansi.StringWidth(title)-1-len(count)))
		return paint.Cut(" "+v.Paint(paint.Faint, title)+" "+v.Paint(v.hidden(out), count)+v.Paint(paint.Faint, blank+rest), v.width)
	}
}

// scrolled is the part of some lines that is to be seen in so much room.
func (v view) scrolled(lines []string, room int) []string {
	if len(lines) <= room {
		return lines
	}
	from := max(0, min(v.ui.scroll, len(lines)-room))
	out := append([]string(nil), lines[from:from+max(0, room)]...)
	if below := len(lines) - from - room; below > 0 && room > 1 {
		out[room-1] = v.Paint(paint.Faint, fmt.Sprintf(" %d more lines below", below+1))
	}
	return out
}

// columnWidth is the width of a column of texts.
func columnWidth(texts []string, least, most int) int {
	for _, t := range texts {
		least = max(least, ansi.StringWidth(t))
	}
	return min(least, most)
}

// wrap breaks a text into lines of a width, each behind an indentation.
func wrap(text string, width int, indent string) []string {
	lines := strings.Split(ansi.Wrap(paint.Clean(text), max(1, width-len(indent)), ""), "\n")
	for i := range lines {
		lines[i] = indent + lines[i]
	}
	return lines
}
