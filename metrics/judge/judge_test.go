package judge

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold"
)

// second is what was observed in one second of a run.
type second struct {
	stage   string // begins with this second; empty goes on
	latency []time.Duration
	fails   int
	open    []time.Duration // of operations that end so long after they were intended, whatever ends before
	drops   int
	paused  int // drops of a pause
}

func seconds(stage string, n int, latency ...time.Duration) []second {
	all := make([]second, n)
	for i := range all {
		all[i].latency = latency
	}
	all[0].stage = stage
	return all
}

func concat(parts ...[]second) []second {
	var all []second
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func parse(t *testing.T, expr string, scope threshold.Scope) threshold.Threshold {
	t.Helper()
	x, err := threshold.Parse("connect", expr)
	if err != nil {
		t.Fatal(err)
	}
	x.Scope = scope
	return x
}

// play plays a run to a Judge; aborted is the second in which it wanted to end the run, or -1. A minute after the
// last stage nobody waits any more.
func play(x threshold.Threshold, run []second) (v threshold.Verdict, aborted int) {
	r := metrics.NewRecorder(metrics.Options{})
	s := r.Series(metrics.OpConnect, "g")
	j, aborted := New(r, []threshold.Threshold{x}), -1
	begin := time.Now()
	type pending struct {
		metrics.Started
		at time.Time
	}
	var open []pending
	wait := func(until time.Time) {
		time.Sleep(time.Until(until))
		left := open[:0]
		for _, o := range open {
			if o.at.After(until) {
				left = append(left, o)
			} else {
				o.EndBecause(o.at, metrics.Timeout, "")
			}
		}
		open = left
	}
	for n, sec := range run {
		now := time.Now()
		if sec.stage != "" {
			r.SetStage(sec.stage)
			j.Stage(sec.stage, r.Snapshot())
			j.Sample(r.Snapshot())
		}
		for _, d := range sec.latency {
			s.Start(now, now).End(now.Add(d), metrics.OK)
		}
		for range sec.fails {
			s.Start(now, now).End(now.Add(time.Millisecond), metrics.Failed)
		}
		for _, d := range sec.open {
			open = append(open, pending{s.Start(now, now), now.Add(d)})
		}
		s.DropMany(uint64(sec.drops), now, metrics.DropNotConnected)
		s.DropMany(uint64(sec.paused), now, metrics.DropPaused)
		wait(begin.Add(time.Duration(n+1) * time.Second))
		if len(j.Sample(r.Snapshot())) > 0 && aborted < 0 {
			aborted = n + 1
		}
	}
	r.SetStage("")
	j.Stage("", r.Snapshot())
	now := time.Now()
	s.Start(now, now).End(now.Add(time.Hour), metrics.OK) // after the last stage: no stage's
	wait(now.Add(time.Minute))
	for _, o := range open {
		o.Unanswered(time.Now(), "")
	}
	return j.End(r.Snapshot())[0], aborted
}

func TestJudge(t *testing.T) {
	fast, slow := time.Millisecond, 500*time.Millisecond
	// A ramp, a slow second in the middle of the hold, and a slow end.
	calm := concat(seconds("ramp", 10, slow), seconds("hold", 20, fast))
	spike := concat(seconds("ramp", 10, fast), seconds("hold", 10, fast), seconds("", 1, slow), seconds("", 9, fast))
	outage := concat(seconds("ramp", 30, fast), seconds("hold", 10), seconds("", 5, fast))
	late := concat(seconds("ramp", 100, fast), []second{{fails: 5}, {fails: 5}})
	hung := func(d time.Duration) []second {
		return concat(seconds("hold", 20, fast), []second{{stage: "dead", open: []time.Duration{d}}, {}, {}})
	}
	lost := concat(seconds("hold", 5, fast), []second{{drops: 5}, {drops: 5}, {drops: 5}, {drops: 5}}, seconds("", 5, fast))
	paused := concat(seconds("hold", 5, fast), []second{{paused: 1}, {paused: 1}, {paused: 1}}, seconds("", 5, fast))
	for _, tt := range []struct {
		name    string
		expr    string
		scope   threshold.Scope
		run     []second
		pass    bool
		seen    string
		aborted int
	}{
		{"a stage alone", "max < 100ms", threshold.Scope{Stage: "hold"}, calm, true, "max = 1ms", -1},
		{"the other stage", "max < 100ms", threshold.Scope{Stage: "ramp"}, calm, false, "max = 500ms", -1},
		{"a stage that never came", "max < 100ms", threshold.Scope{Stage: "down"}, calm, false, "the stage did not run", -1},
		{"a count over a stage", "count == 20", threshold.Scope{Stage: "hold"}, calm, true, "count = 20", -1},
		{"a rate over a stage", "rate >= 1/s", threshold.Scope{Stage: "hold"}, calm, true, "rate = 1.0/s", -1},
		{"a spike is lost in the whole", "p(95) < 100ms", threshold.Scope{Stage: "hold"}, spike, true, "p(95) = 1ms", -1},
		{"a spike is seen in a window", "p(95) < 100ms", threshold.Scope{Stage: "hold", Window: 5 * time.Second}, spike, false, "worst p(95) = 500ms", -1},
		{
			"a spike that lasts less than for", "p(95) < 100ms",
			threshold.Scope{Window: 5 * time.Second, For: 10 * time.Second},
			spike, true, "worst p(95) = 500ms", -1,
		},
		{"a window longer than the stage", "p(95) < 100ms", threshold.Scope{Stage: "ramp", Window: time.Minute}, spike, false, "no data in any window", -1},
		{"nothing due has no latency", "p(95) < 100ms", threshold.Scope{Window: 5 * time.Second}, outage, true, "worst p(95) = 1ms", -1},
		{"an outage in which work was due", "p(95) < 100ms", threshold.Scope{Window: 3 * time.Second}, lost, false, "worst: none of 15 ended", -1},
		{"the same for errors", "error_rate < 1%", threshold.Scope{Window: 3 * time.Second}, lost, false, "worst: none of 15 ended", -1},
		{"the whole run of a dead end", "error_rate < 1%", threshold.Scope{}, hung(time.Hour), false, "error_rate = 4.55% (1 of 22)", -1},
		{"a dead stage", "p(50) < 100ms", threshold.Scope{Stage: "dead"}, hung(time.Hour), false, "p(50) = 1m3s", -1},
		{"a dead stage has errors", "error_rate < 1%", threshold.Scope{Stage: "dead"}, hung(time.Hour), false, "error_rate = 100% (1 of 1)", -1},
		{"a dead window", "p(50) < 100ms", threshold.Scope{Window: time.Second}, hung(time.Hour), false, "worst p(50) = 1m3s", -1},
		{"a dead window of a stage", "p(50) < 100ms", threshold.Scope{Stage: "dead", Window: 2 * time.Second}, hung(time.Hour), false, "worst p(50) = 1m3s", -1},
		{"a stage before is not blamed", "max < 100ms", threshold.Scope{Stage: "hold"}, hung(time.Hour), true, "max = 1ms", -1},
		{"what ends after its stage counts for it", "max < 10s", threshold.Scope{Stage: "dead"}, hung(30 * time.Second), false, "max = 30s", -1},
		{"no rate of what never ends", "rate > 0.1/s", threshold.Scope{Stage: "dead"}, hung(time.Hour), false, "rate = 0.0/s", -1},
		{"abort on what hangs", "max < 100ms", threshold.Scope{Abort: true}, hung(time.Hour), false, "", 21},
		{"an outage has a rate", "rate > 0.1/s", threshold.Scope{Window: 5 * time.Second}, outage, false, "worst rate = 0.0/s", -1},
		{"a pause is none", "rate > 0.5/s", threshold.Scope{Window: 2 * time.Second}, paused, true, "worst rate = 1.0/s", -1},
		{
			"but all of a run that is paused is", "rate > 0.5/s",
			threshold.Scope{Window: 2 * time.Second},
			[]second{{stage: "hold", paused: 1}, {paused: 1}, {paused: 1}, {paused: 1}},
			false, "no data in any window", -1,
		},
		{"failures at the end are lost in the whole", "error_rate < 10%", threshold.Scope{}, late, true, "error_rate = 9.01% (10 of 111)", -1},
		{
			"failures at the end are seen in a window", "error_rate < 10%",
			threshold.Scope{Window: 10 * time.Second},
			late, false, "worst error_rate = 55.6% (10 of 18)", -1,
		},
		{"abort at the first miss", "p(95) < 100ms", threshold.Scope{Abort: true}, calm, false, "p(95) = 500ms, which ended the run", 1},
		{"abort after a delay", "p(95) < 100ms", threshold.Scope{Abort: true, Delay: 5 * time.Second}, calm, false, "p(95) = 500ms, which ended the run", 5},
		{"abort on a window", "p(95) < 100ms", threshold.Scope{Abort: true, Window: 2 * time.Second}, spike, false, "p(95) = 500ms, which ended the run", 21},
		{"nothing to abort on", "p(95) < 100ms", threshold.Scope{Abort: true}, seconds("hold", 5), false, "", -1},
	} {
		synctest.Test(t, func(t *testing.T) {
			v, aborted := play(parse(t, tt.expr, tt.scope), tt.run)
			if v.Pass != tt.pass || aborted != tt.aborted || (tt.seen != "" && v.Observed != tt.seen) {
				t.Errorf("%s: %s: pass %v, %q, aborted at %d; want %v, %q, %d", tt.name, v.Threshold, v.Pass, v.Observed, aborted, tt.pass, tt.seen, tt.aborted)
			}
		})
	}
}

// What a Judge keeps does not grow with the run.
func TestJudgeForgets(t *testing.T) {
	x := parse(t, "p(95) < 100ms", threshold.Scope{Window: 5 * time.Second})
	j := New(metrics.NewRecorder(metrics.Options{}), []threshold.Threshold{x})
	j.Stage("hold", &metrics.Snapshot{At: time.Unix(1_700_000_000, 0)})
	for n := range 1000 {
		j.Sample(&metrics.Snapshot{At: time.Unix(1_700_000_000, 0).Add(time.Duration(n) * time.Second)})
	}
	if len(j.rules[0].recent) > 6 {
		t.Errorf("%d snapshots are kept for a window of 5 s", len(j.rules[0].recent))
	}
}

// Nor does it with how late other machines tell: one of three that tells nothing any more, or all of them.
func TestJudgeForgetsWhenNothingIsTold(t *testing.T) {
	for _, silent := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			rec := metrics.NewRecorder(metrics.Options{})
			j := New(rec, []threshold.Threshold{parse(t, "p(95) < 100ms", threshold.Scope{Window: 5 * time.Second})})
			theirs, parts := metrics.NewRecorder(metrics.Options{}), []*metrics.Part{rec.Join(), rec.Join(), rec.Join()}
			rec.SetStage("hold")
			theirs.SetStage("hold")
			j.Stage("hold", rec.Snapshot())
			most := 0
			for n := range 1000 {
				time.Sleep(time.Second)
				now := time.Now()
				theirs.Series(metrics.OpConnect, "g").Start(now, now).End(now, metrics.OK)
				for i, p := range parts {
					if i >= silent || n < 10 {
						p.Set(theirs.Contribution())
					}
				}
				j.Sample(rec.Snapshot())
				most = max(most, len(j.rules[0].recent))
			}
			// Of three the time goes on by two thirds of a second or more, so a window of 5 s is of 8 samples at most, and its ends.
			if most > 10 {
				t.Errorf("%d snapshots are kept for a window of 5 s while %d of 3 are silent", most, silent)
			}
		})
	}
}
