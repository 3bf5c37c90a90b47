// Package session leads a capacity search from a scenario to its answer: it keeps the trials, goes on from those that are kept, and says what
// they mean.
package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity"
	"github.com/twinfleet/twinfleet/internal/capacity/agents"
	"github.com/twinfleet/twinfleet/internal/capacity/answer"
	"github.com/twinfleet/twinfleet/internal/capacity/journal"
	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/plan"
)

// Options of a Session.
type Options struct {
	Load      trial.Load    // required
	Vary      trial.Vary    // required
	Trial     trial.Options // how trials are made
	From, To  float64       // the first load and the highest; 0 for the scenario's own, and a thousand times that
	Precision float64       // as search.Options
	For       time.Duration // no trial is begun that would end later; 0 is without end
	Root      string        // folder of searches and their records; "" keeps nothing
	Anew      bool          // leave unfinished searches alone
	Version   string        // of the program
	Start     trial.Start   // makes the engine of a trial; required
	Check     func(*trial.Trial) error
	Begin     func(search.Asked, *trial.Trial) // is told of a trial that begins
	End       func(trial.Record)               // of one that ended, and of those that are known
	Now       func() time.Time                 // nil is the clock
	Crew      agents.Crew                      // who runs the devices
	Notes     []string                         // what else there is to say of trials, a line each
}

// Session is a capacity search. Answer may be called at any time, from any goroutine.
type Session struct {
	o       Options
	base    *trial.Base
	search  search.Options
	journal *journal.Journal[trial.Record] // nil keeps nothing
	began   time.Time

	mu     sync.Mutex // protects the following field
	answer answer.Answer
}

// ErrNoStart is returned for a scenario that makes nothing of what is to be varied, when nobody says where to begin.
var ErrNoStart = errors.New("where to search is not clear")

// New prepares a search: nothing is started. It returns the errors of trial.NewBase, ErrNoStart, or what opening the journal does.
func New(o Options) (*Session, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	base, err := trial.NewBase(o.Load, o.Vary, o.Trial)
	if err != nil {
		return nil, err
	}
	s := &Session{o: o, base: base, began: o.Now()}
	if err := s.bounds(); err != nil {
		return nil, err
	}
	expected, err := s.Expected()
	if err != nil {
		return nil, err
	}
	if o.For > 0 && expected.Each > o.For {
		return nil, fmt.Errorf("%w: a trial takes about %s, more than --for %s", ErrNoStart, expected.Each.Round(time.Second), o.For)
	}
	if o.Root != "" {
		if s.journal, err = journal.Open[trial.Record](o.Root, base.Scenario.Name, s.fingerprint(), s.began, o.Anew); err != nil {
			return nil, fmt.Errorf("%w; give another folder with --out, or none with --out=", err)
		}
		s.began = s.journal.Started
	}
	sc := base.Scenario
	s.answer = answer.Answer{
		Scenario: sc.Name, Target: sc.Target.Can().Name, Vary: o.Vary, Seed: sc.Seed, Version: o.Version, Started: s.began.UTC(), Own: base.Own, Notes: append(base.Notes, o.Notes...), Agents: o.Crew.Agents,
		Tier: s.tierName(), Answer: search.Answer{End: answer.Running},
	}
	if s.journal != nil {
		s.answer.Dir = s.journal.Dir
	}
	thresholds, err := base.Thresholds()
	if err != nil {
		return nil, err
	}
	for i := range thresholds {
		s.answer.Thresholds = append(s.answer.Thresholds, thresholds[i].String())
	}
	s.answer.Complete()
	return s, nil
}

// tierName is the tier that the target has, with its units; "" when it is not known.
func (s *Session) tierName() string {
	l, ok := s.base.Limits()
	if !ok {
		return ""
	}
	if l.Units == 1 {
		return string(l.Tier) + ", 1 unit"
	}
	return fmt.Sprintf("%s, %d units", l.Tier, l.Units)
}

// How far a search goes by itself.
const (
	furthest = 1000 // times the first load
	least    = 64   // parts of it
)

// bounds finds between which loads to search.
func (s *Session) bounds() error {
	from, to := s.o.From, s.o.To
	if from == 0 {
		from = s.base.Own
	}
	if from == 0 {
		return fmt.Errorf("%w: the scenario as it stands makes no %s, so that the first load is not known; say it with --from, such as --from %s", ErrNoStart, s.o.Vary.What(), example(s.o.Vary))
	}
	s.search = search.Options{From: from, To: to, Least: from / least, Whole: s.o.Vary == trial.Devices, Precision: s.o.Precision}
	if s.search.Whole {
		s.search.Least = max(1, float64(int(from/least)))
	}
	if to == 0 {
		s.search.To = from * furthest
	}
	if s.search.To < from {
		return fmt.Errorf("%w: --to %s is below the first load, %s", ErrNoStart, s.o.Vary.Number(to), s.o.Vary.Number(from))
	}
	return nil
}

func example(v trial.Vary) string {
	if v == trial.Devices {
		return "100"
	}
	return "10/s"
}

// fingerprint is of all that the trials depend on.
func (s *Session) fingerprint() string {
	of := []any{string(s.base.Scenario.Source), s.o.Vary, s.search, s.o.Trial, s.o.Version, s.answer.Tier}
	if s.o.Crew.Agents > 0 {
		of = append(of, s.o.Crew.Agents, s.o.Crew.Elsewhere, s.o.Notes)
	}
	return journal.Fingerprint(of...)
}

// Base is what trials are made from.
func (s *Session) Base() *trial.Base { return s.base }

// Dir is the folder of the search; "" when nothing is kept.
func (s *Session) Dir() string { return s.answer.Dir }

// Known is how many trials are known from before.
func (s *Session) Known() int {
	if s.journal == nil {
		return 0
	}
	return len(s.journal.Trials())
}

// From is the first load.
func (s *Session) From() float64 { return s.search.From }

// Expectation is what a search is expected to take.
type Expectation struct {
	Each     time.Duration // a trial of the first load
	Trials   int           // about so many
	Messages float64       // of the day's, that all of them use together; 0 of a target that begins each trial anew
}

// Expected is what the search is expected to take.
func (s *Session) Expected() (x Expectation, err error) {
	t, err := s.base.Make(s.search.From, 0, s.base.Scenario.Seed)
	if err != nil {
		return x, err
	}
	const steps, confirming = 4, 2 // of which the first is where it begins
	x = Expectation{Each: t.Expected(), Trials: steps + s.search.Halvings() + confirming}
	if s.base.Limited && !s.base.Fresh {
		p, err := plan.Make(t.Scenario, plan.Options{})
		if err != nil {
			return x, fmt.Errorf("planning a trial: %w", err)
		}
		x.Messages = p.Metering.Run * float64(x.Trials)
	}
	return x, nil
}

// Run searches, and writes the answer beside its trials. The error is what made searching impossible; the answer says what was found all the
// same.
func (s *Session) Run(ctx context.Context) (*answer.Answer, error) {
	o := capacity.Options{Base: s.base, Start: s.o.Start, Search: s.search, Check: s.o.Check, Now: s.o.Now, Begin: s.o.Begin, End: s.ended}
	if s.o.For > 0 {
		o.Until = s.o.Now().Add(s.o.For)
	}
	if s.journal != nil {
		o.Known, o.Keep = slices.Clone(s.journal.Trials()), s.journal.Add
	}
	out, err := capacity.Run(ctx, o)
	a := s.conclude(&out, err)
	if s.journal == nil {
		return a, err
	}
	if a.End != search.Stopped && a.End != answer.Unreachable && a.End != answer.Running {
		err = errors.Join(err, s.journal.End(a))
	}
	err = errors.Join(err, s.write(a), s.journal.Close())
	if !s.journal.There() { // nobody is sent to files that are not there
		a.Dir = ""
	}
	return a, err
}

// ended notes a trial that ended.
func (s *Session) ended(r trial.Record) {
	s.mu.Lock()
	s.answer.Trials = append(s.answer.Trials, r)
	s.answer.Held, s.answer.Missed = bracket(s.answer.Trials)
	s.answer.Complete()
	s.mu.Unlock()
	if s.o.End != nil {
		s.o.End(r)
	}
}

// bracket is the lowest load that was missed so far, and the highest below it that was held.
func bracket(trials []trial.Record) (held, missed float64) {
	for _, r := range trials {
		if r.Verdict == search.Missed && (missed == 0 || r.Load < missed) {
			missed = r.Load
		}
	}
	for _, r := range trials {
		if r.Verdict == search.Held && (missed == 0 || r.Load < missed) {
			held = max(held, r.Load)
		}
	}
	return held, missed
}

// conclude makes the answer of what was found.
func (s *Session) conclude(out *capacity.Outcome, err error) *answer.Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := &s.answer
	a.Answer, a.Trials, a.Why = out.Answer, out.Records, out.Why
	switch {
	case errors.Is(err, trial.ErrNotClean):
		a.End, a.Why = answer.Changed, err.Error()
	case errors.Is(err, trial.ErrUnkept): // it was stopped for that
	case errors.Is(err, trial.ErrNoData):
		a.End, a.Why = answer.NoData, err.Error()
	case err != nil:
		a.End, a.Why = answer.Unreachable, err.Error()
	}
	a.Need = nil
	if a.End == search.Generator {
		a.Need = s.o.Crew.Need(agents.Trials{Vary: s.o.Vary, Records: out.Records, Make: s.make})
	}
	a.Complete()
	if l, ok := s.base.Limits(); ok {
		a.Bound = trial.Allowed(l)[a.Class]
		a.Day = s.day(a.Held, float64(l.MessagesPerDay))
	}
	whole := *a
	return &whole
}

// make makes the scenario of a trial.
func (s *Session) make(load float64) (*scenario.Scenario, error) {
	t, err := s.base.Make(load, 0, s.base.Scenario.Seed)
	if err != nil {
		return nil, err
	}
	return t.Scenario, nil
}

// day is what the day's messages allow at a load, which they grow with evenly.
func (s *Session) day(held, quota float64) *answer.Day {
	if held == 0 || quota == 0 || s.o.Vary == trial.ConnectRate {
		return nil
	}
	uses, err := s.base.Messages(held)
	if err != nil {
		return nil
	}
	half, err := s.base.Messages(held / 2)
	if err != nil {
		return nil
	}
	d := &answer.Day{Quota: quota, Uses: uses}
	each := (uses - half) / (held - held/2)
	switch fixed := uses - each*held; {
	case each <= 0:
		return nil
	case fixed < quota: // else nothing is left for it
		d.Load = (quota - fixed) / each
	}
	if s.search.Whole {
		d.Load = float64(int(d.Load))
	}
	if uses > quota {
		d.Decides, d.RunsOut = true, (24*time.Hour).Seconds()*quota/uses
	}
	return d
}

// Answer is what is known so far.
func (s *Session) Answer() answer.Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.answer
	a.Trials, a.Curve = slices.Clone(a.Trials), slices.Clone(a.Curve)
	return a
}

// The files of an answer, in the folder of its search.
const (
	JSON     = "capacity.json"
	Markdown = "capacity.md"
	HTML     = "capacity.html"
)

// write writes the answer in all its forms.
func (s *Session) write(a *answer.Answer) error {
	return s.journal.Write(map[string]func(io.Writer) error{
		JSON: a.Write, Markdown: a.Markdown, HTML: func(w io.Writer) error { return a.HTML(w, "") },
	})
}
