// Package capacity finds the most that a target holds within a scenario's thresholds: it has trials made, keeps them, and says what they
// mean.
package capacity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/steady"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
)

// Options of a Search.
type Options struct {
	Base  *trial.Base // what trials are made from; required
	Start trial.Start // makes the engine of a trial; required
	// Keep is told of each trial that ended, before the next begins; nil keeps nothing. Its error ends the search.
	Keep func(trial.Record) error
	// Known are trials of an earlier search of the same options, which are not made again.
	Known []trial.Record
	// Check says whether this machine can make a trial, before it begins: its error says why it cannot. nil lets all pass.
	Check func(*trial.Trial) error
	// Begin is told of a trial that begins, and End of one that ended; nil tells nobody. Known trials are told of by End alone.
	Begin func(search.Asked, *trial.Trial)
	End   func(trial.Record) // see Begin

	Search search.Options
	Until  time.Time // no trial is begun that would end later, and one that lasts longer is given up; zero is without end
	Now    func() time.Time
}

// Outcome is what came of a search.
type Outcome struct {
	search.Answer
	Records []trial.Record
	Why     string // what ended the search before it found the limit; empty when it found it
}

// searching is a search under way.
type searching struct {
	o       Options
	records []trial.Record
	longest time.Duration // that a trial took so far
	why     string
	unkept  error // why a trial could not be kept
}

// Run searches. Its error is what made a trial impossible: one that says why the target could not be loaded, or is not what it was; or why a
// trial could not be kept, which stops the search.
// What was found before is in the Outcome all the same.
func Run(ctx context.Context, o Options) (Outcome, error) {
	s := &searching{o: o}
	a, err := search.Run(ctx, o.Search, s.try)
	if err == nil && (a.End == search.Found || a.End == search.AtLeast) {
		err = s.unchanged()
	}
	if err == nil {
		err = s.unkept
	}
	return Outcome{Answer: a, Records: s.records, Why: s.why}, err
}

// try makes a trial, or takes one that is known.
func (s *searching) try(ctx context.Context, a search.Asked) (search.Result, error) {
	r, err := s.record(ctx, a)
	if err != nil {
		return search.Result{}, err
	}
	s.records = append(s.records, r)
	if r.Verdict == search.Undelivered || r.Verdict == search.Spent {
		s.why = r.Why
	}
	s.longest = max(s.longest, time.Duration(r.Seconds*float64(time.Second)))
	if s.o.End != nil {
		s.o.End(r)
	}
	return search.Result{Verdict: r.Verdict, Close: r.Close, Final: r.Final}, nil
}

// ErrForeign is returned for known trials that are of another search.
var ErrForeign = errors.New("the trials that are kept are of another search")

func (s *searching) record(ctx context.Context, a search.Asked) (trial.Record, error) {
	if n := len(s.records); n < len(s.o.Known) {
		r := s.o.Known[n]
		if r.Number != a.Number || r.Load != a.Load {
			return r, fmt.Errorf("%w: trial %d was one of %s; begin anew", ErrForeign, r.Number, s.o.Base.Vary.Text(r.Load))
		}
		return r, nil
	}
	if err := context.Cause(ctx); err != nil {
		s.why = "stopped"
		return trial.Record{}, fmt.Errorf("%w: stopped", search.ErrStop)
	}
	first, baseline := s.reference()
	t, err := s.o.Base.Make(a.Load, first, s.o.Base.Scenario.Seed+uint64(a.Number))
	if err != nil && len(s.records) > 0 { // the first can be made: the load is more than a scenario may have
		r := trial.Record{Number: a.Number, Phase: a.Phase, Load: a.Load, Verdict: search.Undelivered, Limit: trial.ByGenerator, Final: true, Started: s.now().UTC(), Why: trial.OneLine(err)}
		return r, s.keep(r)
	}
	if err != nil {
		return trial.Record{}, err
	}
	if !s.o.Until.IsZero() && s.now().Add(max(s.longest, s.expected(t))).After(s.o.Until) {
		s.why = "its time was up"
		return trial.Record{}, fmt.Errorf("%w: its time was up", search.ErrStop)
	}
	r := trial.Record{Load: a.Load, Verdict: search.Undelivered, Limit: trial.ByGenerator, Devices: t.Devices, Started: s.now().UTC()}
	if s.o.Check != nil {
		err = s.o.Check(t)
	}
	if err != nil {
		if r.Why, r.Final = trial.OneLine(err), true; errors.Is(err, trial.ErrTarget) {
			r.Limit = trial.ByTarget
		}
	} else {
		if s.o.Begin != nil {
			s.o.Begin(a, t)
		}
		r, err = s.o.Base.Run(ctx, t, s.o.Start, baseline, s.o.Until)
		switch {
		case errors.Is(err, trial.ErrInterrupted):
			if s.why = "stopped"; context.Cause(ctx) == nil && s.timeIsUp() {
				s.why = "its time was up"
			}
			return r, fmt.Errorf("%w: %w", search.ErrStop, err)
		case errors.Is(err, trial.ErrUnkept):
			return r, s.lose(err)
		case err != nil:
			return r, err
		}
	}
	r.Number, r.Phase = a.Number, a.Phase
	if err := s.plausible(&r); err != nil {
		return r, err
	}
	return r, s.keep(r)
}

func (s *searching) keep(r trial.Record) error {
	if s.o.Keep == nil {
		return nil
	}
	if err := s.o.Keep(r); err != nil {
		return s.lose(fmt.Errorf("%w: %w", trial.ErrUnkept, err))
	}
	return nil
}

// lose stops a search that cannot be kept: of the load nothing is said.
func (s *searching) lose(err error) error {
	s.unkept, s.why = err, trial.OneLine(err)
	return fmt.Errorf("%w: %w", search.ErrStop, err)
}

func (s *searching) timeIsUp() bool { return !s.o.Until.IsZero() && !s.now().Before(s.o.Until) }

// plausible holds a load that was missed to the one before, of which more was missed: a target that is slower with less is slow of itself.
func (s *searching) plausible(r *trial.Record) error {
	if s.o.Base.Fresh || len(s.records) == 0 || r.Verdict != search.Missed {
		return nil
	}
	const slower = 1.2
	if last := &s.records[len(s.records)-1]; last.Verdict == search.Missed && r.Load < last.Load && last.P50 > 0 && r.P50 > slower*last.P50 {
		v := s.o.Base.Vary
		return fmt.Errorf("%w: %s took %s in the median, and %s took %s before", trial.ErrNotClean, v.Text(r.Load), trial.Seconds(r.P50), v.Text(last.Load), trial.Seconds(last.P50))
	}
	return nil
}

// unchanged holds what the lowest load took, trial after trial, to itself: a target that gets slower all the time has no limit that one could
// name.
func (s *searching) unchanged() error {
	load, _ := s.reference()
	var lowest steady.Series
	first, last := 0.0, 0.0
	for i := range s.records {
		if r := &s.records[i]; r.Lowest > 0 {
			lowest.Add(time.Second, 1, r.Lowest)
			if last = r.Lowest; first == 0 {
				first = r.Lowest
			}
		}
	}
	if s.o.Base.Fresh || !lowest.Of(0).Rises(s.o.Base.Floor()) {
		return nil
	}
	v := s.o.Base.Vary
	return fmt.Errorf("%w: %s took longer and longer, %s at first and %s in the end", trial.ErrNotClean, v.Text(load), trial.Seconds(first), trial.Seconds(last))
}

// reference is the lowest load that was held, with how long operations took in it the first time.
func (s *searching) reference() (load, baseline float64) {
	for i := range s.records {
		if r := &s.records[i]; r.Verdict == search.Held && r.Lowest > 0 && load == 0 {
			load, baseline = r.Load, r.Lowest
		}
	}
	return load, baseline
}

// expected is how long a trial takes that goes well.
func (s *searching) expected(t *trial.Trial) time.Duration { return t.Expected() }

func (s *searching) now() time.Time {
	if s.o.Now != nil {
		return s.o.Now()
	}
	return time.Now()
}
