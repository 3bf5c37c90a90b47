package metrics

import (
	"testing"
	"time"
)

// second is what was observed in one second of a run.
type second struct {
	stage   string // begins with this second; empty goes on
	latency []time.Duration
	fails   int
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

func threshold(t *testing.T, expr string, scope Scope) Threshold {
	t.Helper()
	x, err := ParseThreshold("connect", expr)
	if err != nil {
		t.Fatal(err)
	}
	x.Scope = scope
	return x
}

// judge plays a run to a Judge; aborted is the second in which it wanted to end the run, or -1.
func judge(x Threshold, run []second) (v Verdict, aborted int) {
	r := NewRecorder(Options{})
	s := r.Series(OpConnect, "g")
	at := func(n int) *Snapshot {
		snapshot := r.Snapshot()
		snapshot.At = epoch.Add(time.Duration(n) * time.Second)
		snapshot.Elapsed = time.Duration(n) * time.Second
		return snapshot
	}
	j, aborted := NewJudge([]Threshold{x}), -1
	for n, sec := range run {
		if sec.stage != "" {
			j.Stage(sec.stage, at(n))
			j.Sample(at(n))
		}
		for _, d := range sec.latency {
			observe(s, 0, d, OK)
		}
		for range sec.fails {
			observe(s, 0, ms, Failed)
		}
		if len(j.Sample(at(n+1))) > 0 && aborted < 0 {
			aborted = n + 1
		}
	}
	j.Stage("", at(len(run)))
	observe(s, 0, time.Hour, OK) // after the last stage: no stage's
	return j.End(at(len(run) + 1))[0], aborted
}

func TestJudge(t *testing.T) {
	fast, slow := ms, 500*ms
	// A ramp, a slow second in the middle of the hold, and a slow end.
	calm := concat(seconds("ramp", 10, slow), seconds("hold", 20, fast))
	spike := concat(seconds("ramp", 10, fast), seconds("hold", 10, fast), seconds("", 1, slow), seconds("", 9, fast))
	outage := concat(seconds("ramp", 30, fast), seconds("hold", 10), seconds("", 5, fast))
	late := concat(seconds("ramp", 100, fast), []second{{fails: 5}, {fails: 5}})
	for _, tt := range []struct {
		name    string
		expr    string
		scope   Scope
		run     []second
		pass    bool
		seen    string
		aborted int
	}{
		{"a stage alone", "max < 100ms", Scope{Stage: "hold"}, calm, true, "max = 1ms", -1},
		{"the other stage", "max < 100ms", Scope{Stage: "ramp"}, calm, false, "max = 500ms", -1},
		{"a stage that never came", "max < 100ms", Scope{Stage: "down"}, calm, false, "the stage did not run", -1},
		{"a count over a stage", "count == 20", Scope{Stage: "hold"}, calm, true, "count = 20", -1},
		{"a rate over a stage", "rate >= 1/s", Scope{Stage: "hold"}, calm, true, "rate = 1.0/s", -1},
		{"a spike is lost in the whole", "p(95) < 100ms", Scope{Stage: "hold"}, spike, true, "p(95) = 1ms", -1},
		{"a spike is seen in a window", "p(95) < 100ms", Scope{Stage: "hold", Window: 5 * time.Second}, spike, false, "worst p(95) = 500ms", -1},
		{"a spike that lasts less than for", "p(95) < 100ms", Scope{Window: 5 * time.Second, For: 10 * time.Second}, spike, true, "worst p(95) = 500ms", -1},
		{"a window longer than the stage", "p(95) < 100ms", Scope{Stage: "ramp", Window: time.Minute}, spike, false, "no data in any window", -1},
		{"an outage has no latency", "p(95) < 100ms", Scope{Window: 5 * time.Second}, outage, true, "worst p(95) = 1ms", -1},
		{"an outage has a rate", "rate > 0.1/s", Scope{Window: 5 * time.Second}, outage, false, "worst rate = 0.0/s", -1},
		{"failures at the end are lost in the whole", "error_rate < 10%", Scope{}, late, true, "error_rate = 9.01%", -1},
		{"failures at the end are seen in a window", "error_rate < 10%", Scope{Window: 10 * time.Second}, late, false, "worst error_rate = 55.6%", -1},
		{"abort at the first miss", "p(95) < 100ms", Scope{Abort: true}, calm, false, "p(95) = 500.22ms", 1},
		{"abort after a delay", "p(95) < 100ms", Scope{Abort: true, Delay: 5 * time.Second}, calm, false, "p(95) = 500.22ms", 5},
		{"abort on a window", "p(95) < 100ms", Scope{Abort: true, Window: 2 * time.Second}, spike, false, "worst p(95) = 500ms", 21},
		{"nothing to abort on", "p(95) < 100ms", Scope{Abort: true}, seconds("hold", 5), false, "", -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v, aborted := judge(threshold(t, tt.expr, tt.scope), tt.run)
			if v.Pass != tt.pass || aborted != tt.aborted || (tt.seen != "" && v.Observed != tt.seen) {
				t.Errorf("%s: pass %v, %q, aborted at %d; want %v, %q, %d", v.Threshold, v.Pass, v.Observed, aborted, tt.pass, tt.seen, tt.aborted)
			}
		})
	}
}

// What a Judge keeps does not grow with the run.
func TestJudgeForgets(t *testing.T) {
	x := threshold(t, "p(95) < 100ms", Scope{Window: 5 * time.Second})
	j := NewJudge([]Threshold{x})
	j.Stage("hold", &Snapshot{At: epoch})
	for n := range 1000 {
		j.Sample(&Snapshot{At: epoch.Add(time.Duration(n) * time.Second)})
	}
	if len(j.recent) > 6 {
		t.Errorf("%d snapshots are kept for a window of 5 s", len(j.recent))
	}
}

func TestScopeString(t *testing.T) {
	x := threshold(t, "p(95) < 1s", Scope{Stage: "hold", Window: 30 * time.Second, For: 10 * time.Second})
	if got, want := x.String(), "connect: p(95) < 1s (stage hold, every 30s, for 10s)"; got != want {
		t.Errorf("%q; want %q", got, want)
	}
}
