// Package view draws the state of a run in a width and a height, as text.
package view

import (
	"fmt"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/terminal/layout"
	"github.com/twinfleet/twinfleet/internal/terminal/paint"
	"github.com/twinfleet/twinfleet/internal/terminal/runstate"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/report/progress"
)

// MinWidth is the least width in columns that a view takes; narrower terminals get plain lines.
const MinWidth = 60

// wide is the width from which the table of operations has a sparkline in every line.
const wide = 120

// Draw draws a state in a width and a height: a pure function. It is as many lines as the height less one,
// for the cursor, none wider than the width; nothing when the width is under MinWidth.
func Draw(s *runstate.State, width, height int, color bool) string {
	if width < MinWidth || height < 3 {
		return ""
	}
	v := view{s, width, paint.Painter(color)}
	room := height - 1
	lines := v.head()
	foot := v.foot()
	lines = append(lines, v.sections(room-len(lines)-len(foot))...)
	for len(lines) < room-len(foot) {
		lines = append(lines, "")
	}
	if len(lines) > room-len(foot) {
		lines = lines[:max(0, room-len(foot))]
	}
	lines = append(lines, foot...)
	return strings.Join(lines[:min(len(lines), room)], "\n")
}

type view struct {
	*runstate.State
	width int
	paint.Painter
}

// spread puts one text at the left and one at the right end of a line.
func (v view) spread(code, left, right string) string {
	room := v.width - 2 - len([]rune(right)) - 2
	return " " + v.Paint(code, paint.Fit(left, room)) + "  " + right
}

// head is the run, its stages, and how far it is.
func (v view) head() []string {
	left := paint.Clean(v.Name)
	if v.Target != "" {
		left += " · " + paint.Clean(v.Target)
	}
	clock := human.Duration(v.At.Truncate(100 * time.Millisecond))
	if v.At < time.Second {
		clock = "0s"
	}
	whole, known := v.Planned()
	if known {
		clock += " of " + human.Duration(whole)
	}
	return []string{v.spread(paint.Bold, left, clock), " " + v.stages(v.width-2), " " + v.progress(v.width-2)}
}

// progress is a line of what goes on: a count that goes up, or how far the stage is.
func (v view) progress(width int) string {
	text, share := "", 0.0
	switch {
	case v.Stopping && v.Waiting > 0:
		return v.Paint(paint.Yellow, paint.Fit(progress.Waiting(v.Waiting, v.Left)+"; Ctrl-C ends the wait", width))
	case v.Stopping:
		return v.Paint(paint.Yellow, paint.Fit("stopping: devices disconnect", width))
	case v.Stage > 0 && v.Stage <= len(v.Stages):
		t := v.Stages[v.Stage-1]
		if t.Duration > 0 {
			share = float64(v.At-v.Began) / float64(t.Duration)
		}
		text = fmt.Sprintf("%3.0f %%", min(share, 1)*100)
		if t.Duration == 0 {
			text = "until its last step is done"
		}
	case v.Target == "":
		return v.Paint(paint.Faint, paint.Fit("opening the target", width))
	}
	if v.Job != "" {
		text = fmt.Sprintf("%s: %s of %s", paint.Clean(v.Job), human.Count(v.Done), human.Count(v.Total))
		if v.Stage == 0 && v.Total > 0 {
			share = float64(v.Done) / float64(v.Total)
		}
	}
	text = paint.Cut(text, width/2)
	return v.Bar(share, width-len([]rune(text))-2) + "  " + text
}

// stages lists the stages with how far they are: those around the one that runs when not all have room.
func (v view) stages(width int) string {
	if len(v.Stages) == 0 {
		return ""
	}
	plain, painted := make([]string, len(v.Stages)), make([]string, len(v.Stages))
	for i, t := range v.Stages {
		length := ""
		if t.Duration > 0 {
			length = " " + human.Duration(t.Duration)
		}
		switch number := i + 1; {
		case number == v.Stage && v.Stopping:
			took := " " + human.Duration((v.Over - v.Began).Truncate(100*time.Millisecond))
			plain[i] = "✓ " + t.Name + took
			painted[i] = v.Paint(paint.Green, "✓") + " " + v.Paint(paint.Faint, t.Name+took)
		case number < v.Stage:
			plain[i] = "✓ " + t.Name + length
			painted[i] = v.Paint(paint.Green, "✓") + " " + v.Paint(paint.Faint, t.Name+length)
		case number == v.Stage:
			text := t.Name + " " + human.Duration((v.At - v.Began).Truncate(100*time.Millisecond))
			if length != "" {
				text += " of" + length
			}
			plain[i], painted[i] = "▸ "+text, v.Paint(paint.Cyan, "▸")+" "+v.Paint(paint.Bold, text)
		default:
			plain[i], painted[i] = "· "+t.Name+length, v.Paint(paint.Faint, "· "+t.Name+length)
		}
	}
	from, to := visible(plain, max(0, v.Stage-1), width)
	line := strings.Join(painted[from:to], "  ")
	if from > 0 {
		line = "… " + line
	}
	if to < len(painted) {
		line += " …"
	}
	if to-from == 1 {
		return paint.Cut(line, width)
	}
	return line
}

// visible is the longest stretch of texts around one of them that fits a width.
func visible(texts []string, around, width int) (from, to int) {
	size := func(i int) int { return len([]rune(texts[i])) + 2 }
	from, to = around, around+1
	room := width - size(around) - 4 // an ellipsis at either end
	for {
		grew := false
		if to < len(texts) && size(to) <= room {
			room -= size(to)
			to++
			grew = true
		}
		if from > 0 && size(from-1) <= room {
			from--
			room -= size(from)
			grew = true
		}
		if !grew {
			return from, to
		}
	}
}

func (v view) foot() []string {
	var parts []string
	for _, l := range v.Links {
		parts = append(parts, l.Name+" "+l.Address)
	}
	help := "Ctrl-C stops and reports; twice stops at once"
	left := strings.Join(parts, " · ")
	if len([]rune(left))+len(help)+4 <= v.width {
		return []string{v.Paint(paint.Faint, v.spread("", left, help))}
	}
	// An address that is cut opens nothing: a line each.
	var lines []string
	if len([]rune(left)) <= v.width-2 {
		parts = []string{left}
	}
	for _, p := range parts {
		lines = append(lines, " "+v.Paint(paint.Faint, paint.Cut(p, v.width-2)))
	}
	return append(lines, " "+v.Paint(paint.Faint, help))
}

// deviceStates are the states of devices beside connected, in the order of columns: those of least interest last.
func deviceStates() []string { return []string{"connecting", "backoff", "offline", "waiting"} }

// stateWidth is the width of a state's column.
func stateWidth(state string) int { return max(len(state), 7) }

// groups is the devices of every group by state.
func (v view) groups() layout.Section {
	const leastBar, mostBar = 6, 48
	var names, numbers []string
	for _, g := range v.Groups {
		names = append(names, g.Name)
		numbers = append(numbers, human.Count(v.Devices(g.Name, "connected"))+" of "+human.Count(g.Count))
	}
	name, number := columnWidth(names, 7, 20), columnWidth(numbers, 6, 25)
	states := deviceStates()
	barWidth := v.width - 2 - name - 2 - number - 1
	for _, state := range states {
		barWidth -= 1 + stateWidth(state)
	}
	for len(states) > 0 && barWidth < leastBar {
		barWidth += 1 + stateWidth(states[len(states)-1])
		states = states[:len(states)-1]
	}
	barWidth = max(0, min(barWidth, mostBar))
	head := paint.Fit("devices", name) + "  " + paint.Fit("connected", barWidth+1+number)
	for _, state := range states {
		head += " " + paint.Right(state, stateWidth(state))
	}
	out := layout.Section{Head: v.Paint(paint.Faint, " "+head), Least: 1, First: 4}
	for i, g := range v.Groups {
		up := float64(v.Devices(g.Name, "connected")) / float64(max(g.Count, 1))
		line := " " + paint.Fit(g.Name, name) + "  " + v.Bar(up, barWidth) + " " + paint.Right(numbers[i], number)
		for _, state := range states {
			n := v.Devices(g.Name, state)
			code := ""
			if state == "backoff" && n > 0 {
				code = paint.Yellow
			}
			line += " " + v.Paint(code, paint.Right(human.Count(n), stateWidth(state)))
		}
		out.Rows = append(out.Rows, line)
	}
	return out
}

// columnWidth is the width of a column of texts.
func columnWidth(texts []string, least, most int) int {
	for _, t := range texts {
		least = max(least, len([]rune(t)))
	}
	return min(least, most)
}
