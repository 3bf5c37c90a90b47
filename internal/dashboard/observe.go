package dashboard

import (
	"bytes"
	"time"

	"github.com/twinfleet/twinfleet/internal/dashboard/tables"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/charts"
	"github.com/twinfleet/twinfleet/report/html"
	"github.com/twinfleet/twinfleet/report/progress"
)

var _ report.Observer = (*Server)(nil)

// Begin tells of the run.
func (s *Server) Begin(r *report.Run) error {
	s.update(func(h *headline) {
		*h = headline{
			Name: r.Name, Description: r.Description, Target: r.Target, Devices: r.Devices, Seed: r.Seed, Version: r.Version, Started: r.Started,
			Paused: h.Paused, Probe: h.Probe,
		}
	})
	return nil
}

// End tells of its verdict, and makes the report.
func (s *Server) End(r *report.Run) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := report.History{Run: r, Samples: s.samples, Events: s.events, Whole: true}
	var page bytes.Buffer
	if err := html.Write(&page, &h, s.opts.Scenario); err != nil { // the record has its own
		s.opts.Logger.Error("the live page has no report", "error", err)
	} else {
		s.page = page.Bytes()
	}
	s.stages = r.Stages
	e := s.evidenceLocked()
	e.Run, e.Over, e.Outside = r, true, nil
	s.final = tables.Of(e)
	s.run.Outcome, s.run.Reason, s.run.Target, s.run.Waiting, s.run.Report = r.Outcome, r.Reason, r.Target, "", s.page != nil
	if s.waited = len(s.watchers); s.waited == 0 || s.page == nil {
		s.waited = 0
		close(s.taken)
	}
	s.tellLocked("tables", s.final)
	s.tellLocked("run", s.run)
	return nil
}

// expected reports whether pages that are open may still ask for the report.
func (s *Server) expected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waited > 0
}

// take is the report, for somebody who asks for it; nil while the run goes on.
func (s *Server) take() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.page
}

// took notes that somebody has the report.
func (s *Server) took() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waited > 0 {
		if s.waited--; s.waited == 0 {
			close(s.taken)
		}
	}
}

// update changes the headline and tells everybody.
func (s *Server) update(change func(*headline)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.run)
	s.tellLocked("run", s.run)
}

// Sample tells of a second. After the last stage it also tells, in words, what is waited for.
func (s *Server) Sample(x report.Sample) {
	waiting := ""
	if x.Waiting > 0 {
		waiting = progress.Waiting(x.Waiting, x.Left)
	}
	var figures []metrics.Figure
	if s.opts.Recorder != nil {
		figures = s.opts.Recorder.Figures()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last, s.figures = x, figures
	tables.Peaks(s.peaks, figures)
	if x.Standing != nil {
		s.course.add(x.At, x.Standing.Thresholds)
	}
	if name := x.Window.Stage; name != "" {
		i := s.stageLocked(name, x.At-x.Window.Elapsed)
		s.stages[i].To = max(s.stages[i].To, x.At)
		s.devices = x.Window.Devices
	}
	kept := x // without what is of this second alone
	kept.Total, kept.Standing = nil, nil
	s.samples = append(s.samples, kept)
	if len(s.samples) > keepSamples {
		h := report.History{Samples: s.samples}
		s.samples = h.Merged(keepSamples / 2)
	}
	s.run.Stage, s.run.At, s.run.Waiting = x.Window.Stage, x.At.Seconds(), waiting
	if len(s.watchers) == 0 {
		return
	}
	s.tellLocked("run", s.run)
	s.tellLocked("tables", s.tablesLocked())
	s.tellLocked("sample", charts.New([]report.Sample{x}, s.stages))
}

// tablesLocked are the tables as they are now.
func (s *Server) tablesLocked() *tables.Tables {
	if s.final != nil {
		return s.final
	}
	return tables.Of(s.evidenceLocked())
}

// evidenceLocked is what is known of the run now.
func (s *Server) evidenceLocked() *tables.Evidence {
	r := &report.Run{Started: s.run.Started, Totals: s.last.Total, Stages: append([]report.Stage(nil), s.stages...)}
	if r.Totals == nil {
		r.Totals = &metrics.Snapshot{}
	}
	e := &tables.Evidence{
		Run: r, Now: s.last.At, Window: s.last.Window, Standing: s.last.Standing, Rules: s.opts.Thresholds, Devices: s.devices,
		Generator: s.figures, Peaks: s.peaks,
	}
	if s.devices == nil {
		e.Devices = r.Totals.Devices
	}
	if s.opts.Recorder == nil {
		return e
	}
	next := 0
	for _, t := range s.opts.Recorder.Stages() {
		switch i := s.stageFrom(next, t.Stage); {
		case i >= 0:
			r.Stages[i].Totals, next = t, i+1
		case t.Stage == "" && e.Outside == nil:
			e.Outside = t
		case t.Stage == "":
			e.Outside = e.Outside.Merge(t)
		}
	}
	return e
}

// stageFrom is the index of a stage among those that samples were told of, from an index on; -1 when it is not there.
func (s *Server) stageFrom(from int, name string) int {
	for i := from; i < len(s.stages); i++ {
		if s.stages[i].Name == name {
			return i
		}
	}
	return -1
}

// stageLocked is the index of a stage, which begins at a time if it is a new one.
func (s *Server) stageLocked(name string, from time.Duration) int {
	if i := s.stageFrom(0, name); i >= 0 {
		return i
	}
	if n := len(s.stages); n > 0 {
		s.stages[n-1].To = from
	}
	s.stages = append(s.stages, report.Stage{Name: name, From: from, To: from})
	return len(s.stages) - 1
}

// Event tells of something that happened. Counts that go up are no news.
func (s *Server) Event(e report.Event) {
	if e.Counting() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
	s.events = s.events[max(0, len(s.events)-keepEvents):]
	switch e.Kind {
	case report.KindTarget:
		s.run.Target = e.Detail
	case report.KindStage: // it may be over before the next sample
		s.stageLocked(e.Text, e.At)
	case report.KindPaused, report.KindResumed:
		s.run.Paused = e.Kind == report.KindPaused
	}
	if e.ByHand() {
		if s.run.ByHand = e.Text; e.Detail != "" {
			s.run.ByHand += ": " + e.Detail
		}
	}
	s.tellLocked("event", e)
	if e.ByHand() || e.Kind == report.KindResumed { // the button turns at once
		s.tellLocked("run", s.run)
	}
}
