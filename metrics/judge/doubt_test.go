package judge

import (
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold"
)

// Of a stage whose load was not the one that was asked for nothing can be said: neither that a threshold was met nor that it
// was missed. It does not end the run either, until it is sure.
func TestDoubt(t *testing.T) {
	const why = "stage ramp: the machine was busy"
	for _, tt := range []struct {
		name    string
		expr    string
		scope   threshold.Scope
		bad     string // the stage that is in doubt
		cannot  bool
		pass    bool
		aborted bool
	}{
		{"met in a good stage", "p(50) < 1s", threshold.Scope{Stage: "hold"}, "ramp", false, true, false},
		{"missed in a good stage", "p(50) < 1ms", threshold.Scope{Stage: "hold"}, "ramp", false, false, false},
		{"met in a bad stage", "p(50) < 1s", threshold.Scope{Stage: "ramp"}, "ramp", true, false, false},
		{"missed in a bad stage", "p(50) < 1ms", threshold.Scope{Stage: "ramp"}, "ramp", true, false, false},
		{"a whole run with a bad stage", "p(50) < 1s", threshold.Scope{}, "ramp", true, false, false},
		{"a whole run with another bad stage", "p(50) < 1ms", threshold.Scope{}, "hold", true, false, false},
		{"a whole run without", "p(50) < 1s", threshold.Scope{}, "", false, true, false},
		{"windows of a run with a bad stage", "p(50) < 1s", threshold.Scope{Window: time.Second}, "ramp", true, false, false},
		{"windows of a good stage", "p(50) < 1s", threshold.Scope{Stage: "hold", Window: time.Second}, "ramp", false, true, false},
		{"a stage that did not run", "p(50) < 1s", threshold.Scope{Stage: "down"}, "down", false, false, false},
		{"a stage of which there is nothing", "min < 1s", threshold.Scope{Stage: "ramp", Window: time.Minute}, "ramp", true, false, false},
		{"the schedule of a bad stage is known: missed", "on_time != 3", threshold.Scope{Stage: "ramp"}, "ramp", false, false, false},
		{"the schedule of a bad stage is known: met", "late == 0", threshold.Scope{Stage: "ramp"}, "ramp", false, true, false},
		{"what was dropped in a bad stage is not", "dropped == 0", threshold.Scope{Stage: "ramp"}, "ramp", true, false, false},
		{"aborts", "p(50) < 1ms", threshold.Scope{Abort: true}, "", false, false, true},
		{"aborts in a good stage", "p(50) < 1ms", threshold.Scope{Stage: "hold", Abort: true}, "ramp", false, false, true},
		{"does not abort in a bad stage", "p(50) < 1ms", threshold.Scope{Stage: "ramp", Abort: true}, "ramp", true, false, false},
		{"does not abort in a run with a bad stage", "p(50) < 1ms", threshold.Scope{Abort: true}, "ramp", true, false, false},
		{"does not abort on a window of a bad stage", "p(50) < 1ms", threshold.Scope{Stage: "ramp", Abort: true, Window: time.Second}, "ramp", true, false, false},
	} {
		r := metrics.NewRecorder(metrics.Options{})
		s, j := r.Series(metrics.OpConnect, "g"), New(r, []threshold.Threshold{parse(t, tt.expr, tt.scope)})
		j.Doubt(func(stage string) string {
			if stage == tt.bad && stage != "" {
				return why
			}
			return ""
		})
		aborted := false
		for _, name := range []string{"ramp", "hold"} {
			at := r.SetStage(name)
			snapshot := func(n int) *metrics.Snapshot {
				now := r.Snapshot()
				now.At = at.Add(time.Duration(n) * time.Second)
				return now
			}
			j.Stage(name, snapshot(0))
			for n := range 3 {
				s.Start(at, at).End(at.Add(100*time.Millisecond), metrics.OK)
				aborted = len(j.Sample(snapshot(n+1))) > 0 || aborted
			}
		}
		j.Stage("", r.Snapshot())
		v := j.End(r.Snapshot())[0]
		if v.CannotSay != tt.cannot || v.Pass != tt.pass || v.Missed() != (!tt.cannot && !tt.pass) || (v.Why != "") != tt.cannot || aborted != tt.aborted {
			t.Errorf("%s: %+v, aborted %t; want cannot say %t, pass %t, aborted %t", tt.name, v, aborted, tt.cannot, tt.pass, tt.aborted)
		}
	}
}

// However many rules there are, a stage is looked at once a sample: what is looked up there costs the generator.
func TestDoubtIsAskedOnceASample(t *testing.T) {
	rec := metrics.NewRecorder(metrics.Options{})
	rules := make([]threshold.Threshold, 5)
	for i := range rules {
		rules[i] = parse(t, "p(95) < 250ms", threshold.Scope{})
	}
	rules[4].Scope.Stage = "b"
	now := time.Now()
	rec.Series(metrics.OpConnect, "g").Start(now, now).End(now, metrics.OK)
	j, asked := New(rec, rules), make(map[string]int)
	j.Doubt(func(stage string) string {
		asked[stage]++
		return ""
	})
	for _, stage := range []string{"a", "b"} {
		rec.SetStage(stage)
		j.Stage(stage, rec.Snapshot())
	}
	for n, look := range []func(){
		func() { j.Sample(rec.Snapshot()) },
		func() { j.Sample(rec.Snapshot()) },
		func() { j.Stage("", rec.Snapshot()); j.States(rec.Snapshot()) },
		func() { j.End(rec.Snapshot()) },
	} {
		if look(); asked["a"] != n+1 || asked["b"] != n+1 {
			t.Errorf("after %d looks it was asked %v", n+1, asked)
		}
	}
}
