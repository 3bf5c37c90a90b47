// Package progress tells on a terminal, or in lines, how a capacity search goes on.
package progress

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity/progress/status"
	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/human"
)

// Printer tells of the trials of a search: a line when one has ended and, on a terminal, one that changes while it goes on.
type Printer struct {
	*status.Line
	style color.Style
	vary  trial.Vary
}

// New makes a Printer; width is that of the terminal, 0 when there is none.
func New(w io.Writer, style color.Style, vary trial.Vary, width int) *Printer {
	return &Printer{Line: status.New(w, width), style: style, vary: vary}
}

// Begin tells of a trial that begins.
func (p *Printer) Begin(a search.Asked, t *trial.Trial) {
	expected := status.Brief(t.Expected())
	p.Start(fmt.Sprintf("trial %d: %s (%s), about %s", a.Number, p.vary.Text(a.Load), why(a.Phase), expected),
		func(stage string, took time.Duration, s *report.Sample) string {
			parts := []string{
				fmt.Sprintf("%2d  %s  %s", a.Number, p.vary.Text(a.Load), stage),
				fmt.Sprintf("%s of about %s", status.Brief(took), expected),
			}
			if s != nil && s.Window.Elapsed > report.TooShort {
				parts = append(parts, figures(p.vary, s)...)
			}
			return strings.Join(parts, " · ")
		})
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

// figures are the devices that are connected, and what is done of the first operation that a load is of.
func figures(v trial.Vary, s *report.Sample) []string {
	parts := []string{human.Count(s.Window.DevicesIn("connected")) + " connected"}
	for _, op := range operations(v) {
		if x := s.Window.Select(op, ""); x != nil && x.Ended() > 0 {
			l := x.Latency(false)
			return append(parts, fmt.Sprintf("%s %s p99 %s", op, human.Rate(float64(x.Count(metrics.OK))/s.Window.Elapsed.Seconds()), human.Duration(l.Quantile(0.99))))
		}
	}
	return parts
}

func operations(v trial.Vary) []metrics.Operation {
	if op := v.Operation(); op != "" {
		return []metrics.Operation{op}
	}
	return []metrics.Operation{metrics.OpTwinReport, metrics.OpTelemetry, metrics.OpConnect}
}

// End tells what came of a trial.
func (p *Printer) End(r trial.Record) {
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
	p.Finish(text)
}
