// Package progress tells on a terminal, or in lines, how a capacity search goes on.
package progress

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/human"
)

// Printer tells of trials: a line when one has ended and, on a terminal, one that changes while it goes on. Its methods may be called from any
// goroutine; it takes log lines, too.
type Printer struct {
	w     io.Writer
	style color.Style
	vary  trial.Vary
	width int // of the terminal; 0 when there is none

	mu     sync.Mutex // protects the following fields
	trial  *trial.Trial
	asked  search.Asked
	began  time.Time
	told   time.Time // when a line last told of it
	stage  string
	status string // that stands on the terminal's last line
}

// New makes a Printer; width is that of the terminal, 0 when there is none.
func New(w io.Writer, style color.Style, vary trial.Vary, width int) *Printer {
	return &Printer{w: w, style: style, vary: vary, width: width}
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
func (p *Printer) Begin(a search.Asked, t *trial.Trial) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trial, p.asked, p.began, p.stage = t, a, time.Now(), "opening the target"
	p.told = p.began
	if p.width == 0 {
		fmt.Fprintf(p.w, "trial %d: %s (%s), about %s\n", a.Number, p.vary.Text(a.Load), why(a.Phase), brief(t.Expected()))
		return
	}
	p.draw(p.line(nil))
}

// why says what a trial is for.
func why(phase search.Phase) string {
	switch phase {
	case search.Narrow:
		return "between what held and what did not"
	case search.Repeat:
		return "once more"
	case search.Confirm:
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
	switch now := time.Now(); {
	case p.width > 0:
		p.draw(p.line(&s))
	case now.Sub(p.told) >= heartbeat:
		p.told = now
		fmt.Fprintf(p.w, "  %s\n", p.line(&s))
	}
}

// heartbeat is how often lines tell of a trial that goes on, where there is no terminal.
const heartbeat = 30 * time.Second

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
		fmt.Sprintf("%2d  %s  %s", p.asked.Number, p.vary.Text(p.asked.Load), p.stage),
		fmt.Sprintf("%s of about %s", brief(time.Since(p.began)), brief(p.trial.Expected())),
	}
	if s != nil && s.Window.Elapsed > report.TooShort {
		parts = append(parts, human.Count(s.Window.DevicesIn("connected"))+" connected")
		for _, op := range operations(p.vary) {
			if x := s.Window.Select(op, ""); x != nil && x.Ended() > 0 {
				l := x.Latency(false)
				parts = append(parts, fmt.Sprintf("%s %s p99 %s", op, human.Rate(float64(x.Count(metrics.OK))/s.Window.Elapsed.Seconds()), human.Duration(l.Quantile(0.99))))
				break
			}
		}
	}
	return strings.Join(parts, " · ")
}

func operations(v trial.Vary) []metrics.Operation {
	if op := v.Operation(); op != "" {
		return []metrics.Operation{op}
	}
	return []metrics.Operation{metrics.OpTwinReport, metrics.OpTelemetry, metrics.OpConnect}
}

// End tells what came of a trial.
func (p *Printer) End(r trial.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	p.trial, p.status = nil, ""
	mark := p.style.Mark(r.Verdict == search.Held)
	if r.Verdict == search.Undelivered || r.Verdict == search.Spent {
		mark = p.style.Unknown()
	}
	text := fmt.Sprintf("%s %2d  %-18s %-11s", mark, r.Number, p.vary.Text(r.Load), r.Verdict)
	if r.Offered > 0 {
		text += fmt.Sprintf(" %9s done  p99 %-8s", human.Rate(r.Done), human.Duration(time.Duration(r.P99*float64(time.Second))))
	}
	switch {
	case r.Limit == trial.ByThrottle:
		text += " throttle of " + r.Class
	case r.Limit == trial.ByQuota:
		text += " the day's messages are used up"
	case r.Why != "":
		text += " " + r.Why
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
