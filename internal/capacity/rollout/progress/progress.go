// Package progress tells on a terminal, or in lines, how a rollout study goes on.
package progress

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity/rollout/exercise"
	told "github.com/twinfleet/twinfleet/internal/capacity/rollout/report"
	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/human"
)

// Printer tells of trials: a line when one has ended and, on a terminal, one that changes while it goes on. Its methods may be called from any
// goroutine; it takes log lines, too.
type Printer struct {
	w     io.Writer
	style color.Style
	width int // of the terminal; 0 when there is none

	mu     sync.Mutex // protects the following fields
	trial  *exercise.Trial
	began  time.Time
	stage  string
	status string // that stands on the terminal's last line
}

// New makes a Printer; width is that of the terminal, 0 when there is none.
func New(w io.Writer, style color.Style, width int) *Printer {
	return &Printer{w: w, style: style, width: width}
}

// Write writes log lines above the line that changes.
func (p *Printer) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	n, err := p.w.Write(b)
	p.draw(p.status)
	return n, err
}

// Say writes a line.
func (p *Printer) Say(format string, args ...any) { _, _ = fmt.Fprintf(p, format+"\n", args...) }

// Begin tells of a trial that begins.
func (p *Printer) Begin(t *exercise.Trial) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trial, p.began, p.stage = t, time.Now(), "opening the target"
	if p.width == 0 {
		fmt.Fprintf(p.w, "trial %d: %s at %s (%s), about %s\n", t.Number, told.What(&t.Asked), trial.ConnectRate.Number(t.Rate), why(&t.Asked), brief(t.Expected))
		return
	}
	p.draw(p.line(nil))
}

// why says what a trial is for.
func why(a *exercise.Asked) string {
	switch {
	case a.Part == exercise.Again:
		return "with another seed"
	case a.IsStorm():
		return "all connections are cut"
	case a.Phase == search.Narrow:
		return "between what held and what did not"
	case a.Phase == search.Repeat:
		return "once more, it was close"
	case a.Phase == search.Confirm:
		return "to confirm"
	}
	return "a step"
}

// Observer is who watches the run of a trial for the Printer.
func (p *Printer) Observer() report.Observer {
	return report.Funcs{OnEvent: p.event, OnSample: p.sample}
}

func (p *Printer) event(e report.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e.Kind {
	case report.KindStage:
		p.stage = e.Text
	case report.KindStopping:
		p.stage = "ending"
	case report.KindProvision:
		if e.Done < e.Total {
			p.stage = fmt.Sprintf("making identities, %s of %s", human.Count(e.Done), human.Count(e.Total))
		}
	default:
		return
	}
	if p.width > 0 {
		p.draw(p.line(nil))
	}
}

func (p *Printer) sample(s report.Sample) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.width > 0 {
		p.draw(p.line(&s))
	}
}

// Status is the trial under way in a line; "" between two.
func (p *Printer) Status() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status != "" {
		return p.status
	}
	return p.line(nil)
}

// line is the trial under way in a line.
func (p *Printer) line(s *report.Sample) string {
	if p.trial == nil {
		return ""
	}
	parts := []string{
		fmt.Sprintf("%2d  %s at %s  %s", p.trial.Number, told.What(&p.trial.Asked), trial.ConnectRate.Number(p.trial.Rate), p.stage),
		fmt.Sprintf("%s of about %s", brief(time.Since(p.began)), brief(p.trial.Expected)),
	}
	if s != nil {
		parts = append(parts, human.Count(s.Window.DevicesIn("connected"))+" connected")
	}
	return strings.Join(parts, " · ")
}

// End tells what came of a trial.
func (p *Printer) End(r exercise.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	p.trial, p.status = nil, ""
	mark := p.style.Mark(r.Verdict == search.Held)
	if r.Verdict == search.Undelivered {
		mark = p.style.Unknown()
	}
	what := told.What(&r.Asked)
	if !r.IsStorm() {
		what = trial.ConnectRate.Number(r.Rate)
	}
	text := fmt.Sprintf("%s %2d  %-34s %-11s", mark, r.Number, what, told.Verdict(&r))
	if r.IsStorm() && r.Back99 > 0 {
		text += fmt.Sprintf(" 99 %% back in %s", human.Duration(time.Duration(r.Back99*float64(time.Second))))
	} else if r.Up > 0 && !r.IsStorm() {
		text += fmt.Sprintf(" in %s", brief(time.Duration(r.Up*float64(time.Second))))
	}
	if r.Why != "" {
		text += "  " + r.Why
	}
	fmt.Fprintln(p.w, cut(strings.TrimRight(text, " "), p.width))
}

// cut keeps a line from being broken; a pipe takes all of it.
func cut(line string, width int) string {
	r := []rune(line)
	if width < 20 || len(r) < width {
		return line
	}
	return string(r[:width-2]) + "…"
}

// Close takes the line that changes away.
func (p *Printer) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	p.status = ""
}

func (p *Printer) clear() {
	if p.width > 0 && p.status != "" {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

func (p *Printer) draw(line string) {
	if p.width == 0 {
		return
	}
	p.clear()
	p.status = cut(line, p.width)
	fmt.Fprint(p.w, p.status)
}

func brief(d time.Duration) string {
	d = d.Round(time.Second)
	if d < time.Minute {
		return d.String()
	}
	return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
}
