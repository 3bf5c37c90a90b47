// Package plain tells of a run in lines of text: one a second, and one for everything that happens.
package plain

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/terminal/runstate"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/clean"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/report/progress"
)

// Writer writes a line a second and a line for everything that happens. It is safe for concurrent use.
type Writer struct {
	runstate.Spectator

	style color.Style

	mu   sync.Mutex // orders lines, and protects the following fields
	w    io.Writer
	last time.Time // of the last line about a count that goes up
	told string    // of what the last doubt about the generator was: of a stage
}

// New writes to w, beginning with what is planned.
func New(w io.Writer, plan runstate.Plan, style color.Style) *Writer {
	p := &Writer{w: w, style: style}
	title := plan.Name
	if plan.Description != "" {
		title += ": " + plan.Description
	}
	fmt.Fprintln(w, title)
	for _, l := range plan.Links {
		fmt.Fprintf(w, "%s at %s\n", l.Name, l.Address)
	}
	return p
}

// Event tells what happened.
func (p *Writer) Event(e report.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.Kind == report.KindProvision || e.Kind == report.KindTagging {
		if e.Done < e.Total && time.Since(p.last) < runstate.CountEvery {
			return
		}
		p.last = time.Now()
	}
	if text := Event(e, p.style); text != "" {
		fmt.Fprint(p.w, text)
	}
}

// Sample tells the figures of another second.
func (p *Writer) Sample(x report.Sample) {
	if x.Window.Elapsed < report.TooShort {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := x.Standing; s != nil && s.Doubt != "" {
		if of, _, _ := strings.Cut(s.Doubt, ":"); of != p.told { // its figures change each second: said once a stage
			p.told = of
			fmt.Fprintf(p.w, "%7s  the generator cannot be believed: %s\n", human.Duration(x.At), clean.Text(s.Doubt))
		}
	}
	fmt.Fprintln(p.w, Sample(x))
}

// Sample is the figures of a second, and how the run stands with them, in one line.
func Sample(x report.Sample) string {
	line := progress.Line(x.Window.Stage, x.Total, x.Window)
	if x.Waiting > 0 {
		line = progress.WaitingLine(x.Total.Elapsed, x.Waiting, x.Left)
	}
	if x.Standing == nil {
		return line
	}
	return line + "  | " + strings.Join(standing(x), " · ")
}

// standing is how a run stands: the verdict so far, why when all is not well, who is there, what fails most, and how long it takes.
func standing(x report.Sample) []string {
	s := x.Standing
	verdict := strings.ReplaceAll(string(s.Outlook), "_", " ")
	if s.Outlook != report.Holding && s.Reason != "" {
		if at, ok := runstate.MissedSince(x); ok && s.Outlook == report.Missing {
			verdict += " since " + human.Duration(at)
		}
		verdict += ": " + clean.Text(s.Reason)
	}
	parts := []string{verdict}
	if s.Connected < s.Wanted { // else the line has it
		parts = append(parts, s.DevicesText())
	}
	if text := s.AgentsText(); text != "" {
		parts = append(parts, text)
	}
	if reason := worst(x.Total.Errors); reason != nil {
		text := string(reason.Operation) + " " + reason.Outcome
		if reason.Outcome == metrics.LostConnection {
			text = "connection lost"
		}
		if reason.Reason != reason.Outcome {
			text += ": " + clean.Text(reason.Reason)
		}
		parts = append(parts, human.Count(reason.Count)+" "+text)
	}
	if s.Doubt != "" && s.Outlook != report.CannotSay { // else the reason says it
		parts = append(parts, "the generator cannot be believed")
	}
	if left := s.Left.Round(time.Second); left > 0 {
		parts = append(parts, human.Duration(left)+" left")
	}
	return parts
}

// worst is the reason why most operations ended badly: an error when there is any, and else what was throttled; nil for none.
func worst(all []metrics.ErrorCount) (most *metrics.ErrorCount) {
	throttled := func(e *metrics.ErrorCount) bool { return e.Outcome == metrics.Throttled.String() }
	for i := range all {
		e := &all[i]
		if e.Count == 0 {
			continue
		}
		if most == nil || throttled(most) && !throttled(e) || throttled(most) == throttled(e) && e.Count > most.Count {
			most = e
		}
	}
	return most
}

// Write writes log lines between the others.
func (p *Writer) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.w.Write(b)
}

// Close has nothing to do.
func (p *Writer) Close() error { return nil }

// Event is an event as lines of text; empty for those that say nothing new.
func Event(e report.Event, style color.Style) string {
	at := fmt.Sprintf("%7s  ", human.Duration(e.At))
	switch e.Kind {
	case report.KindTarget:
		return fmt.Sprintf("%starget: %s\n", at, e.Detail)
	case report.KindProvision, report.KindTagging:
		took := ""
		if e.Detail != "" {
			took = " in " + e.Detail
		}
		return fmt.Sprintf("%s%s: %s of %s%s\n", at, e.Text, human.Count(e.Done), human.Count(e.Total), took)
	case report.KindStage:
		return fmt.Sprintf("%sstage %d of %d: %s (%s)\n", at, e.Done, e.Total, e.Text, e.Detail)
	case report.KindStep:
		return fmt.Sprintf("%s%s %s\n             %s\n", at, style.Mark(e.OK), e.Text, e.Detail)
	case report.KindStopping:
		return ""
	default:
		if e.Detail == "" {
			return fmt.Sprintf("%s%s\n", at, e.Text)
		}
		return fmt.Sprintf("%s%s: %s\n", at, e.Text, e.Detail)
	}
}
