package metrics

import (
	"slices"
	"testing"
	"time"
)

// Of a stage whose load was not the one that was asked for nothing can be said: neither that a threshold was met nor that it
// was missed. It does not end the run either, until it is sure.
func TestDoubt(t *testing.T) {
	const why = "stage ramp: the machine was busy"
	for _, tt := range []struct {
		name    string
		expr    string
		scope   Scope
		bad     string // the stage that is in doubt
		cannot  bool
		pass    bool
		aborted bool
	}{
		{"met in a good stage", "p(50) < 1s", Scope{Stage: "hold"}, "ramp", false, true, false},
		{"missed in a good stage", "p(50) < 1ms", Scope{Stage: "hold"}, "ramp", false, false, false},
		{"met in a bad stage", "p(50) < 1s", Scope{Stage: "ramp"}, "ramp", true, false, false},
		{"missed in a bad stage", "p(50) < 1ms", Scope{Stage: "ramp"}, "ramp", true, false, false},
		{"a whole run with a bad stage", "p(50) < 1s", Scope{}, "ramp", true, false, false},
		{"a whole run with another bad stage", "p(50) < 1ms", Scope{}, "hold", true, false, false},
		{"a whole run without", "p(50) < 1s", Scope{}, "", false, true, false},
		{"windows of a run with a bad stage", "p(50) < 1s", Scope{Window: time.Second}, "ramp", true, false, false},
		{"windows of a good stage", "p(50) < 1s", Scope{Stage: "hold", Window: time.Second}, "ramp", false, true, false},
		{"a stage that did not run", "p(50) < 1s", Scope{Stage: "down"}, "down", false, false, false},
		{"a stage of which there is nothing", "min < 1s", Scope{Stage: "ramp", Window: time.Minute}, "ramp", true, false, false},
		{"the schedule of a bad stage is known: missed", "on_time != 3", Scope{Stage: "ramp"}, "ramp", false, false, false},
		{"the schedule of a bad stage is known: met", "late == 0", Scope{Stage: "ramp"}, "ramp", false, true, false},
		{"what was dropped in a bad stage is not", "dropped == 0", Scope{Stage: "ramp"}, "ramp", true, false, false},
		{"aborts", "p(50) < 1ms", Scope{Abort: true}, "", false, false, true},
		{"aborts in a good stage", "p(50) < 1ms", Scope{Stage: "hold", Abort: true}, "ramp", false, false, true},
		{"does not abort in a bad stage", "p(50) < 1ms", Scope{Stage: "ramp", Abort: true}, "ramp", true, false, false},
		{"does not abort in a run with a bad stage", "p(50) < 1ms", Scope{Abort: true}, "ramp", true, false, false},
		{"does not abort on a window of a bad stage", "p(50) < 1ms", Scope{Stage: "ramp", Abort: true, Window: time.Second}, "ramp", true, false, false},
	} {
		r := NewRecorder(Options{})
		s, j := r.Series(OpConnect, "g"), NewJudge(r, []Threshold{threshold(t, tt.expr, tt.scope)})
		j.Doubt(func(stage string) string {
			if stage == tt.bad && stage != "" {
				return why
			}
			return ""
		})
		aborted := false
		for _, name := range []string{"ramp", "hold"} {
			at := r.SetStage(name)
			snapshot := func(n int) *Snapshot {
				now := r.Snapshot()
				now.At = at.Add(time.Duration(n) * time.Second)
				return now
			}
			j.Stage(name, snapshot(0))
			for n := range 3 {
				s.Start(at, at).End(at.Add(100*time.Millisecond), OK)
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

// A threshold that asks for failures is told from one that failures happen to meet.
func TestWantsFailure(t *testing.T) {
	r := NewRecorder(Options{})
	now := time.Now()
	s := r.Series(OpConnect, "g")
	for range 10 {
		s.Start(now, now).End(now.Add(ms), Refused)
	}
	s.Start(now, now).End(now.Add(2*time.Second), Timeout)
	r.Series(OpConnect, "other").Drop(now, DropOther)
	var got []string
	for _, expr := range []string{
		"error_rate > 99%", "error_rate <= 100%", "error_rate < 1%", "count == 0", "count > 5", "count < 100", "p(99) < 10s", "p(99) > 1s", "max < 1ms", "throttled_rate < 1%",
	} {
		if threshold(t, expr, Scope{}).WantsFailure(r.Snapshot()) {
			got = append(got, expr)
		}
	}
	r.DeviceGauge("g", "backoff").Add(10)
	for _, expr := range []string{"connected == 0", "connected_rate <= 99%", "connected_rate >= 0%"} {
		x, err := ParseThreshold(string(OfDevices), expr)
		if err != nil {
			t.Fatal(err)
		}
		if x.WantsFailure(r.Snapshot()) {
			got = append(got, expr)
		}
	}
	if want := []string{"error_rate > 99%", "count == 0", "p(99) > 1s", "connected == 0", "connected_rate <= 99%"}; !slices.Equal(got, want) {
		t.Errorf("failures are asked for by %q; want %q", got, want)
	}
}
