package runstate

import (
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/account"
	"github.com/twinfleet/twinfleet/report/human"
)

// What a State keeps of a run.
const (
	WindowLength  = 10  // intervals whose figures are shown together
	HistoryLength = 240 // intervals whose latencies are kept
	keptEvents    = 60
)

// State is all that a view may show. Times are since the run's start.
type State struct {
	Plan
	At       time.Duration // now
	Target   string        // what is loaded, without credentials
	Stage    int           // number of the stage that runs; 0 before the first
	Began    time.Duration // when the stage that runs began
	Job      string        // a count that goes up, such as identities made; empty when there is none
	Done     int           // how far the count is
	Total    int           // where the count ends; 0 when that is not known
	Stopping bool          // the run was asked to end
	Over     time.Duration // when the last stage that ran was over; 0 before
	Waiting  int           // answers that are waited for then
	Left     time.Duration // for how long at most; 0 when it is not known

	events  []report.Event // the last ones, oldest first
	total   *metrics.Snapshot
	recent  []*metrics.Snapshot // the last intervals, oldest first
	window  *metrics.Snapshot   // the same, merged
	history []second            // oldest first
}

// second is the latency of every line of the table of operations in one interval.
type second map[string]time.Duration

// Event takes in what happened.
func (s *State) Event(e report.Event) {
	s.At = max(s.At, e.At)
	switch e.Kind {
	case report.KindTarget:
		s.Target = e.Detail
	case report.KindProvision, report.KindTagging:
		s.Job, s.Done, s.Total = e.Text, e.Done, e.Total
		if e.Done < e.Total {
			return
		}
		s.Job = ""
		e.Text += ": " + human.Count(e.Total)
	case report.KindStage:
		s.Stage, s.Began = e.Done, e.At
	case report.KindStopping:
		s.Stopping, s.Over = true, max(e.At, 1)
	case report.KindDrain:
		return // the progress tells it
	}
	s.events = append(s.events, e)
	if extra := len(s.events) - keptEvents; extra > 0 {
		s.events = s.events[extra:]
	}
}

// Sample takes in the figures of another second.
func (s *State) Sample(p report.Sample) {
	s.At, s.total, s.Waiting, s.Left = max(s.At, p.At), p.Total, p.Waiting, p.Left
	if p.Window.Elapsed < report.TooShort {
		return
	}
	s.recent = append(s.recent, p.Window)
	if extra := len(s.recent) - WindowLength; extra > 0 {
		s.recent = s.recent[extra:]
	}
	s.window = s.recent[0]
	for _, next := range s.recent[1:] {
		sum := s.window.Merge(next)
		sum.Elapsed = s.window.Elapsed + next.Elapsed
		s.window = sum
	}
	now := make(second)
	for _, l := range account.Lines(p.Window) {
		if h := l.Series.Latency(false); h.Count > 0 {
			now[l.Name] = h.Quantile(0.99)
		}
	}
	s.history = append(s.history, now)
	if extra := len(s.history) - HistoryLength; extra > 0 {
		s.history = s.history[extra:]
	}
}

// Clone is a copy that later changes of s leave as it is. Snapshots are never changed.
func (s *State) Clone() *State {
	c := *s
	c.events, c.recent, c.history = slices.Clone(s.events), slices.Clone(s.recent), slices.Clone(s.history)
	return &c
}

// Devices is how many devices of a group are in a state.
func (s *State) Devices(group, state string) int {
	if s.total == nil {
		return 0
	}
	for _, d := range s.total.Devices {
		if d.Group == group && d.State == state {
			return d.Count
		}
	}
	return 0
}

// Planned is how long the whole run takes; ok is false when a stage's length is not known.
func (s *State) Planned() (sum time.Duration, ok bool) {
	for _, t := range s.Stages {
		if t.Duration == 0 {
			return 0, false
		}
		sum += t.Duration
	}
	return sum, len(s.Stages) > 0
}

// StageName is the stage that runs; empty before the first.
func (s *State) StageName() string {
	if s.Stage < 1 || s.Stage > len(s.Stages) || s.Stopping {
		return ""
	}
	return s.Stages[s.Stage-1].Name
}

// Events are the last ones, oldest first. They must not be changed.
func (s *State) Events() []report.Event { return s.events }

// Figures are those of the whole run; nil before the first.
func (s *State) Figures() *metrics.Snapshot { return s.total }

// Window is the figures of the last intervals, merged; nil before the first.
func (s *State) Window() *metrics.Snapshot { return s.window }

// Latest is the figures of the last interval; nil before the first.
func (s *State) Latest() *metrics.Snapshot {
	if len(s.recent) == 0 {
		return nil
	}
	return s.recent[len(s.recent)-1]
}

// Latencies are the history of an operation's p99, at most so many seconds of it, and the largest. A second without any is below 0.
func (s *State) Latencies(name string, most int) (times []time.Duration, largest time.Duration) {
	for _, second := range s.history[max(0, len(s.history)-most):] {
		t, ok := second[name]
		if !ok {
			t = -1
		}
		times, largest = append(times, t), max(largest, t)
	}
	return times, largest
}
