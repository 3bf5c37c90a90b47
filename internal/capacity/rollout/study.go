package rollout

import (
	"context"
	"errors"
	"fmt"

	"github.com/twinfleet/twinfleet/internal/capacity/agents"
	"github.com/twinfleet/twinfleet/internal/capacity/rollout/advise"
	"github.com/twinfleet/twinfleet/internal/capacity/rollout/exercise"
	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/scenario"
)

// study makes the parts one after the other, and says how they ended. Its error is search.ErrStop when no further trial was to be made.
func (s *Study) study(ctx context.Context) (search.End, error) {
	end, err := s.bringUp(ctx)
	if err != nil || s.held() == 0 || end == search.Unstable {
		return end, err
	}
	silent, err := s.storms(ctx)
	if err != nil {
		return end, err
	}
	if err := s.backoffs(ctx); err != nil {
		return end, err
	}
	if silent || s.advice().Best == "" {
		end = search.Generator
	}
	if end == search.AtLeast {
		end = search.Found
	}
	return end, nil
}

func (s *Study) held() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.answer.BringUp.Held
}

// bringUp searches for the highest rate at which the whole fleet comes up.
func (s *Study) bringUp(ctx context.Context) (search.End, error) {
	last := exercise.Record{}
	var made []trial.Record
	a, err := search.Run(ctx, s.search, func(ctx context.Context, x search.Asked) (search.Result, error) {
		r, err := s.do(ctx, exercise.Asked{
			Number: x.Number, Part: exercise.BringUp, Phase: x.Phase, Devices: s.base.Devices, Rate: x.Load, Seed: s.base.Scenario.Seed + uint64(x.Number),
		})
		last = r
		made = append(made, trial.Record{Load: x.Load, Verdict: r.Verdict, Limit: r.Limit, Devices: r.Devices, Uses: r.Uses, Away: r.Away})
		return search.Result{Verdict: r.Verdict, Close: r.Close}, err
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer.BringUp.Answer = a
	if err == nil && a.End == search.Generator {
		s.answer.BringUp.Need = s.o.Crew.Need(agents.Trials{Vary: trial.ConnectRate, Records: made, Make: s.make})
	}
	switch {
	case err != nil:
		return a.End, err
	case a.End == search.Stopped:
		return a.End, fmt.Errorf("%w: %s", search.ErrStop, s.why)
	case a.End == search.Generator, a.End == search.Below:
		s.why = last.Why
	}
	return a.End, nil
}

// make makes the scenario of a trial that brings the fleet up at a rate.
func (s *Study) make(rate float64) (*scenario.Scenario, error) {
	t, err := s.base.Make(exercise.Asked{Number: 1, Part: exercise.BringUp, Devices: s.base.Devices, Rate: rate, Seed: s.base.Scenario.Seed})
	if err != nil {
		return nil, err
	}
	return t.Scenario, nil
}

// storms cuts all connections of fleets of each size. It reports whether the generator did not deliver one.
func (s *Study) storms(ctx context.Context) (silent bool, err error) {
	for _, size := range s.sizes {
		r, err := s.storm(ctx, exercise.Asked{Part: exercise.Storm, Devices: size, Seed: s.base.Scenario.Seed})
		if err != nil {
			return false, err
		}
		if r.Verdict == search.Undelivered {
			silent, s.why = true, r.Why
		}
	}
	return silent, nil
}

// backoffs cuts all connections of the whole fleet with each back-off, and once more, with another seed, with the best two.
func (s *Study) backoffs(ctx context.Context) error {
	for _, name := range backoffs() {
		if name == s.base.Backoff() {
			continue // the storm of the whole fleet was with it
		}
		if _, err := s.storm(ctx, exercise.Asked{Part: exercise.Backoff, Devices: s.base.Devices, Backoff: name, Seed: s.base.Scenario.Seed}); err != nil {
			return err
		}
	}
	for i, c := range s.advice().Order {
		if i == 2 {
			break
		}
		if _, err := s.storm(ctx, exercise.Asked{Part: exercise.Again, Devices: s.base.Devices, Backoff: c.Backoff, Seed: s.base.Scenario.Seed + 1}); err != nil {
			return err
		}
	}
	a := s.advice()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer.Advice = &a
	return nil
}

// advice is what the storms of the back-offs so far say.
func (s *Study) advice() advise.Advice {
	s.mu.Lock()
	defer s.mu.Unlock()
	return advise.Of(s.answer.Runs())
}

// storm makes a trial of a storm; one that the generator did not deliver is made once more. The fleet comes up at the rate that is known to hold
// for the whole; a larger one more slowly, in proportion.
func (s *Study) storm(ctx context.Context, a exercise.Asked) (r exercise.Record, err error) {
	a.Rate = s.held() * min(1, float64(s.base.Devices)/float64(a.Devices))
	for range 2 {
		s.mu.Lock()
		a.Number = len(s.answer.Trials) + 1
		s.mu.Unlock()
		if r, err = s.do(ctx, a); err != nil || r.Verdict != search.Undelivered {
			break
		}
	}
	return r, err
}

// do makes a trial, or takes one that is known, and notes it.
func (s *Study) do(ctx context.Context, a exercise.Asked) (exercise.Record, error) {
	r, err := s.record(ctx, a)
	if err != nil {
		return r, err
	}
	s.mu.Lock()
	s.answer.Trials = append(s.answer.Trials, r)
	if r.Part == exercise.BringUp {
		s.answer.BringUp.Held, s.answer.BringUp.Missed = bracket(s.answer.Trials)
	}
	s.answer.Complete()
	s.mu.Unlock()
	if s.o.End != nil {
		s.o.End(r)
	}
	return r, nil
}

// bracket is the lowest rate that was missed so far, and the highest below it that was held.
func bracket(trials []exercise.Record) (held, missed float64) {
	for i := range trials {
		if r := &trials[i]; r.Part == exercise.BringUp && r.Verdict == search.Missed && (missed == 0 || r.Rate < missed) {
			missed = r.Rate
		}
	}
	for i := range trials {
		if r := &trials[i]; r.Part == exercise.BringUp && r.Verdict == search.Held && (missed == 0 || r.Rate < missed) {
			held = max(held, r.Rate)
		}
	}
	return held, missed
}

// record makes a trial, or takes one that is known.
func (s *Study) record(ctx context.Context, a exercise.Asked) (exercise.Record, error) {
	if n := a.Number - 1; n < len(s.known) {
		if s.known[n].Asked != a {
			return s.known[n], fmt.Errorf("%w: trial %d was another one; begin anew with --fresh", ErrForeign, a.Number)
		}
		return s.known[n], nil
	}
	stop := func(why string) (exercise.Record, error) {
		s.why = why
		return exercise.Record{Asked: a}, fmt.Errorf("%w: %s", search.ErrStop, why)
	}
	if context.Cause(ctx) != nil {
		return stop("stopped")
	}
	t, err := s.base.Make(a)
	if err != nil {
		return exercise.Record{Asked: a}, err
	}
	if !s.until.IsZero() && s.o.Now().Add(t.Expected).After(s.until) {
		return stop("its time was up")
	}
	r := exercise.Record{Asked: a, Verdict: search.Undelivered, Limit: trial.ByGenerator, Started: s.o.Now().UTC()}
	if s.o.Check != nil {
		err = s.o.Check(t.Scenario)
	}
	if err != nil {
		if r.Why = err.Error(); errors.Is(err, trial.ErrTarget) {
			r.Limit = trial.ByTarget
		}
	} else {
		if s.o.Begin != nil {
			s.o.Begin(t)
		}
		r, err = s.base.Run(ctx, t, s.o.Start)
		switch {
		case errors.Is(err, trial.ErrInterrupted):
			return stop("stopped")
		case errors.Is(err, trial.ErrUnkept):
			s.unkept = err
			return stop(err.Error())
		case errors.Is(err, trial.ErrUnreachable) && !a.IsStorm() && a.Number > 1:
			r.Verdict, r.Limit, r.Why = search.Missed, trial.ByTarget, err.Error()
		case err != nil:
			return r, err
		}
	}
	if s.journal != nil {
		if err := s.journal.Add(r); err != nil {
			s.unkept = fmt.Errorf("%w: %w", trial.ErrUnkept, err)
			return stop(s.unkept.Error())
		}
	}
	return r, nil
}
