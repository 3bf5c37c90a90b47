package view

import (
	"fmt"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/twinfleet/twinfleet/internal/terminal/paint"
	"github.com/twinfleet/twinfleet/internal/terminal/runstate"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/report/progress"
)

// head is what somebody who looks for five seconds must know: how the run stands and why, how far it is, who is there, and whether
// the figures can be believed.
func (v view) head() []string {
	lines := v.verdict()
	lines = append(lines, v.clock(), " "+v.progress(v.width-2))
	if !v.short() && len(v.Stages) > 0 {
		lines = append(lines, " "+v.stages(v.width-2))
	}
	return append(lines, v.fleet()...)
}

// outlook is the sign, the word and the colour of how a run stands.
func outlook(o report.Outlook) (sign, word, code string) {
	switch o {
	case report.Holding:
		return "✓", "HOLDING", paint.Green
	case report.CannotSay:
		return "?", "CANNOT SAY", paint.Yellow
	case report.Missing:
		return "✗", "MISSING", paint.Red
	case report.Failing:
		return "✗", "FAILING", paint.Red
	default:
		return "…", "STARTING", paint.Cyan
	}
}

// verdict is how the run stands, and why, in two lines at the most.
func (v view) verdict() []string {
	state, reason := report.Starting, ""
	if s := v.Standing(); s != nil {
		state, reason = s.Outlook, s.Reason
		if at, ok := runstate.MissedSince(v.LastSample()); ok && state == report.Missing {
			reason = "since " + human.Duration(at) + " · " + reason
		}
	}
	if state == report.Starting && reason == "" {
		reason = v.doing()
	}
	sign, word, code := outlook(state)
	head := sign + " " + word
	most := 2
	if v.short() {
		most = 1
	}
	room := v.width - 2 - ansi.StringWidth(head) - 2
	lines := wrap(reason, room, "")
	if len(lines) > most {
		rest := strings.Join(lines[most-1:], " ")
		lines = append(lines[:most-1], paint.Cut(rest, room))
	}
	out := []string{" " + v.Paint(paint.Bold+code, head) + "  " + lines[0]}
	for _, l := range lines[1:] {
		out = append(out, strings.Repeat(" ", ansi.StringWidth(head)+3)+l)
	}
	return out
}

// doing is what goes on before the first stage.
func (v view) doing() string {
	if v.Target == "" {
		return "opening the target"
	}
	return "before the first stage"
}

// spread puts one text at the left and one at the right end of a line.
func (v view) spread(code, left, right string) string {
	room := v.width - 2 - ansi.StringWidth(right) - 2
	return " " + v.Paint(code, paint.Fit(left, room)) + "  " + right
}

// clock is what runs, and how far it is in time.
func (v view) clock() string {
	left := paint.Clean(v.Name)
	if v.Target != "" {
		left += " · " + paint.Clean(v.Target)
	}
	clock := human.Duration(v.At.Truncate(100 * time.Millisecond))
	if v.At < time.Second {
		clock = "0s"
	}
	if s := v.Standing(); s != nil && s.Left > 0 && !v.Stopping {
		clock += " · " + human.Duration(s.Left.Round(time.Second)) + " left"
	} else if whole, known := v.Planned(); known && !v.Stopping {
		clock += " of " + human.Duration(whole)
	}
	if v.Paused {
		clock = "PAUSED · " + clock
	}
	return v.spread(paint.Bold, left, clock)
}

// progress is a line of how far the whole run is, or of a count that goes up.
func (v view) progress(width int) string {
	text := ""
	share, ends := v.State.Progress()
	switch {
	case v.Stopping && v.Waiting > 0:
		return v.Paint(paint.Yellow, paint.Fit(progress.Waiting(v.Waiting, v.Left)+"; Ctrl-C ends the wait", width))
	case v.Stopping:
		return v.Paint(paint.Yellow, paint.Fit("stopping: devices disconnect, the report is made; Ctrl-C stops at once", width))
	case v.Stage > 0 && v.Stage <= len(v.Stages):
		text = fmt.Sprintf("%3.0f %%", share*100)
	}
	if v.Job != "" {
		text = paint.Clean(v.Job) + ": " + human.Count(v.Done)
		if v.Total > 0 {
			text += " of " + human.Count(v.Total)
		}
		if v.Stage == 0 && v.Total > 0 {
			share, ends = float64(v.Done)/float64(v.Total), nil
		}
	}
	text = paint.Cut(text, width/2)
	if text == "" {
		return v.StageBar(share, ends, width)
	}
	return v.StageBar(share, ends, width-ansi.StringWidth(text)-2) + "  " + text
}

// stages lists the stages with how far they are: those around the one that runs when not all have room.
func (v view) stages(width int) string {
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
			} else {
				text += ", until its last step"
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
	size := func(i int) int { return ansi.StringWidth(texts[i]) + 2 }
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

// fleet is who is there, what went wrong in all, and whether the figures can be believed: a line each when they do not fit one.
func (v view) fleet() []string {
	s := v.Standing()
	if s == nil {
		return nil
	}
	devices := s.DevicesText()
	if v.width < 60 {
		devices, _, _ = strings.Cut(devices, ", ") // the scenario has more: the groups tell
	}
	if s.Connected < s.Wanted {
		devices = v.Paint(paint.Yellow, devices)
	}
	_, trouble := v.TroubleOf("")
	errors := human.Count(trouble.Errors) + " errors"
	if trouble.Errors == 1 {
		errors = "1 error"
	}
	if text := s.AgentsText(); strings.HasSuffix(text, "lost") {
		devices += " · " + v.Paint(paint.Red, text)
	} else if text != "" {
		devices += " · " + text
	}
	parts := []string{devices, v.alarm(paint.Red, trouble.Errors, errors)}
	if trouble.Throttled > 0 {
		parts = append(parts, v.Paint(paint.Yellow, human.Count(trouble.Throttled)+" throttled"))
	}
	if s.Doubt == "" {
		if s.Outlook != report.Starting {
			parts = append(parts, v.Paint(paint.Green, "✓")+" generator ok")
		}
		return v.joined(parts)
	}
	doubt := wrap("generator, not to be believed: "+s.Doubt, v.width-4, "")
	most := 1
	if s.Outlook == report.CannotSay && !v.short() || v.height >= 30 { // else there is no room for more than what is the matter
		most = 2
	}
	if len(doubt) > most {
		doubt = append(doubt[:most-1:most-1], paint.Cut(strings.Join(doubt[most-1:], " "), v.width-4))
	}
	lines := v.joined(parts)
	for i, d := range doubt {
		sign := " ? "
		if i > 0 {
			sign = "   "
		}
		lines = append(lines, v.Paint(paint.Yellow, sign+d))
	}
	return lines
}

// alarm colours a text when it tells of more than nothing.
func (v view) alarm(code string, n uint64, text string) string {
	if n == 0 {
		return text
	}
	return v.Paint(code, text)
}

// joined puts texts into a line, and the rest into further ones when they do not fit.
func (v view) joined(parts []string) (lines []string) {
	const between = " · "
	line := ""
	for _, p := range parts {
		switch {
		case line == "":
			line = " " + p
		case ansi.StringWidth(line+between+p) > v.width-1:
			lines = append(lines, paint.Cut(line, v.width))
			line = " " + p
		default:
			line += between + p
		}
	}
	return append(lines, paint.Cut(line, v.width))
}

// foot is what one may press, and what one may open; a question takes its place.
func (v view) foot() []string {
	if text := v.ui.question(); text != "" {
		return []string{" " + v.Paint(paint.Bold+paint.Yellow, paint.Cut(text, v.width-2))}
	}
	help := "Ctrl-C stops and reports; twice stops at once"
	if ansi.StringWidth(help) > v.width-2 {
		help = "Ctrl-C stops; twice at once"
	}
	if v.ui.Keys {
		help = v.ui.hint(v.width)
	}
	var parts []string
	for _, l := range v.Links {
		parts = append(parts, l.Name+" "+l.Address)
	}
	left := strings.Join(parts, " · ")
	if ansi.StringWidth(left)+ansi.StringWidth(help)+4 <= v.width {
		return []string{v.Paint(paint.Faint, v.spread("", left, help))}
	}
	if v.ui.Keys && v.height < 30 { // the help has them all
		switch {
		case len(parts) > 0 && ansi.StringWidth(parts[0])+ansi.StringWidth(help)+4 <= v.width:
			return []string{v.Paint(paint.Faint, v.spread("", parts[0], help))}
		case len(parts) > 0 && ansi.StringWidth(parts[0]) <= v.width-2 && v.height >= 24:
			return []string{" " + v.Paint(paint.Faint, parts[0]), " " + v.Paint(paint.Faint, paint.Cut(help, v.width-2))}
		}
		return []string{" " + v.Paint(paint.Faint, paint.Cut(help, v.width-2))}
	}
	// An address that is cut opens nothing: a line each.
	var lines []string
	if ansi.StringWidth(left) <= v.width-2 {
		parts = []string{left}
	}
	for _, p := range parts {
		lines = append(lines, " "+v.Paint(paint.Faint, paint.Cut(p, v.width-2)))
	}
	return append(lines, " "+v.Paint(paint.Faint, paint.Cut(help, v.width-2)))
}
