// Package progress tells on a terminal, or in lines, how a rollout study goes on.
package progress

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity/progress/status"
	"github.com/twinfleet/twinfleet/internal/capacity/rollout/exercise"
	told "github.com/twinfleet/twinfleet/internal/capacity/rollout/report"
	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/human"
)

// Printer tells of the trials of a study: a line when one has ended and, on a terminal, one that changes while it goes on.
type Printer struct {
	*status.Line
	style color.Style
}

// New makes a Printer; width is that of the terminal, 0 when there is none.
func New(w io.Writer, style color.Style, width int) *Printer {
	return &Printer{Line: status.New(w, width), style: style}
}

// Begin tells of a trial that begins.
func (p *Printer) Begin(t *exercise.Trial) {
	what, rate, expected := told.What(&t.Asked), trial.ConnectRate.Number(t.Rate), status.Brief(t.Expected)
	p.Start(fmt.Sprintf("trial %d: %s at %s (%s), about %s", t.Number, what, rate, why(&t.Asked), expected),
		func(stage string, took time.Duration, s *report.Sample) string {
			parts := []string{fmt.Sprintf("%2d  %s at %s  %s", t.Number, what, rate, stage), fmt.Sprintf("%s of about %s", status.Brief(took), expected)}
			if s != nil {
				parts = append(parts, human.Count(s.Window.DevicesIn("connected"))+" connected")
			}
			return strings.Join(parts, " · ")
		})
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

// End tells what came of a trial.
func (p *Printer) End(r exercise.Record) {
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
		text += fmt.Sprintf(" in %s", status.Brief(time.Duration(r.Up*float64(time.Second))))
	}
	if r.Why != "" {
		text += "  " + r.Why
	}
	p.Finish(text)
}
