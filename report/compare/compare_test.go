package compare_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/compare"
	"github.com/twinfleet/twinfleet/report/compare/write"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// times is a world in which network and work take as many times as long.
func (w world) times(x float64) world {
	w.network, w.work = time.Duration(x*float64(w.network)), time.Duration(x*float64(w.work))
	return w
}

func (w world) lasting(seconds int) world {
	w.seconds = seconds
	return w
}

func answer(before, after *report.History) compare.Answer {
	return compare.Compare(before, after, compare.Options{}).Answer()
}

// bad names what is worse.
func bad(c *compare.Comparison) string {
	var figures []string
	for _, r := range c.Regressions() {
		name := r.Operation
		if r.Group != "" {
			name += "/" + r.Group
		}
		figures = append(figures, name+" "+r.Figure)
	}
	return strings.Join(figures, ", ")
}

// Equal runs are worse in one pair of twenty at the most, however short they are; 30 % is found in runs of 30 s and
// 100 % in runs of 5 s, in 19 pairs of twenty at least, and what is faster is never worse.
func TestFigures(t *testing.T) {
	far := networked
	far.network, far.stalls = 500*time.Millisecond, 0
	farthest := far
	farthest.network = 3 * time.Second
	for _, tt := range []struct {
		name    string
		w       world
		seconds int
		slower  float64
	}{
		{"a target, 5 s", weathered, 5, 2},
		{"a target, 30 s", weathered, 30, 1.3},
		{"a network, 5 s", networked, 5, 2},
		{"a network, 30 s", networked, 30, 1.3},
		{"a second away, 5 s", far, 5, 2},
		{"a second away, 30 s", far, 30, 1.3},
		{"three seconds away, 5 s", farthest, 5, 2},
		{"three seconds away, 30 s", farthest, 30, 1.3},
		{"this machine, 5 s", local, 5, 10},
		{"this machine, 30 s", local, 30, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := tt.w.lasting(tt.seconds)
			pairs := 100
			switch {
			case few:
				pairs = 20
			case tt.seconds > 5:
				pairs = 40
			}
			wrong, found := 0, 0
			for n := range uint64(pairs) {
				a, slow := w.run(2*n), w.times(tt.slower).run(2*n+1)
				if c := compare.Compare(a, w.run(2*n+1), compare.Options{}); c.Answer() == compare.SomethingWorse {
					wrong++
				}
				if answer(a, slow) == compare.SomethingWorse {
					found++
				}
				if c := compare.Compare(slow, a, compare.Options{}); strings.Contains(bad(c), "p50") {
					t.Errorf("pair %d: the faster run is worse: %s", n, bad(c))
				}
			}
			t.Logf("%d of %d pairs of equal runs are worse; %d with ×%.1f are found", wrong, pairs, found, tt.slower)
			if wrong > pairs/20 || found < pairs*19/20 {
				t.Errorf("%d of %d pairs of equal runs are worse; %d with ×%.1f are found", wrong, pairs, found, tt.slower)
			}
		})
	}
}

// An interval holds the true change 19 times of 20, and so what is worse by more than the margin is not called "not worse".
func TestIntervals(t *testing.T) {
	pairs := 200
	if few {
		pairs = 40
	}
	for _, seconds := range []int{5, 30, 60} {
		w := weathered.lasting(seconds)
		held, cleared, least := 0, 0, 19
		if seconds == 5 {
			least = 18 // they show too little of how restless the world is
		}
		for n := range uint64(pairs) {
			c := compare.Compare(w.run(2*n), w.times(1.12).run(2*n+1), compare.Options{})
			for _, r := range c.Rows {
				if r.Figure != "p50" {
					continue
				}
				if r.Low < 0.12 && r.High > 0.12 {
					held++
				}
				if r.Verdict == compare.NotWorse {
					cleared++
				}
			}
		}
		t.Logf("%d s: %d of %d intervals hold the change, %d are called not worse", seconds, held, pairs, cleared)
		if held < pairs*least/20 || cleared > pairs/20 {
			t.Errorf("%d s: %d of %d intervals hold the change, %d are called not worse", seconds, held, pairs, cleared)
		}
	}
}

// Whatever the latency is, in holds of 5 s, more of it is worse; and the same is not.
func TestEveryNetwork(t *testing.T) {
	const ms = time.Millisecond
	trips := []time.Duration{0, 20 * ms, 40 * ms, 200 * ms, 300 * ms, time.Second, 2 * time.Second, 3 * time.Second, 6 * time.Second}
	for i, near := range trips {
		before := networked.lasting(5)
		before.network, before.stalls = near, 0
		if got := compare.Compare(before.run(1), before.run(2), compare.Options{}); got.Answer() == compare.SomethingWorse {
			t.Errorf("%s twice: %s", near, bad(got))
		}
		for _, far := range trips[i+1:] {
			after := before
			after.network = far
			if got := answer(before.run(1), after.run(2)); got != compare.SomethingWorse {
				t.Errorf("%s and %s: %s", near, far, got)
			}
			if got := compare.Compare(after.run(2), before.run(1), compare.Options{}); strings.Contains(bad(got), "p50") {
				t.Errorf("%s and %s: %s", far, near, bad(got))
			}
		}
	}
}

// Long runs of a steady target are told: not worse.
func TestTold(t *testing.T) {
	steady := networked.lasting(60)
	steady.stalls = 0
	if c := compare.Compare(steady.run(1), steady.run(2), compare.Options{}); c.Answer() != compare.NothingWorse {
		t.Errorf("%s: %s; %+v", c.Answer(), c.Sentence(), c.Unsure())
	}
}

func TestRules(t *testing.T) {
	base := weathered
	base.weather = 0.01
	slow := func(w *world) { *w = w.times(1.3) }
	for _, tt := range []struct {
		name   string
		base   world
		change func(*world)
		o      compare.Options
		worse  string
		want   compare.Answer
	}{
		{"the same", base, func(*world) {}, compare.Options{}, "", compare.NothingWorse},
		{"below the floor", base, slow, compare.Options{Floor: 10 * time.Millisecond}, "", compare.NothingWorse},
		{"within what is allowed", base, slow, compare.Options{Margins: compare.Margins{P50: 0.6, P95: 0.6, P99: 0.9}}, "", compare.NothingWorse},
		{"half the rate", base, func(w *world) { w.rate = 10 }, compare.Options{}, "twin_report rate", compare.SomethingWorse},
		{"a few errors", base, func(w *world) { w.failures = 1 }, compare.Options{}, "", compare.NothingWorse},
		{"more than a few", base, func(w *world) { w.failures = 30 }, compare.Options{}, "twin_report errors", compare.SomethingWorse},
		{"too short", weathered.lasting(3), func(w *world) { *w = w.times(1.1) }, compare.Options{}, "", compare.CannotTell},
		{"vanished", networked, func(w *world) { w.quiet = true }, compare.Options{}, "telemetry rate", compare.SomethingWorse},
		{"a slow tenth", networked, func(w *world) { w.slower = 10 }, compare.Options{}, "p95", compare.SomethingWorse},
		{"dead at the end", networked, func(w *world) { w.dead, w.timeout = 5, 10*time.Second }, compare.Options{}, "telemetry errors", compare.SomethingWorse},
		{"nothing at all", world{seconds: 5}, func(*world) {}, compare.Options{}, "", compare.CannotTell},
	} {
		after := tt.base
		tt.change(&after)
		c := compare.Compare(tt.base.run(1), after.run(2), tt.o)
		for _, r := range c.Rows {
			if r.Unit == compare.Share && (r.Low < -r.Before || r.Low == 0 && math.Signbit(r.Low) || r.High > max(r.Change, 1-r.Before)) {
				t.Errorf("%s: %s %s is %v and changed by %v … %v: more than all", tt.name, r.Operation, r.Figure, r.Before, r.Low, r.High)
			}
		}
		if got := bad(c); !strings.Contains(got, tt.worse) || (tt.worse == "" && got != "") || c.Answer() != tt.want {
			t.Errorf("%s: %s; worse are %q; want %q: %q; %s", tt.name, c.Answer(), got, tt.want, tt.worse, c.Sentence())
		}
	}
	// An operation that is only in the second run is no tick.
	quiet := networked
	quiet.quiet = true
	c := compare.Compare(quiet.run(1), networked.run(2), compare.Options{})
	appeared := slices.ContainsFunc(c.Rows, func(r compare.Row) bool { return r.Operation == "telemetry" && r.Verdict == compare.Appeared })
	if !appeared || c.Answer() != compare.CannotTell {
		t.Errorf("%v, %s", appeared, c.Sentence())
	}
}

// A fault that began within a block hides nothing: an effect of many times is found although that block says otherwise.
func TestFaultWithinABlock(t *testing.T) {
	w := local.lasting(3)
	w.devices, w.weather = 0, 0.01
	for _, x := range []float64{20, 400} {
		slow := w.times(x)
		slow.rate = 54
		after := slow.run(2)
		after.Samples = slices.Concat(w.run(1).Samples[:1], after.Samples[1:])
		c := compare.Compare(w.run(1), after, compare.Options{})
		if !strings.Contains(bad(c), "twin_report p50") {
			t.Errorf("×%.0f: %s; %q", x, c.Sentence(), bad(c))
		}
	}
}

// What grows in both runs alike is no noise: the same is told to be the same, and more is found.
func TestClimb(t *testing.T) {
	w := world{work: 10 * time.Millisecond, weather: 0.005, rate: 200, seconds: 60, climb: 20}
	for _, tt := range []struct {
		times float64
		want  compare.Answer
	}{{1, compare.NothingWorse}, {1.2, compare.SomethingWorse}} {
		if c := compare.Compare(w.run(1), w.times(tt.times).run(2), compare.Options{}); c.Answer() != tt.want {
			t.Errorf("×%.1f: %s; %+v", tt.times, c.Sentence(), c.Unsure())
		}
	}
}

// What came by chance in the two seconds in which devices connect is no reason to call a run worse.
func TestShortBeginning(t *testing.T) {
	w := networked.lasting(10)
	w.stalls = 0
	after := w
	after.roughly = 0.2
	if c := compare.Compare(w.run(1), after.run(2), compare.Options{}); c.Answer() != compare.CannotTell {
		t.Errorf("%s; %q", c.Sentence(), bad(c))
	}
}

// A slower network only moves operations into later blocks: their rate is told.
func TestRateOfWhatComesLater(t *testing.T) {
	w := networked
	w.network, w.stalls = 3*time.Second, 0
	for _, r := range compare.Compare(w.run(1), w.times(1.3).run(2), compare.Options{}).Rows {
		if r.Figure == "rate" && r.Operation != "connect" && r.High-r.Low > 0.6 {
			t.Errorf("%+v", r)
		}
	}
}

// A stage so short that only one run has a sample of it is no difference, also when it has the name of another one, and when a
// record was cut: then its events tell when it ended, and they come a little later.
func TestShortStage(t *testing.T) {
	w := networked
	w.stalls = 0
	kicked := func(seed uint64, name string, kick time.Duration) *report.History {
		h := w.run(seed)
		hold := h.Run.Stages[1]
		h.Run.Stages = []report.Stage{
			h.Run.Stages[0],
			{Name: name, From: hold.From, To: hold.From + kick},
			{Name: "hold", From: hold.From + kick, To: hold.To},
		}
		return h
	}
	for _, name := range []string{"kick", "ramp"} {
		runs := [2]*report.History{kicked(1, name, 600*time.Millisecond), kicked(2, name, 400*time.Millisecond)}
		for i := range runs {
			if c := compare.Compare(runs[i], runs[1-i], compare.Options{}); c.Answer() != compare.NothingWorse {
				t.Errorf("%s: %s; %v", name, c.Sentence(), c.Doubts)
			}
		}
		whole, cut := kicked(1, name, 490*time.Millisecond), kicked(1, name, 490*time.Millisecond)
		for _, s := range cut.Run.Stages {
			cut.Events = append(cut.Events, report.Event{At: s.From + 20*time.Millisecond, Kind: "stage", Stage: s.Name, Text: s.Name, OK: true})
		}
		cut.Run.Stages = nil
		cut = cutAt(cut, len(cut.Samples)-1)
		for _, c := range []*compare.Comparison{compare.Compare(whole, cut, compare.Options{}), compare.Compare(cut, whole, compare.Options{})} {
			if c.Answer() != compare.CannotTell || len(bad(c)) > 0 || strings.Contains(strings.Join(c.Doubts, "\n"), "stages differ") {
				t.Errorf("%s, cut: %s; worse are %q; %v", name, c.Sentence(), bad(c), c.Doubts)
			}
		}
	}
}

// A latency that a busy machine explains is not called worse; one that it does not explain is.
func TestStartedLate(t *testing.T) {
	steady := networked
	steady.stalls = 0
	busy := steady
	busy.late = 60 * time.Millisecond
	for _, tt := range []struct {
		after  world
		timers time.Duration
		want   compare.Answer
	}{
		{busy, 100 * time.Millisecond, compare.CannotTell},
		{busy, time.Millisecond, compare.SomethingWorse}, // the target's doing: timers were punctual
		{busy.times(1.3), 100 * time.Millisecond, compare.SomethingWorse},
	} {
		after := tt.after.run(2)
		after.Run.Generator = &report.Health{Late: tt.timers}
		if c := compare.Compare(steady.run(1), after, compare.Options{}); c.Answer() != tt.want {
			t.Errorf("timers %s late: %s; worse are %q", tt.timers, c.Sentence(), bad(c))
		}
	}
}

// cutAt is a history as it is read when its program was killed after some seconds.
func cutAt(h *report.History, seconds int) *report.History {
	h.Samples, h.Whole = h.Samples[:seconds], false
	h.Complete()
	return h
}

// A run that was stopped at once, and a copy of its record that lacks the last line: what was open then is of the wait for
// answers in both, and makes neither worse.
func TestCutAfterTheLastStage(t *testing.T) {
	steady := networked
	steady.stalls = 0
	stopped := func() *report.History {
		h := steady.run(1)
		end := h.Samples[len(h.Samples)-1].At
		rec := metrics.NewRecorder(metrics.Options{})
		for range 200 {
			rec.Series(metrics.OpTwinReport, "robots").Start(began.Add(end), began.Add(end)).Unanswered(began.Add(end+300*time.Millisecond), "the run was stopped first")
		}
		window := rec.Snapshot()
		window.Elapsed = 300 * time.Millisecond
		h.Samples = append(h.Samples, report.Sample{At: end + window.Elapsed, Window: window})
		for _, s := range h.Run.Stages {
			h.Events = append(h.Events, report.Event{At: s.From, Kind: "stage", Stage: s.Name, Text: s.Name, OK: true})
		}
		h.Events = append(h.Events, report.Event{At: end, Kind: "stopping", OK: true})
		h.Run.Outcome, h.Run.Totals = report.Interrupted, h.Run.Totals.Merge(window)
		return h
	}
	for _, turned := range []bool{false, true} {
		before, after := stopped(), stopped()
		after.Whole = false
		after.Complete()
		if turned {
			before, after = after, before
		}
		if c := compare.Compare(before, after, compare.Options{}); c.Answer() != compare.CannotTell || len(bad(c)) > 0 {
			t.Errorf("turned %t: %s; worse are %q", turned, c.Sentence(), bad(c))
		}
	}
}

// When a ramp is left out, a connect of it that ended in the next stage, of this run or that, says nothing.
func TestSpillOfARampThatIsLeftOut(t *testing.T) {
	steady := networked
	steady.stalls, steady.network = 0, time.Millisecond // fast enough that no other connect is late
	for spilled := range 2 {
		runs := [2]*report.History{steady.run(1), steady.run(2)}
		rec := metrics.NewRecorder(metrics.Options{})
		rec.Series(metrics.OpConnect, "robots").Start(began, began).End(began.Add(time.Millisecond), metrics.OK)
		h := runs[spilled]
		x := h.Samples[len(h.Samples)/2].Window
		h.Samples[len(h.Samples)/2].Window, h.Run.Totals = x.Merge(rec.Snapshot()), h.Run.Totals.Merge(rec.Snapshot())
		h.Samples[len(h.Samples)/2].Window.Elapsed = x.Elapsed
		runs[1].Run.Generator = &report.Health{Saturated: true, Stages: []report.StageHealth{{Name: "ramp"}, {Name: "hold", AsAsked: true}}}
		c := compare.Compare(runs[0], runs[1], compare.Options{})
		for _, r := range c.Rows {
			if r.Operation == "connect" && r.Figure == "rate" && r.Verdict != compare.TooFew {
				t.Errorf("in run %d: %+v", spilled, r)
			}
		}
		if all := strings.Join(c.Doubts, "; "); strings.Contains(all, "loads differ") || len(bad(c)) > 0 {
			t.Errorf("in run %d: %s; %s", spilled, c.Sentence(), all)
		}
	}
}

// What makes two runs hard to compare is said, and takes the tick away where it must.
func TestWhatDiffers(t *testing.T) {
	steady := networked
	steady.stalls = 0
	for _, tt := range []struct {
		name   string
		change func(*report.History) *report.History
		says   string
		want   compare.Answer
	}{
		{"cut", func(h *report.History) *report.History { return cutAt(h, 17) }, "the record of the second run is cut after 17.0s", compare.CannotTell},
		{"nothing left", func(h *report.History) *report.History { return cutAt(h, 0) }, "has a beginning and no figures", compare.CannotTell},
		{"another scenario", func(h *report.History) *report.History { h.Run.Name = "other"; return h }, "different scenarios: world and other", compare.CannotTell},
		{
			"more devices", func(h *report.History) *report.History { h.Run.Devices = 200; return h }, "the fleets differ in size: 100 and 200 devices",
			compare.CannotTell,
		},
		{
			"another target", func(h *report.History) *report.History { h.Run.Target = "elsewhere"; return h },
			"the targets differ: embedded hub and elsewhere", compare.NothingWorse,
		},
		{"another seed", func(h *report.History) *report.History { h.Run.Seed = 7; return h }, "the seeds differ: 42 and 7", compare.NothingWorse},
		{"failed", func(h *report.History) *report.History {
			h.Run.Outcome, h.Run.Reason = report.Failed, "no device"
			return h
		}, "the second run failed: no device", compare.CannotTell},
		{"saturated and slow", func(*report.History) *report.History {
			h := steady.times(2).run(2)
			h.Run.Outcome = report.Saturated
			return h
		}, "the generator was the bottleneck", compare.CannotTell},
		{"saturated", func(h *report.History) *report.History { h.Run.Outcome = report.Saturated; return h }, "the generator was the bottleneck", compare.CannotTell},
		{"likely spoiled", func(h *report.History) *report.History {
			h.Run.Outcome, h.Run.Suspicion = report.Saturated, "somebody is likely to use its ids"
			return h
		}, "in the second run somebody is likely to use its ids", compare.CannotTell},
		{"a ramp that was not as asked", func(h *report.History) *report.History {
			h.Run.Generator = &report.Health{Saturated: true, Stages: []report.StageHealth{{
				Name: "ramp", What: "50 of 100 connect started late",
				Causes: []report.Cause{{Text: "the machine is full"}},
			}, {Name: "hold", AsAsked: true}}}
			return h
		}, "in the second run the load was not as asked, in stage ramp: 50 of 100 connect started late: the machine is full; it is left out", compare.CannotTell},
		{"a hold that was not as asked, and slow", func(*report.History) *report.History {
			h := steady.times(2).run(2)
			h.Run.Generator = &report.Health{Saturated: true, Stages: []report.StageHealth{{Name: "ramp"}, {Name: "hold"}}}
			return h
		}, "the load was not as asked", compare.CannotTell},
		{"a ramp that was not as asked, and slow", func(*report.History) *report.History {
			h := steady.times(2).run(2)
			h.Run.Generator = &report.Health{Saturated: true, Stages: []report.StageHealth{{Name: "ramp"}, {Name: "hold", AsAsked: true}}}
			return h
		}, "the load was not as asked", compare.SomethingWorse},
		{"another stage", func(h *report.History) *report.History {
			h.Run.Stages[1].Name = "steady"
			return h
		}, "the stages differ: only the first run has the stage hold", compare.CannotTell},
		{"a hole", func(h *report.History) *report.History { h.Samples = slices.Delete(h.Samples, 10, 12); return h }, "lacks 400 operations", compare.CannotTell},
		{"an outage", func(h *report.History) *report.History { h.Run.Outages = []report.Outage{{Total: 20}}; return h }, "", compare.SomethingWorse},
	} {
		c := compare.Compare(steady.run(1), tt.change(steady.run(2)), compare.Options{})
		if all := strings.Join(slices.Concat(c.Unfit, c.Doubts, c.Notes), "; "); !strings.Contains(all, tt.says) || c.Answer() != tt.want {
			t.Errorf("%s: %s; %s: %s", tt.name, c.Answer(), c.Sentence(), all)
		}
	}
}

// Of runs of different length the common part is compared, also when half of a record is missing: what is slower there is found.
func TestOtherLength(t *testing.T) {
	long := networked.lasting(60)
	long.stalls = 0
	short := long.lasting(30)
	c := compare.Compare(long.run(1), short.run(2), compare.Options{})
	if notes := strings.Join(c.Notes, "; "); c.Answer() != compare.NothingWorse ||
		!strings.Contains(notes, "the stage hold took 1m00s and 30.0s: its first 30.0s are compared") || c.Compared != 32*time.Second {
		t.Errorf("%s, %s, %s; %+v", c.Sentence(), notes, c.Compared, c.Unsure())
	}
	for _, after := range []*report.History{short.times(1.3).run(2), cutAt(long.times(1.3).run(2), 32)} {
		if got := answer(long.run(1), after); got != compare.SomethingWorse {
			t.Errorf("30 %% more in a part: %s", got)
		}
	}
}

// A group that is slow, or gone, is named where the whole fleet hides it; of a group too small to be told nothing is asked.
func TestGroups(t *testing.T) {
	run := func(groups map[string]time.Duration) *report.History {
		rec := metrics.NewRecorder(metrics.Options{})
		h := &report.History{Whole: true, Run: &report.Run{
			Name: "world", Started: began, Ended: began.Add(30 * time.Second),
			Stages: []report.Stage{{Name: "hold", To: 30 * time.Second}},
		}}
		rec.SetStage("hold")
		last := rec.Snapshot()
		last.At = began
		for second := range 30 {
			at := began.Add(time.Duration(second) * time.Second)
			for group, took := range groups {
				s := rec.Series(metrics.OpTwinReport, group)
				count := 100
				if group == "few" {
					count = 1
				}
				for n := range count {
					s.Start(at, at).End(at.Add(took+time.Duration(n%20)*time.Millisecond), metrics.OK)
				}
			}
			now := rec.Snapshot()
			now.At = at.Add(time.Second)
			h.Samples = append(h.Samples, report.Sample{At: time.Duration(second+1) * time.Second, Window: now.Sub(last)})
			last = now
		}
		h.Run.Totals = last
		return h
	}
	const ms = time.Millisecond
	before := map[string]time.Duration{"many": 50 * ms, "few": 50 * ms}
	for _, tt := range []struct {
		after map[string]time.Duration
		worse string
		want  compare.Answer
	}{
		{map[string]time.Duration{"many": 50 * ms, "few": 50 * ms}, "", compare.NothingWorse},
		{map[string]time.Duration{"many": 50 * ms, "few": 500 * ms}, "twin_report/few p50", compare.SomethingWorse},
		{map[string]time.Duration{"many": 50 * ms}, "twin_report/few rate", compare.SomethingWorse},
	} {
		c := compare.Compare(run(before), run(tt.after), compare.Options{})
		if bad(c) != tt.worse || c.Answer() != tt.want {
			t.Errorf("%v: %s, worse are %q", tt.after, c.Sentence(), bad(c))
		}
	}
}

func TestGolden(t *testing.T) {
	steady := networked
	steady.stalls = 0
	bad := steady.times(1.3)
	bad.failures = 30
	cut := cutAt(steady.run(2), 17)
	other := bad.run(2)
	other.Run.Seed = 43
	var b bytes.Buffer
	for _, x := range []struct {
		name  string
		after *report.History
		all   bool
	}{
		{"worse", other, false},
		{"all of it", other, true},
		{"the same", steady.run(2), false},
		{"short", weathered.lasting(5).run(3), false},
		{"cut", cut, false},
	} {
		before := steady.run(1)
		if x.name == "short" {
			before = weathered.lasting(5).run(4)
		}
		o := compare.Options{Scenarios: [2]string{"name: world\ntarget: {hub: embedded}\n", "name: world\ntarget: {hub: elsewhere}\n"}}
		c := compare.Compare(before, x.after, o)
		fmt.Fprintf(&b, "# %s\n", x.name)
		if err := write.Text(&b, c, color.Style{}, x.all); err != nil {
			t.Fatal(err)
		}
		if x.name != "worse" && x.name != "cut" {
			continue
		}
		fmt.Fprintf(&b, "# %s, Markdown\n", x.name)
		if err := write.Markdown(&b, c, x.all); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "testdata/comparison.golden", b.Bytes())
}

// The JSON holds the figures as they were found, and null for what is not known.
func TestJSON(t *testing.T) {
	var b bytes.Buffer
	w := networked.lasting(5)
	quiet := w
	quiet.quiet = true
	if err := write.JSON(&b, compare.Compare(w.run(1), quiet.run(2), compare.Options{})); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Schema  int    `json:"schema_version"`
		Answer  string `json:"answer"`
		Doubts  []string
		Figures []struct {
			Operation, Figure, Verdict string
			Before, After              float64
			Change, Low                *float64
		}
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	gone := slices.IndexFunc(got.Figures, func(f struct {
		Operation, Figure, Verdict string
		Before, After              float64
		Change, Low                *float64
	},
	) bool {
		return f.Operation == "telemetry"
	})
	if got.Schema != 1 || got.Answer != "worse" || got.Doubts == nil || gone < 0 || got.Figures[gone].Verdict != "vanished" || got.Figures[gone].Low != nil {
		t.Errorf("%s", b.Bytes())
	}
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(path); err != nil || !bytes.Equal(want, got) {
		t.Errorf("%v\n%s", err, got)
	}
}
