package search_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/internal/capacity/search"
)

// limit is a target that holds loads up to a limit, without chance.
func limit(at float64) search.Try {
	return func(_ context.Context, a search.Asked) (search.Result, error) {
		if a.Load <= at {
			return search.Result{Verdict: search.Held}, nil
		}
		return search.Result{Verdict: search.Missed}, nil
	}
}

// Wherever the limit is, it is found: what is said to hold does, what is said not to hold does not, and the two are close.
func TestFindsAnyLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := search.Options{
			From: rapid.Float64Range(0.01, 1000).Draw(t, "from"), Factor: rapid.Float64Range(1.2, 10).Draw(t, "factor"),
			Precision: rapid.Float64Range(0.01, 0.5).Draw(t, "precision"),
		}
		o.To, o.Least = o.From*1000, o.From/64
		at := o.Least * math.Pow(o.To/o.Least, rapid.Float64Range(0, 1).Draw(t, "at"))
		trials := 0
		a, err := search.Run(t.Context(), o, func(ctx context.Context, x search.Asked) (search.Result, error) {
			if trials++; x.Number != trials || x.Load < o.Least*(1-1e-9) || x.Load > o.To*(1+1e-9) {
				t.Fatalf("trial %d is number %d, of %g", trials, x.Number, x.Load)
			}
			return limit(at)(ctx, x)
		})
		switch {
		case err != nil:
			t.Fatal(err)
		case a.End == search.AtLeast && at >= o.To*(1-1e-9), a.End == search.Below && at < o.Least*(1+1e-9):
		case a.End != search.Found || !a.Confirmed:
			t.Fatalf("%+v; the limit is %g", a, at)
		case a.Held > at || a.Missed <= at || a.Missed/a.Held > (1+o.Precision)*(1+1e-9):
			t.Fatalf("from %g to %g; the limit is %g", a.Held, a.Missed, at)
		}
	})
}

// Whole numbers are tried one apart, and never below one.
func TestWholeNumbers(t *testing.T) {
	for at := range 12 {
		a, err := search.Run(t.Context(), search.Options{From: 5, To: 1000, Least: 1, Whole: true, Precision: 0.01}, limit(float64(at)))
		if err != nil {
			t.Fatal(err)
		}
		if at == 0 && a.End == search.Below {
			continue
		}
		if a.End != search.Found || a.Held != float64(at) || a.Missed != float64(at+1) {
			t.Errorf("%+v; %d devices hold", a, at)
		}
	}
}

func TestEnds(t *testing.T) {
	boom := errors.New("boom")
	after := func(n int, then search.Result, err error) search.Try {
		return func(ctx context.Context, a search.Asked) (search.Result, error) {
			if a.Number > n {
				return then, err
			}
			return limit(100)(ctx, a)
		}
	}
	undelivered := search.Result{Verdict: search.Undelivered}
	for _, x := range []struct {
		name         string
		try          search.Try
		end          search.End
		held, missed float64
		err          error
	}{
		{"all of it holds", limit(1e6), search.AtLeast, 1000, 0, nil},
		{"nothing holds", limit(0.01), search.Below, 0, 1, nil},
		{"below the first step", limit(7), search.Found, 7, 7, nil},
		{"the generator cannot make the third", after(2, undelivered, nil), search.Generator, 20, 0, nil},
		{"the generator cannot make the first", after(0, undelivered, nil), search.Generator, 0, 0, nil},
		{"the time is up", after(6, search.Result{}, fmt.Errorf("%w: time", search.ErrStop)), search.Stopped, 80, 113, nil},
		{"a trial is impossible", after(3, search.Result{}, boom), search.Found, 0, 0, boom},
	} {
		t.Run(x.name, func(t *testing.T) {
			a, err := search.Run(t.Context(), search.Options{From: 10, To: 1000, Least: 1}, x.try)
			if !errors.Is(err, x.err) || (err == nil) != (x.err == nil) {
				t.Fatalf("error %v; want %v", err, x.err)
			}
			if err == nil && (a.End != x.end || math.Abs(a.Held-x.held) > 0.05*x.held || math.Abs(a.Missed-x.missed) > 0.06*x.missed) {
				t.Errorf("%+v", a)
			}
		})
	}
}

// One trial that the generator did not deliver is made once more, and says nothing.
func TestUndeliveredOnce(t *testing.T) {
	for n := 1; n < 9; n++ {
		a, err := search.Run(t.Context(), search.Options{From: 10, To: 1000, Least: 1}, func(ctx context.Context, x search.Asked) (search.Result, error) {
			if x.Number == n {
				return search.Result{Verdict: search.Undelivered}, nil
			}
			return limit(100)(ctx, x)
		})
		if err != nil || a.End != search.Found || a.Held > 100 || a.Missed <= 100 || a.Missed > a.Held*1.05*1.001 {
			t.Errorf("without trial %d: %+v, %v", n, a, err)
		}
	}
}

// A target that held at first and does not when it is confirmed is not believed; when it goes on so there is no answer.
func TestWhatIsNotConfirmed(t *testing.T) {
	a, err := search.Run(t.Context(), search.Options{From: 10, To: 1000, Least: 1}, func(ctx context.Context, x search.Asked) (search.Result, error) {
		at := 100.0
		if x.Phase == search.Confirm || x.Number > 9 { // it has become slower
			at = 50
		}
		return limit(at)(ctx, x)
	})
	if err != nil || a.End == search.Found && (a.Held > 50 || a.Missed < 50) {
		t.Errorf("%+v, %v; it holds 50 by now", a, err)
	}
	if a.End == search.Found && !a.Confirmed {
		t.Error("the answer was not confirmed")
	}
}

// noisy is a target whose trials are decided by chance near the limit: loads by a share of s away from it go the other way one time in four.
func noisy(at, s float64, r *rand.Rand) search.Try {
	return func(_ context.Context, a search.Asked) (search.Result, error) {
		x := math.Log(a.Load/at) / s
		held := r.Float64() < 1/(1+math.Exp(x*math.Log(3)))
		v := search.Missed
		if held {
			v = search.Held
		}
		return search.Result{Verdict: v, Close: math.Abs(x) < 4}, nil
	}
}

// The interval has the limit in it as often as its confidence says, although trials near the limit are decided by chance.
func TestConfidenceIsKept(t *testing.T) {
	const runs = 400
	for _, s := range []float64{0.002, 0.01, 0.02} {
		inside, said, found, high := 0, 0.0, 0, 0
		for seed := range uint64(runs) {
			r := rand.New(rand.NewPCG(seed, 11))
			at := 20 * math.Exp(3*r.Float64())
			a, err := search.Run(t.Context(), search.Options{From: 20, To: 20_000, Least: 1}, noisy(at, s, r))
			if err != nil {
				t.Fatal(err)
			}
			if a.End != search.Found {
				continue
			}
			found++
			said += a.Confidence
			if a.Held <= at*(1+s) && a.Missed >= at*(1-s) {
				inside++
			}
			if a.Held > at*1.05 {
				high++
			}
		}
		share, mean := float64(inside)/float64(found), said/float64(found)
		t.Logf("noise %.3g: %d of %d found; the limit lies in %.1f %% of the intervals, which claim %.1f %%; %d are more than 5 %% too high", s, found, runs, 100*share, 100*mean, high)
		if found < runs*95/100 || share < mean-0.05 {
			t.Errorf("noise %.3g: %.1f %% of %d intervals have the limit in them; they claim %.1f %%", s, 100*share, found, 100*mean)
		}
		if high > runs/100 {
			t.Errorf("noise %.3g: %d of %d answers are more than 5 %% too high", s, high, runs)
		}
	}
}

func TestConfidence(t *testing.T) {
	f := func(trials []search.Trial, from, to, low, high float64) {
		t.Helper()
		if c := search.Confidence(trials, from, to); c < low || c > high {
			t.Errorf("%v: %.4f; want %.2f to %.2f", trials, c, low, high)
		}
	}
	f(nil, 1, 2, 0, 0)
	f([]search.Trial{{10, true}, {20, false}}, 10, 20, 0.80, 0.90)
	f([]search.Trial{{10, true}, {10, true}, {20, false}, {20, false}}, 10, 20, 0.97, 0.99)
	f([]search.Trial{{10, true}, {10, false}, {20, false}, {20, false}}, 10, 20, 0.40, 0.80)
	f([]search.Trial{{10, true}}, 20, 10, 0, 0)
}

func TestNoBounds(t *testing.T) {
	for _, o := range []search.Options{{}, {From: 10, To: 5, Least: 1}, {From: 1, To: 10, Least: 2}, {From: 1, To: 2}, {From: math.NaN(), To: 2, Least: 1}} {
		if _, err := search.Run(t.Context(), o, limit(1)); err == nil {
			t.Errorf("%+v was searched", o)
		}
	}
}

// A load that the generator made only the second time, and that was missed then, is no limit of the target.
func TestMissedAfterUndelivered(t *testing.T) {
	tried := 0
	a, err := search.Run(t.Context(), search.Options{From: 10, To: 1000, Least: 1}, func(ctx context.Context, x search.Asked) (search.Result, error) {
		if tried++; x.Load > 70 && tried%2 == 0 { // it makes the load every other time: the fourth is the first of 80
			return search.Result{Verdict: search.Undelivered}, nil
		}
		return limit(70)(ctx, x)
	})
	if err != nil || a.End != search.Generator || a.Held != 40 || a.Missed != 0 || a.Over != 80 {
		t.Errorf("%+v, %v", a, err)
	}
}
