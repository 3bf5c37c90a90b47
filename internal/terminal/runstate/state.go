package runstate

import (
	"cmp"
	"maps"
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
	Stopping bool          // the run was asked to end, or its last stage is over
	Paused   bool          // what devices do on their schedules is stopped by hand
	Over     time.Duration // when the last stage that ran was over; 0 before
	Waiting  int           // answers that are waited for then
	Left     time.Duration // for how long at most; 0 when it is not known

	events   []report.Event // the last ones, oldest first
	standing *report.Standing
	total    *metrics.Snapshot
	recent   []*metrics.Snapshot // the last intervals, oldest first
	window   *metrics.Snapshot   // the same, merged
	history  []second            // oldest first
	last     report.Sample       // the last figures
	active   map[string]activity // of the lines of the table of operations
}

// activity is when an operation was seen.
type activity struct {
	last time.Duration // when something was due or ended
	gap  time.Duration // the longest time without, between two times with
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
	case report.KindPaused, report.KindResumed:
		s.Paused = e.Kind == report.KindPaused
	}
	s.events = append(s.events, e)
	if extra := len(s.events) - keptEvents; extra > 0 {
		s.events = s.events[extra:]
	}
}

// Sample takes in the figures of another second.
func (s *State) Sample(p report.Sample) {
	s.At, s.total, s.Waiting, s.Left, s.last = max(s.At, p.At), p.Total, p.Waiting, p.Left, p
	if p.Standing != nil {
		s.standing = p.Standing
	}
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
	if s.active == nil {
		s.active = make(map[string]activity)
	}
	for _, l := range account.Lines(p.Window) {
		if l.Series.Scheduled()+l.Series.Ended() > 0 {
			a, known := s.active[l.Name]
			if known {
				a.gap = max(a.gap, p.At-a.last)
			}
			a.last = p.At
			s.active[l.Name] = a
		}
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
	c.active = maps.Clone(s.active)
	return &c
}

// Standing is how the run stands; nil before the first figures.
func (s *State) Standing() *report.Standing { return s.standing }

// RunTime is when something happened, since the run's start.
func (s *State) RunTime(at time.Time) time.Duration { return RunTime(s.last, at) }

// RunTime is when something happened, since the run's start, by the clock of a sample.
func RunTime(p report.Sample, at time.Time) time.Duration {
	if p.Total == nil {
		return 0
	}
	return max(0, p.At-p.Total.At.Sub(at))
}

// MissedSince is when the first threshold that is missed by a sample began to be, since the run's start; ok is false when none is.
func MissedSince(p report.Sample) (first time.Duration, ok bool) {
	if p.Standing == nil {
		return 0, false
	}
	for i := range p.Standing.Thresholds {
		t := &p.Standing.Thresholds[i]
		if at := RunTime(p, t.Since); !t.Since.IsZero() && (!ok || at < first) {
			first, ok = at, true
		}
	}
	return first, ok
}

// LastSample is the last figures as they were told.
func (s *State) LastSample() report.Sample { return s.last }

// Alive reports whether an operation goes on: something of it is under way, was due or ended lately, or is as late as it has been
// before.
func (s *State) Alive(l account.Line) bool {
	if l.Series.InFlight() > 0 {
		return true
	}
	a, known := s.active[l.Name]
	return known && s.last.At-a.last <= max(WindowLength*time.Second, a.gap+a.gap/2)
}

// Group is what an operation did in a group of devices, in the last intervals and in all; nil for nothing. Those of the service side
// that name a group are among them.
func (s *State) Group(op metrics.Operation, group string) (lately, inAll *metrics.SeriesSnapshot) {
	if s.window != nil {
		lately = s.window.Select(op, group)
	}
	if s.total != nil {
		inAll = s.total.Select(op, group)
	}
	return lately, inAll
}

// Trouble is what went wrong.
type Trouble struct {
	Errors, Throttled uint64 // operations
}

// add takes in operations of a kind and group.
func (t *Trouble) add(x *metrics.SeriesSnapshot) {
	t.Errors += x.Errors()
	t.Throttled += x.Count(metrics.Throttled)
}

// Any reports whether there is any.
func (t Trouble) Any() bool { return t.Errors+t.Throttled > 0 }

// TroubleOf is what went wrong in a group, in all of them and beside them when it is empty: in the last intervals and in all.
func (s *State) TroubleOf(group string) (lately, inAll Trouble) {
	for _, x := range []struct {
		from *metrics.Snapshot
		to   *Trouble
	}{{s.window, &lately}, {s.total, &inAll}} {
		if x.from == nil {
			continue
		}
		for i := range x.from.Series {
			if one := &x.from.Series[i]; group == "" || metrics.InGroup(one.Group, group) && one.Operation != metrics.OpQuery {
				x.to.add(one)
			}
		}
	}
	return lately, inAll
}

// Reason is why operations of one kind ended badly.
type Reason struct {
	metrics.ErrorCount        // in all groups; Group is empty
	Lately             uint64 // of them, in the last intervals
	Groups             []GroupCount
}

// GroupCount is a part of a count.
type GroupCount struct {
	Group string // of devices, or the name of a query
	Count uint64 // operations
}

// rank is where a reason stands among others: errors that go on, then what is throttled, then what was.
func (r *Reason) rank() int {
	switch {
	case r.Lately == 0:
		return 2
	case r.Outcome == metrics.Throttled.String():
		return 1
	default:
		return 0
	}
}

// Reasons are why operations ended badly: those that go on first, the most frequent of them first, then those that came last.
func (s *State) Reasons() []Reason {
	if s.total == nil {
		return nil
	}
	var all []Reason
	for _, e := range s.total.Errors {
		r := Reason{ErrorCount: e}
		if s.window != nil {
			for _, w := range s.window.Errors {
				if w.Operation == e.Operation && w.Outcome == e.Outcome && w.Reason == e.Reason {
					r.Lately += w.Count
				}
			}
		}
		for i := range s.total.Series {
			x := &s.total.Series[i]
			if x.Operation != e.Operation || x.Group == "" {
				continue
			}
			for _, part := range x.Reasons {
				if part.Outcome == e.Outcome && part.Reason == e.Reason && part.Count > 0 {
					r.Groups = append(r.Groups, GroupCount{x.Group, part.Count})
				}
			}
		}
		slices.SortStableFunc(r.Groups, func(a, b GroupCount) int { return cmp.Compare(b.Count, a.Count) })
		all = append(all, r)
	}
	slices.SortStableFunc(all, func(a, b Reason) int {
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), cmp.Compare(b.Lately, a.Lately), b.Last.Compare(a.Last))
	})
	return all
}

// Progress is how far the whole run is, from 0 to 1, and where its stages end. One whose length nobody knows counts as long as the
// others are on average.
func (s *State) Progress() (share float64, ends []float64) {
	var known time.Duration
	n := 0
	for _, t := range s.Stages {
		if t.Duration > 0 {
			known += t.Duration
			n++
		}
	}
	usual := time.Second
	if n > 0 {
		usual = known / time.Duration(n)
	}
	all := known + time.Duration(len(s.Stages)-n)*usual
	if all == 0 {
		return 0, nil
	}
	var sum, done time.Duration
	for i, t := range s.Stages {
		length := cmp.Or(t.Duration, usual)
		switch number := i + 1; {
		case number < s.Stage:
			done += length
		case number == s.Stage && t.Duration > 0:
			now := s.At
			if s.Over > 0 {
				now = s.Over
			}
			done += min(length, max(0, now-s.Began))
		}
		sum += length
		ends = append(ends, float64(sum)/float64(all))
	}
	return float64(done) / float64(all), ends
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
