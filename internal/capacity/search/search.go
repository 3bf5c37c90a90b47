// Package search finds the most that something holds, by trials: it steps up until one is missed, then narrows by bisection, and
// confirms what it found. It knows nothing of targets and runs: a trial is a function.
package search

import (
	"context"
	"errors"
	"fmt"
	"math"
)

// Verdict is what a trial says of a load.
type Verdict string

// The verdicts of a trial.
const (
	Held        Verdict = "held"        // every threshold was met
	Missed      Verdict = "missed"      // one was not
	Undelivered Verdict = "undelivered" // the generator did not make the load: of the target nothing is said
	Spent       Verdict = "spent"       // the target had no more to give for today: of the load nothing is said, and no other can be tried
)

// Phase is what a trial is for.
type Phase string

// The phases of a search.
const (
	Step    Phase = "step"    // further up, or down, until the verdict changes
	Narrow  Phase = "narrow"  // between what held and what was missed
	Repeat  Phase = "repeat"  // once more, because the first was close
	Confirm Phase = "confirm" // once more, before the answer is given
)

// Asked is a trial to be made.
type Asked struct {
	Number int     `json:"number"` // from 1, in the order of the trials
	Load   float64 `json:"load"`   // in the unit of what is varied
	Phase  Phase   `json:"phase"`  // what it is for
}

// Result is what came of a trial.
type Result struct {
	Verdict Verdict
	// Close says that the verdict could well have been the other one: it is not relied on before another trial agrees.
	Close bool
	// Final says of a load that was not delivered that it will not be, however often it is tried.
	Final bool
}

// Try makes a trial. An error ends the search: ErrStop means that what was found so far is the answer.
type Try func(ctx context.Context, a Asked) (Result, error)

// ErrStop is wrapped by what a Try returns when no further trial is to be made, for want of time or because somebody stopped it.
var ErrStop = errors.New("no further trial")

// Options of Run.
type Options struct {
	From      float64 // first load; above 0
	To        float64 // highest load that is tried; at least From
	Least     float64 // lowest load that is tried when From is missed; above 0
	Whole     bool    // loads are whole numbers
	Factor    float64 // from one step to the next; 2 when 0
	Precision float64 // at which to stop: the share by which the lowest missed load is above the highest held; 0.05 when 0
}

// precision is Precision, or its default.
func (o Options) precision() float64 {
	if o.Precision == 0 {
		return 0.05
	}
	return o.Precision
}

// Halvings is how often what lies between a load and its double is halved until it is as narrow as the precision.
func (o Options) Halvings() (n int) {
	for ratio := 2.0; ratio > 1+o.precision(); ratio = math.Sqrt(ratio) {
		n++
	}
	return n
}

// End is how a search ended.
type End string

// The ends of a search.
const (
	Found     End = "found"     // Held and Missed stand close, and were confirmed
	AtLeast   End = "at_least"  // everything held, up to Options.To
	Below     End = "below"     // even Options.Least was missed
	Generator End = "generator" // the generator could not make the next load
	Exhausted End = "quota"     // the target had no more to give for today
	Unstable  End = "unstable"  // trials at the same load kept contradicting each other
	Stopped   End = "stopped"   // ErrStop
)

// Answer is what was found. Held and Missed are 0 when no load was.
type Answer struct {
	End        End     `json:"end"`
	Held       float64 `json:"held"`                 // the highest load of which trials say that it is held
	Missed     float64 `json:"missed,omitempty"`     // the lowest of which they say that it is not, above Held
	Over       float64 `json:"over,omitempty"`       // the load that the generator could not make, or in which the day's messages were used up
	Confidence float64 `json:"confidence,omitempty"` // that the limit lies from Held to Missed, 0 to 1; see Confidence
	Confirmed  bool    `json:"confirmed"`            // Held was held once more at the end
}

// Limits of a search that does not come to an end by itself.
const (
	mostTrials     = 60
	mostOverturned = 3 // times that a load that held was missed when it was confirmed
)

// tally is the verdicts on one load.
type tally struct{ held, missed int }

// searcher is a search under way.
type searcher struct {
	o      Options
	try    Try
	number int
	seen   map[float64]*tally
	all    []Trial // that said something of the target
}

// errEnd carries how a search ended to where it is told.
type errEnd struct {
	end  End
	over float64
}

func (e *errEnd) Error() string { return string(e.end) }

// Run searches. It returns an error when a trial does, other than ErrStop.
func Run(ctx context.Context, o Options, try Try) (Answer, error) {
	if o.Factor == 0 {
		o.Factor = 2
	}
	o.Precision = o.precision()
	if !(o.From > 0 && o.Least > 0 && o.Least <= o.From && o.From <= o.To && o.Factor > 1 && o.Precision > 0) {
		return Answer{}, fmt.Errorf("searching from %g to %g, not below %g: these are no bounds", o.From, o.To, o.Least)
	}
	s := &searcher{o: o, try: try, seen: make(map[float64]*tally)}
	confirmed, err := s.run(ctx)
	a := s.answer()
	a.Confirmed = confirmed
	var ended *errEnd
	switch {
	case errors.As(err, &ended):
		a.End, a.Over = ended.end, ended.over
	case errors.Is(err, ErrStop):
		a.End = Stopped
	case err != nil:
		return a, err
	}
	return a, nil
}

// run makes the trials, and reports whether the answer was confirmed.
func (s *searcher) run(ctx context.Context) (confirmed bool, err error) {
	if err := s.step(ctx); err != nil {
		return false, err
	}
	for overturned := 0; ; overturned++ {
		if err := s.narrow(ctx); err != nil {
			return false, err
		}
		changed, err := s.confirm(ctx)
		if err != nil || !changed {
			return err == nil, err
		}
		if overturned+1 >= mostOverturned {
			return false, &errEnd{end: Unstable}
		}
	}
}

// step goes up until a load is missed, or down until one is held.
func (s *searcher) step(ctx context.Context) error {
	x := s.o.From
	held, err := s.decide(ctx, x, Step)
	if err != nil {
		return err
	}
	for up := held; held == up; {
		switch {
		case up && x >= s.o.To:
			return nil
		case up:
			x = min(s.o.To, s.round(x*s.o.Factor))
		case x <= s.o.Least:
			return &errEnd{end: Below}
		default:
			x = max(s.o.Least, s.round(x/s.o.Factor))
		}
		if held, err = s.decide(ctx, x, Step); err != nil {
			return err
		}
	}
	return nil
}

// narrow bisects what lies between the highest load that held and the lowest that was missed.
func (s *searcher) narrow(ctx context.Context) error {
	for {
		lo, hi := s.bracket()
		switch {
		case hi == 0:
			return nil
		case lo == 0:
			if s.o.Least < hi { // what was held has been overturned
				lo = s.o.Least
				if _, err := s.decide(ctx, lo, Step); err != nil {
					return err
				}
				continue
			}
			return &errEnd{end: Below}
		}
		middle := s.between(lo, hi)
		if middle == 0 {
			return nil
		}
		if _, err := s.decide(ctx, middle, Narrow); err != nil {
			return err
		}
	}
}

// confirm tries both ends of the bracket once more, unless they were tried twice. It reports whether a verdict changed.
func (s *searcher) confirm(ctx context.Context) (changed bool, err error) {
	lo, hi := s.bracket()
	if hi > 0 && s.at(hi).missed < 2 {
		if _, err := s.repeat(ctx, hi, Confirm); err != nil {
			return false, err
		}
		if s.isHeld(hi) {
			return true, nil
		}
	}
	if _, err := s.repeat(ctx, lo, Confirm); err != nil {
		return false, err
	}
	return !s.isHeld(lo), nil
}

// repeat tries a load once more, and again while its trials are evenly divided.
func (s *searcher) repeat(ctx context.Context, x float64, why Phase) (held bool, err error) {
	for first := true; first || s.at(x).held == s.at(x).missed; first = false {
		if _, err := s.trial(ctx, x, why); err != nil {
			return false, err
		}
		why = Repeat
	}
	return s.isHeld(x), nil
}

// decide tries a load; when the verdict is close, until one verdict is ahead by two, or three trials were made.
func (s *searcher) decide(ctx context.Context, x float64, why Phase) (held bool, err error) {
	close, err := s.trial(ctx, x, why)
	if err != nil || !close {
		return s.isHeld(x), err
	}
	for t := s.at(x); abs(t.held-t.missed) < 2 && t.held+t.missed < 3; {
		if _, err := s.trial(ctx, x, Repeat); err != nil {
			return false, err
		}
	}
	return s.isHeld(x), nil
}

// trial makes one trial of a load; one that the generator did not deliver is made once more.
func (s *searcher) trial(ctx context.Context, x float64, why Phase) (close bool, err error) {
	for undelivered, doubtful := 0, false; ; {
		if s.number >= mostTrials {
			return false, &errEnd{end: Unstable}
		}
		s.number++
		r, err := s.try(ctx, Asked{s.number, x, why})
		if err != nil {
			return false, err
		}
		switch r.Verdict {
		case Held:
			s.at(x).held++
		case Missed:
			if undelivered > 0 && !doubtful { // the generator is near its limit here: one miss does not tell whose it was
				doubtful, why = true, Repeat
				continue
			}
			s.at(x).missed++
		case Spent:
			return false, &errEnd{Exhausted, x}
		default:
			if undelivered++; undelivered == 2 || r.Final {
				return false, &errEnd{Generator, x}
			}
			why = Repeat
			continue
		}
		s.all = append(s.all, Trial{x, r.Verdict == Held})
		return r.Close, nil
	}
}

func (s *searcher) at(x float64) *tally {
	t := s.seen[x]
	if t == nil {
		t = new(tally)
		s.seen[x] = t
	}
	return t
}

// isHeld is the verdict of most trials of a load; evenly divided is missed.
func (s *searcher) isHeld(x float64) bool { t := s.at(x); return t.held > t.missed }

// bracket is the lowest load that was missed, and the highest below it that was held; 0 when there is none.
func (s *searcher) bracket() (lo, hi float64) {
	hi = math.Inf(1)
	for x, t := range s.seen {
		if t.held+t.missed > 0 && !s.isHeld(x) {
			hi = min(hi, x)
		}
	}
	for x, t := range s.seen {
		if t.held+t.missed > 0 && s.isHeld(x) && x < hi {
			lo = max(lo, x)
		}
	}
	if math.IsInf(hi, 1) {
		hi = 0
	}
	return lo, hi
}

// between is a load in the geometric middle; 0 when the two are close enough, or nothing lies between.
func (s *searcher) between(lo, hi float64) float64 {
	if hi <= lo*(1+s.o.Precision) {
		return 0
	}
	x := s.round(math.Sqrt(lo * hi))
	if x <= lo || x >= hi {
		return 0
	}
	return x
}

// round makes a load one that people read with ease, far finer than the precision.
func (s *searcher) round(x float64) float64 {
	digits := math.Ceil(-math.Log10(s.o.Precision)) + 1 // two for one tenth, three for one in a hundred
	unit := math.Pow(10, math.Floor(math.Log10(x))-digits)
	x = math.Round(x/unit) * unit
	if s.o.Whole {
		return max(1, math.Round(x))
	}
	return roundOff(x)
}

// roundOff takes away what binary arithmetic leaves behind the last digit.
func roundOff(x float64) float64 {
	const digits = 1e9
	if x*digits > 1<<52 {
		return x
	}
	return math.Round(x*digits) / digits
}

func (s *searcher) answer() Answer {
	a := Answer{End: Found}
	a.Held, a.Missed = s.bracket()
	if a.Missed == 0 {
		a.End = AtLeast
	}
	if a.Held > 0 && a.Missed > 0 {
		a.Confidence = Confidence(s.all, a.Held, a.Missed)
	}
	return a
}

func abs(n int) int { return max(n, -n) }
