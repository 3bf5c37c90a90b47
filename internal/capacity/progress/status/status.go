// Package status tells of trials that go on: on a terminal by a last line that changes, elsewhere by a line now and then.
package status

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
)

// Trial writes the trial under way in a line, given its stage, for how long it has gone on, and the last figures, which may be nil.
type Trial func(stage string, took time.Duration, s *report.Sample) string

// Line tells of one trial after the other. Its methods may be called from any goroutine; it takes log lines, too.
type Line struct {
	out   io.Writer
	width int // of the terminal; 0 when there is none

	mu    sync.Mutex // protects the following fields
	trial Trial      // under way; nil between two
	began time.Time
	told  time.Time // when a line last told of it
	stage string
	shown string // that stands on the terminal's last line
}

// New makes a Line; width is that of the terminal, 0 when there is none.
func New(out io.Writer, width int) *Line { return &Line{out: out, width: width} }

// Write writes log lines above the line that changes.
func (s *Line) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	n, err := s.out.Write(b)
	s.draw(s.shown)
	return n, err
}

// Say writes a line.
func (s *Line) Say(format string, args ...any) { _, _ = fmt.Fprintf(s, format+"\n", args...) }

// Start tells of a trial that begins; announced is said where there is no terminal.
func (s *Line) Start(announced string, trial Trial) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trial, s.began, s.stage = trial, time.Now(), "opening the target"
	s.told = s.began
	if s.width == 0 {
		fmt.Fprintln(s.out, announced)
		return
	}
	s.draw(s.line(nil))
}

// Finish says what came of the trial, in a line that is not broken on a terminal.
func (s *Line) Finish(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	s.trial, s.shown = nil, ""
	fmt.Fprintln(s.out, cut(strings.TrimRight(text, " "), s.width))
}

// Close takes the line that changes away.
func (s *Line) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	s.shown = ""
}

// Status is the trial under way in a line; "" between two.
func (s *Line) Status() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shown != "" {
		return s.shown
	}
	return s.line(nil)
}

// Observer is who watches the run of a trial for the Line.
func (s *Line) Observer() report.Observer {
	return report.Funcs{OnEvent: s.event, OnSample: s.sample}
}

func (s *Line) event(e report.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e.Kind {
	case report.KindStage:
		s.stage = e.Text
	case report.KindStopping:
		s.stage = "ending"
	case report.KindProvision:
		if e.Done < e.Total {
			s.stage = fmt.Sprintf("making identities, %s of %s", human.Count(e.Done), human.Count(e.Total))
		}
	default:
		return
	}
	if s.width > 0 {
		s.draw(s.line(nil))
	}
}

// heartbeat is how often lines tell of a trial that goes on, where there is no terminal.
const heartbeat = 30 * time.Second

func (s *Line) sample(x report.Sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch now := time.Now(); {
	case s.width > 0:
		s.draw(s.line(&x))
	case now.Sub(s.told) >= heartbeat:
		s.told = now
		fmt.Fprintf(s.out, "  %s\n", s.line(&x))
	}
}

// line is the trial under way in a line. The caller holds the lock.
func (s *Line) line(x *report.Sample) string {
	if s.trial == nil {
		return ""
	}
	return s.trial(s.stage, time.Since(s.began), x)
}

func (s *Line) clear() {
	if s.width > 0 && s.shown != "" {
		fmt.Fprint(s.out, "\r\x1b[K")
	}
}

func (s *Line) draw(line string) {
	if s.width == 0 {
		return
	}
	s.clear()
	s.shown = cut(line, s.width)
	fmt.Fprint(s.out, s.shown)
}

// cut keeps a line from being broken; a pipe takes all of it.
func cut(line string, width int) string {
	r := []rune(line)
	if width < 20 || len(r) < width {
		return line
	}
	return string(r[:width-2]) + "…"
}

// Brief writes a time in whole seconds.
func Brief(d time.Duration) string {
	d = d.Round(time.Second)
	if d < time.Minute {
		return d.String()
	}
	return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
}
