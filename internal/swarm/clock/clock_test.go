package clock_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/internal/swarm/clock"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// at is our clock: so long after the epoch.
func at(d time.Duration) time.Time { return epoch.Add(d) }

func TestEstimate(t *testing.T) {
	const ms = time.Millisecond
	drift := func(over time.Duration) time.Duration { return over / 5000 }
	// answer is one of a clock that is ahead, whose ways took so long.
	answer := func(sent, ahead, there, back time.Duration) clock.Sample {
		return clock.Sample{Sent: at(sent), Theirs: at(sent + there + ahead), Received: at(sent + there + back)}
	}
	for _, x := range []struct {
		name    string
		samples []clock.Sample
		now     time.Duration
		want    clock.Estimate
	}{
		{"nothing", nil, 0, clock.Estimate{}},
		{
			"ways that take as long",
			[]clock.Sample{answer(0, time.Hour, 5*ms, 5*ms)},
			5 * ms,
			clock.Estimate{Offset: time.Hour, Uncertainty: 5*ms + 1 + drift(5*ms), Samples: 1},
		},
		{"behind", []clock.Sample{answer(0, -time.Hour, 5*ms, 5*ms)}, 5 * ms, clock.Estimate{Offset: -time.Hour, Uncertainty: 5*ms + 1 + drift(5*ms), Samples: 1}},
		{"all of it one way", []clock.Sample{answer(0, 0, 10*ms, 0)}, 5 * ms, clock.Estimate{Offset: 5 * ms, Uncertainty: 5*ms + 1 + drift(5*ms), Samples: 1}},
		{
			"the shortest is the best",
			[]clock.Sample{answer(0, 0, 9*ms, 0), answer(0, 0, 2*ms, 0), answer(0, 0, 0, 9*ms)},
			1 * ms,
			clock.Estimate{Offset: ms, Uncertainty: ms + 1 + drift(ms), Samples: 3},
		},
		{
			"until it is too old",
			[]clock.Sample{answer(0, 0, ms, ms), answer(time.Minute, 0, 2*ms, 2*ms)},
			time.Minute + 2*ms,
			clock.Estimate{Uncertainty: 2*ms + 1 + drift(2*ms), Samples: 2},
		},
		{"a drift", []clock.Sample{answer(0, 0, ms, ms)}, 5*time.Second + ms, clock.Estimate{Uncertainty: ms + 1 + drift(5*time.Second+ms), Samples: 1}},
		{
			"a step",
			[]clock.Sample{answer(0, 0, ms, ms), answer(time.Second, 10*ms, ms, ms)},
			time.Second + ms,
			clock.Estimate{Offset: 10 * ms, Uncertainty: ms + 1 + drift(ms), Samples: 1, Steps: 1},
		},
		{
			"a step that may be none",
			[]clock.Sample{answer(0, 0, ms, ms), answer(time.Second, 2*ms, ms, ms)},
			time.Second + ms,
			clock.Estimate{Offset: 2 * ms, Uncertainty: ms + 1 + drift(ms), Samples: 2},
		},
		{
			"our own clock set back",
			[]clock.Sample{answer(time.Hour, 0, ms, ms), answer(0, time.Hour, ms, ms)},
			ms,
			clock.Estimate{Offset: time.Hour, Uncertainty: ms + 1 + drift(ms), Samples: 1, Steps: 1},
		},
		{"set back during a question", []clock.Sample{answer(0, 0, ms, ms), {Sent: at(time.Hour), Theirs: at(0), Received: at(0)}}, 0, clock.Estimate{Steps: 1}},
	} {
		w := clock.NewWindow(clock.Options{})
		for _, s := range x.samples {
			w.Add(s)
		}
		got := w.Estimate(at(x.now))
		x.want.At, x.want.Drift = at(x.now), clock.DefaultDrift
		if got != x.want {
			t.Errorf("%s:\n%+v; want\n%+v", x.name, got, x.want)
		}
		if got.Known() != (x.want.Samples > 0) {
			t.Errorf("%s: known: %v", x.name, got.Known())
		}
	}
}

// Whatever share of the round trip each way takes, and whichever way the clocks drift, the truth is within what the estimate says; a clock
// that is set is noticed when answers contradict each other, and what is said then is of the clock as it was set.
func TestTruthIsWithin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		delay := func(what string) time.Duration {
			return time.Duration(rapid.IntRange(0, 50_000).Draw(t, what)) * time.Microsecond
		}
		ahead := time.Duration(rapid.Int64Range(int64(-time.Hour), int64(time.Hour)).Draw(t, "ahead"))
		ppm := rapid.Float64Range(-200, 200).Draw(t, "drift")
		w := clock.NewWindow(clock.Options{Kept: rapid.SampledFrom([]int{0, 1, 2, 10}).Draw(t, "kept")})
		now, steps := time.Duration(0), 0
		theirs := clock.Shifted(func() time.Time { return at(now) }, ahead, ppm, at(0))
		for range rapid.IntRange(1, 60).Draw(t, "answers") {
			now += time.Duration(rapid.IntRange(1, 30_000).Draw(t, "gap")) * time.Millisecond
			if rapid.IntRange(0, 9).Draw(t, "set") == 0 { // by more than any round trip and what drifts in the window
				by := time.Second
				if rapid.Bool().Draw(t, "back") {
					by = -by
				}
				theirs = clock.Shifted(theirs, by, 0, at(0))
				if w.Estimate(at(now)).Known() {
					steps++
				}
			}
			s := clock.Sample{Sent: at(now)}
			now += delay("there")
			s.Theirs = theirs()
			now += delay("back")
			s.Received = at(now)
			w.Add(s)
			now += delay("later")
			e := w.Estimate(at(now))
			if away := (e.Offset - theirs().Sub(at(now))).Abs(); away > e.Uncertainty || !e.Known() {
				t.Fatalf("%v, and the truth is %v away, of %v", e, away, theirs().Sub(at(now)))
			}
			if e.Steps != steps {
				t.Fatalf("a clock was set %d times, and %d were noticed", steps, e.Steps)
			}
			later := at(now + time.Hour)
			if got := e.Ours(e.Theirs(later)); !got.Equal(later) {
				t.Fatalf("%v there and back is %v", later, got)
			}
			now += time.Hour // the same estimate, an hour later
			if away := e.Theirs(at(now)).Sub(theirs()).Abs(); away > e.Within(at(now)) {
				t.Fatalf("an hour later it is %v away, not within %v", away, e.Within(at(now)))
			}
			now -= time.Hour
		}
	})
}

func TestString(t *testing.T) {
	for _, x := range []struct {
		e    clock.Estimate
		want string
	}{
		{clock.Estimate{}, "not known"},
		{clock.Estimate{Offset: 1234567 * time.Microsecond, Uncertainty: 210_400, Samples: 1}, "+1.234567s ± 210µs"},
		{clock.Estimate{Offset: -2 * time.Second, Uncertainty: 1, Samples: 1}, "-2s ± 1µs"},
	} {
		if got := x.e.String(); got != x.want {
			t.Errorf("%s; want %s", got, x.want)
		}
	}
}

// An estimate goes to others as it is.
func TestJSON(t *testing.T) {
	e := clock.Estimate{Offset: 1, Uncertainty: 2, Drift: 3e-6, Samples: 4, Steps: 5, At: epoch}
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var back clock.Estimate
	if err := json.Unmarshal(text, &back); err != nil || back != e {
		t.Errorf("%s: %+v, %v", text, back, err)
	}
}

// other is a clock at the other end of a network.
type other struct {
	mu          sync.Mutex
	clock       clock.Clock
	there, back time.Duration
	gone        bool
	asked       []time.Time // by the bubble's clock
}

func (o *other) change(f func(*other)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f(o)
}

var errGone = errors.New("it is gone")

func (o *other) ask(ctx context.Context) (theirs time.Time, err error) {
	o.mu.Lock()
	there, back, gone := o.there, o.back, o.gone
	o.asked = append(o.asked, time.Now())
	o.mu.Unlock()
	if gone {
		return time.Time{}, errGone
	}
	for _, way := range []time.Duration{there, back} {
		select {
		case <-ctx.Done():
			return time.Time{}, context.Cause(ctx)
		case <-time.After(way):
		}
		if theirs.IsZero() {
			o.change(func(o *other) { theirs = o.clock() })
		}
	}
	return theirs, nil
}

// It asks quickly at first and slowly later on, quickly once more when a clock was set, and ends with its context.
func TestPinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		o := &other{clock: clock.Shifted(time.Now, time.Minute, 50, began), there: 3 * time.Millisecond, back: time.Millisecond}
		ours := clock.Shifted(time.Now, -time.Minute, -50, began)
		var told atomic.Int32
		p := clock.NewPinger(o.ask, clock.PingerOptions{Clock: ours, Told: func(clock.Estimate) { told.Add(1) }})
		if e := p.Estimate(); e.Known() {
			t.Errorf("nothing was asked yet: %v", e)
		}
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan struct{})
		go func() { defer close(over); p.Run(ctx) }()

		truth := func() {
			t.Helper()
			e := p.Estimate()
			var ahead time.Duration
			o.change(func(o *other) { ahead = o.clock().Sub(ours()) })
			if away := (e.Offset - ahead).Abs(); away > e.Uncertainty || e.Uncertainty > 4*time.Millisecond {
				t.Errorf("%v, and the truth is %v", e, ahead)
			}
		}
		asks := func(name string, want ...time.Duration) {
			t.Helper()
			var gaps []time.Duration
			o.change(func(o *other) {
				for i := range o.asked[1:] {
					gaps = append(gaps, o.asked[i+1].Sub(o.asked[i]).Round(5*time.Millisecond))
				}
				o.asked = o.asked[len(o.asked)-1:]
			})
			if !slices.Equal(gaps, want) {
				t.Errorf("%s: it asked after %v; want %v", name, gaps, want)
			}
		}
		const quick, slow = 130 * time.Millisecond, 5005 * time.Millisecond // with the way there and back
		time.Sleep(12 * time.Second)
		asks("at first", quick, quick, quick, quick, quick, quick, quick, slow, slow)
		truth()
		if n := told.Load(); n != 10 {
			t.Errorf("%d estimates were told", n)
		}

		o.change(func(o *other) { o.clock = clock.Shifted(o.clock, time.Hour, 0, began) })
		time.Sleep(5 * time.Second)
		asks("when its clock was set", slow, quick, quick, quick, quick, quick, quick, quick)
		truth()
		if e := p.Estimate(); e.Steps != 1 {
			t.Errorf("%d steps were noticed", e.Steps)
		}

		o.change(func(o *other) { o.gone = true })
		time.Sleep(10 * time.Second)
		if n, err := p.Missing(); n != 2 || !errors.Is(err, errGone) || !p.Estimate().Known() {
			t.Errorf("gone: %d, %v, %v", n, err, p.Estimate())
		}
		o.change(func(o *other) { o.gone, o.back = false, time.Hour })
		time.Sleep(10 * time.Second)
		if n, err := p.Missing(); n < 3 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("too slow: %d, %v", n, err)
		}
		cancel()
		<-over
	})
}

// Nobody answers at first: it goes on asking quickly, so that it knows soon what it can know.
func TestPingerWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &other{clock: time.Now, gone: true}
		p := clock.NewPinger(o.ask, clock.PingerOptions{})
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { p.Run(ctx) })
		time.Sleep(20*time.Second + 50*time.Millisecond)
		o.change(func(o *other) { o.gone = false })
		time.Sleep(time.Second)
		if e := p.Estimate(); e.Samples != 8 || e.Offset != 0 {
			t.Errorf("%v of %d answers", e, e.Samples)
		}
		cancel()
		running.Wait()
	})
}
