// Package rollout finds how fast a fleet can be brought up with a scenario's thresholds held, how long a full reconnect storm takes by the size
// of the fleet, and which back-off brings it back soonest without harm. It has trials made, keeps them, and goes on from those that are kept.
package rollout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/report/human"

	"github.com/twinfleet/twinfleet/internal/capacity/agents"
	"github.com/twinfleet/twinfleet/internal/capacity/answer"
	"github.com/twinfleet/twinfleet/internal/capacity/journal"
	"github.com/twinfleet/twinfleet/internal/capacity/rollout/exercise"
	"github.com/twinfleet/twinfleet/internal/capacity/rollout/report"
	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/scenario"
)

// Options of a Study.
type Options struct {
	Load      trial.Load       // reads the scenario; required
	Exercise  exercise.Options // how trials are made
	From, To  float64          // the first rate and the highest, devices a second; 0 for the scenario's own, and the whole fleet within a second
	Precision float64          // as search.Options
	Sizes     []int            // of fleets that are cut off, beside a quarter, half and all of it; devices
	For       time.Duration    // no trial is begun that would end later; 0 is without end
	Root      string           // folder of studies and their records; "" keeps nothing
	Anew      bool             // leave unfinished studies alone
	Version   string           // of the program
	Start     trial.Start      // makes the engine of a trial; required
	// Check says whether this machine can make a trial, before it begins: its error says why it cannot. nil lets all pass.
	Check func(*scenario.Scenario) error
	Begin func(*exercise.Trial) // is told of a trial that begins; nil for nobody
	End   func(exercise.Record) // of one that ended, and of those that are known
	Now   func() time.Time      // nil is the clock
	Crew  agents.Crew           // who runs the devices
	Notes []string              // what else there is to say of trials, a line each
}

// Study is a rollout study. Answer may be called at any time, from any goroutine.
type Study struct {
	o       Options
	base    *exercise.Base
	search  search.Options
	sizes   []int
	journal *journal.Journal[exercise.Record] // nil keeps nothing
	known   []exercise.Record                 // of an earlier study that was stopped
	until   time.Time
	why     string // what ended the study early
	unkept  error  // why a trial could not be kept

	mu     sync.Mutex // protects the following field
	answer report.Answer
}

// Errors of New and Run.
var (
	// ErrBounds is returned for rates and sizes that are none.
	ErrBounds = errors.New("no bounds of a rollout")
	// ErrForeign is returned for known trials that are of another study.
	ErrForeign = errors.New("the trials that are kept are of another study")
)

// New prepares a study: nothing is started. It returns the errors of exercise.NewBase, ErrBounds, or what opening the journal does.
func New(o Options) (*Study, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	base, err := exercise.NewBase(o.Load, o.Exercise)
	if err != nil {
		return nil, err
	}
	s := &Study{o: o, base: base}
	if err := s.bounds(); err != nil {
		return nil, err
	}
	sc := base.Scenario
	s.answer = report.Answer{
		Scenario: sc.Name, Target: sc.Target.Can().Name, Devices: base.Devices, Seed: sc.Seed, Version: o.Version, Started: o.Now().UTC(), Notes: append(base.Notes, o.Notes...), Agents: o.Crew.Agents, End: answer.Running,
		Own: base.Backoff(), BringUp: report.BringUp{Answer: search.Answer{End: answer.Running}, Own: base.Own},
	}
	if l, ok := base.Limits(); ok {
		s.answer.Tier = fmt.Sprintf("%s, %s", l.Tier, human.Number(l.Units, "unit"))
		if l.Units == 1 {
			s.answer.Tier = string(l.Tier) + ", 1 unit"
		}
	}
	for _, storm := range []bool{false, true} {
		texts, err := base.Thresholds(storm)
		if err != nil {
			return nil, err
		}
		s.answer.Thresholds = append(s.answer.Thresholds, texts...)
	}
	if o.Root != "" {
		if s.journal, err = journal.Open[exercise.Record](o.Root, sc.Name+"-rollout", s.fingerprint(), o.Now(), o.Anew); err != nil {
			return nil, err
		}
		s.answer.Started, s.answer.Dir = s.journal.Started, s.journal.Dir
		s.known = slices.Clone(s.journal.Trials())
	}
	s.answer.Complete()
	return s, nil
}

// How far a search goes by itself.
const (
	least   = 64        // parts of the first rate
	longest = time.Hour // that a fleet may take to come up, unless it begins slower
)

// bounds finds between which rates to search, and which sizes lose their connections.
func (s *Study) bounds() error {
	from, to, n := s.o.From, s.o.To, float64(s.base.Devices)
	if from == 0 {
		from = s.base.Own
	}
	if to == 0 {
		to = max(from, n) // all within a second
	}
	if to < from {
		return fmt.Errorf("%w: --to %s is below the first rate, %s", ErrBounds, trial.ConnectRate.Number(to), trial.ConnectRate.Number(from))
	}
	s.search = search.Options{From: from, To: to, Least: min(from, max(from/least, n/longest.Seconds())), Precision: s.o.Precision}
	fewest := len(s.base.Scenario.Fleet.Groups)
	for _, size := range append([]int{s.base.Devices / 4, s.base.Devices / 2, s.base.Devices}, s.o.Sizes...) {
		if size < 1 && slices.Contains(s.o.Sizes, size) {
			return fmt.Errorf("%w: a fleet of %d devices", ErrBounds, size)
		}
		s.sizes = append(s.sizes, max(size, fewest))
	}
	slices.Sort(s.sizes)
	s.sizes = slices.Compact(s.sizes)
	return nil
}

// fingerprint is of all that trials depend on.
func (s *Study) fingerprint() string {
	of := []any{"rollout", string(s.base.Scenario.Source), s.search, s.sizes, s.o.Exercise, s.o.Version}
	if s.o.Crew.Agents > 0 {
		of = append(of, s.o.Crew.Agents, s.o.Crew.Elsewhere, s.o.Notes)
	}
	return journal.Fingerprint(of...)
}

// Dir is the folder of the study; "" when nothing is kept.
func (s *Study) Dir() string { return s.answer.Dir }

// Known is how many trials are known from before.
func (s *Study) Known() int { return len(s.known) }

// From is the first rate.
func (s *Study) From() float64 { return s.search.From }

// Expected is about how long all trials take together, and how many there will be.
func (s *Study) Expected() (whole time.Duration, trials int, err error) {
	up, err := s.base.Make(exercise.Asked{Part: exercise.BringUp, Devices: s.base.Devices, Rate: s.search.From})
	if err != nil {
		return 0, 0, err
	}
	const mostSteps, confirming, again = 4, 2, 2
	steps := min(mostSteps, 1+int(math.Ceil(math.Log2(s.search.To/s.search.From))))
	trials = steps + s.search.Halvings() + confirming
	whole = time.Duration(trials) * up.Expected
	storms := len(backoffs()) + again
	for _, size := range s.sizes {
		t, err := s.base.Make(exercise.Asked{Part: exercise.Storm, Devices: size, Rate: s.search.From})
		if err != nil {
			return 0, 0, err
		}
		whole += t.Expected
		trials++
		if size == s.base.Devices {
			if s.base.Backoff() != "" { // its storm counts for its back-off
				storms--
			}
			whole += time.Duration(storms) * t.Expected
		}
	}
	return whole, trials + storms, nil
}

// backoffs are those of the language.
func backoffs() []string { return []string{"exponential", "steep", "fixed", "none"} }

// Answer is what is known so far.
func (s *Study) Answer() report.Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.answer
	a.Trials, a.Storms, a.Backoffs = slices.Clone(a.Trials), slices.Clone(a.Storms), slices.Clone(a.Backoffs)
	return a
}

// The files of an answer, in the folder of its study.
const (
	JSON     = "rollout.json"
	Markdown = "rollout.md"
	HTML     = "rollout.html"
)

// write writes the answer in all its forms.
func (s *Study) write(a *report.Answer) error {
	return s.journal.Write(map[string]func(io.Writer) error{
		JSON: a.Write, Markdown: a.Markdown, HTML: func(w io.Writer) error { return a.HTML(w, "") },
	})
}

// Run makes the trials, and writes the answer beside them. The error is what made the study impossible; the answer says what was found all the
// same.
func (s *Study) Run(ctx context.Context) (*report.Answer, error) {
	if s.o.For > 0 {
		s.until = s.o.Now().Add(s.o.For)
	}
	end, err := s.study(ctx)
	s.mu.Lock()
	a := &s.answer
	a.End, a.Why = end, s.why
	switch {
	case errors.Is(err, search.ErrStop):
		a.End, err = search.Stopped, s.unkept
	case errors.Is(err, trial.ErrUnreachable):
		a.End, a.Why = answer.Unreachable, err.Error()
	case err != nil:
		a.End, a.Why = answer.Running, err.Error()
	}
	a.Complete()
	if l, ok := s.base.Limits(); ok {
		a.BringUp.Bound = trial.Allowed(l)[a.BringUp.Class]
	}
	whole := *a
	s.mu.Unlock()
	if s.journal == nil {
		return &whole, err
	}
	if whole.Ended() {
		err = errors.Join(err, s.journal.End(&whole))
	}
	err = errors.Join(err, s.write(&whole), s.journal.Close())
	if !s.journal.There() { // nobody is sent to files that are not there
		whole.Dir = ""
	}
	return &whole, err
}
