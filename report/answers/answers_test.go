package answers_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/answers"
	"github.com/twinfleet/twinfleet/report/findings"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

// Somebody who looks for five seconds asks five questions.
func ExampleOf() {
	h := reporttest.Example(20)
	h.Run.Thresholds[0] = threshold.Verdict{Threshold: "twin_report: p(99) < 100ms", Observed: "p(99) = 116ms", Since: h.Run.Started.Add(12 * time.Second)}
	for _, a := range answers.Of(h) {
		fmt.Printf("%-4s %s %s\n", a.Mark, a.Question, a.Text)
	}
	// Output:
	// bad  Did it hold? No: 1 of 2 thresholds were missed.
	// bad  Since when not? The first threshold was missed since 12.0s in stage hold, 12:00:12 UTC.
	// bad  What failed, and why? Of 2,470 operations: 10 failed (0.4 %), 24 throttled (0.97 %), 20 never started (0.81 %).
	// warn Which group? All of the 2 groups, vehicles most.
	// good Can I believe it? Yes: the machine delivered the load that was asked for.
}

// run is a run in which all was done, changed.
func run(change func(r *report.Run)) *report.History {
	r := reporttest.Well(10)
	change(r)
	return &report.History{Run: r, Whole: true}
}

func TestAnswers(t *testing.T) {
	since := func(r *report.Run, d time.Duration) time.Time { return r.Started.Add(d) }
	for name, tc := range map[string]struct {
		h    *report.History
		want [5]string // a part of each answer, its mark first
	}{
		"all well": {run(func(r *report.Run) { r.Thresholds = r.Thresholds[:1] }), [5]string{
			"good Yes: the run did all it should, and its threshold held", " No threshold was missed", "good Nothing: 1,410 operations, all done", "good None of the 2 groups", "good Yes",
		}},
		"nothing asked": {run(func(r *report.Run) { r.Thresholds = nil }), [5]string{"good It has no thresholds", " There is no threshold", "good Nothing", "good", "good"}},
		"missed, and the earliest is told first": {run(func(r *report.Run) {
			r.Outcome, r.Reason = report.Missed, "2 of 2 thresholds were missed"
			r.Thresholds = []threshold.Verdict{{Threshold: "a", Observed: "1", Since: since(r, 7*time.Second)}, {Threshold: "b", Observed: "2", Since: since(r, 2*time.Second)}}
		}), [5]string{"bad No: 2 of 2 thresholds were missed.|a: 1|b: 2", "bad The first threshold was missed since 2.00s in stage ramp, 12:00:02 UTC.|a: missed since 7.00s in stage hold", "good", "good", "good"}},
		"missed, seen in the end alone": {run(func(r *report.Run) {
			r.Outcome, r.Thresholds = report.Missed, []threshold.Verdict{{Threshold: "a", Observed: "1"}}
		}), [5]string{"bad No", "bad Only the end of the run showed", "good", "good", "good"}},
		"nothing to judge": {run(func(r *report.Run) {
			r.Outcome, r.Thresholds = report.Missed, []threshold.Verdict{{Threshold: "a", Observed: "no data", NoData: true}}
		}), [5]string{"bad No: a threshold was missed.|a: no data", "bad Only the end|a: there was nothing to judge", "", "", ""}},
		"the load was another": {run(func(r *report.Run) {
			r.Outcome, r.Thresholds = report.Saturated, []threshold.Verdict{{Threshold: "a", Observed: "1", CannotSay: true}}
			r.Generator.Saturated, r.Generator.Reasons = true, []string{"stage hold: too slow"}
		}), [5]string{"warn Nobody knows: the load was not|0 of 1 threshold held, of 1 nothing can be said", "warn Nobody knows: of 1 of 1 threshold", "", "", "bad No: the machine did not deliver|saturated (stage hold: too slow)"}},
		"killed": {&report.History{Run: run(func(r *report.Run) {
			r.Outcome, r.Reason, r.Generator = report.Interrupted, "the program was killed", nil
			r.Thresholds = []threshold.Verdict{{Threshold: "a", Observed: "no data", NoData: true}}
		}).Run}, [5]string{"warn Nobody knows: it did not run to its end: the program was killed.|0 of 1 threshold held, 1 had nothing to judge", " No threshold was missed", " Nothing", "", "warn Nobody knows|the record is cut"}},
		"failed": {run(func(r *report.Run) {
			r.Outcome, r.Reason = report.Failed, "a step failed"
			r.Steps = []report.Step{{Text: "await", Detail: "not in time"}}
		}), [5]string{"bad No: the run failed: a step failed.", "", "bad Nothing|step await: not in time", "", ""}},
		"the service side alone": {run(func(r *report.Run) {
			rec := metrics.NewRecorder(metrics.Options{})
			rec.Series(metrics.OpMethod, "ping").Start(r.Started, r.Started).EndBecause(r.Ended, metrics.Failed, "not online")
			r.Totals = r.Totals.Merge(rec.Snapshot())
		}), [5]string{"good", "", "bad Of 1,411 operations: 1 failed (0.071 %).|1 error: not online", " None of the 2 groups of devices: what failed was of the service side", ""}},
		"one group of two": {run(func(r *report.Run) {
			rec := metrics.NewRecorder(metrics.Options{})
			rec.Series(metrics.OpTelemetry, "robots").Start(r.Started, r.Started).EndBecause(r.Ended, metrics.Throttled, "status 429")
			r.Totals = r.Totals.Merge(rec.Snapshot())
		}), [5]string{"good", "", "warn Of 1,411 operations: 1 throttled", "warn robots; not vehicles.|robots: 1 of 1,201 operations not done", ""}},
		"nothing at all": {&report.History{Run: &report.Run{Outcome: report.Failed, Totals: &metrics.Snapshot{}}, Whole: true}, [5]string{
			"bad No: the run failed: it could not do what the scenario says.", " There is no threshold", " Nothing was begun", " No device was started", "warn Nobody knows",
		}},
	} {
		for i, a := range answers.Of(tc.h) {
			got := string(a.Mark) + " " + a.Text + "|" + strings.Join(a.Lines, "|")
			mark, text, _ := strings.Cut(tc.want[i], " ")
			if tc.want[i] == "" {
				continue
			}
			for part := range strings.SplitSeq(text, "|") {
				if !strings.Contains(got, part) || findings.Mark(mark) != a.Mark {
					t.Errorf("%s: %s\n %s\n want %s", name, a.Question, got, tc.want[i])
				}
			}
		}
	}
}

// A run can be believed no more than each of its agents can.
func TestAgentsAndBelief(t *testing.T) {
	belief := func(all []report.Agent) answers.Answer {
		h := reporttest.Example(20)
		h.Run.Agents = all
		return answers.Of(h)[4]
	}
	all := reporttest.Agents(5)
	for _, tt := range []struct {
		name   string
		agents []report.Agent
		mark   findings.Mark
		text   string
	}{
		{"none", nil, findings.Good, "Yes: the machine delivered the load that was asked for."},
		{"well", all[4:], findings.Good, "Yes: the machine delivered the load that was asked for."},
		{"a clock", all[3:], findings.Warn, "Yes, but for times: the agents delivered the load, and the clocks of some are not well known."},
		{"the bottleneck", all[2:], findings.Bad, "No: not all agents delivered the load that was asked for."},
		{"lost", all[1:2], findings.Bad, "No: not all agents delivered the load that was asked for."},
	} {
		if a := belief(tt.agents); a.Mark != tt.mark || a.Text != tt.text {
			t.Errorf("%s: %s %q", tt.name, a.Mark, a.Text)
		}
	}
}

// What is likely to have spoiled a run is said, and that nobody knows.
func TestSuspicions(t *testing.T) {
	h := reporttest.Example(20)
	h.Run.Outcome, h.Run.Reason, h.Run.Suspicion = report.Saturated, "somebody is likely to use its ids", "somebody is likely to use its ids"
	if a := answers.Of(h)[0]; a.Text != "Nobody knows: somebody is likely to use its ids." {
		t.Errorf("%q", a.Text)
	}
	said := false
	for _, a := range answers.Of(h) {
		said = said || a.Mark == findings.Warn && slices.Contains(a.Lines, h.Run.Suspicion)
	}
	if !said {
		t.Errorf("%+v", answers.Of(h))
	}
}

// Where a run cannot say for a clock alone, the load was the one that was asked for.
func TestAgentsAndTheirClocks(t *testing.T) {
	all := reporttest.Agents(5)
	for _, tt := range []struct {
		agents []report.Agent
		text   string
	}{
		{all[3:], "Nobody knows: the clock says little."},
		{all[2:], "Nobody knows: the load was not the one that was asked for."},
		{all[4:], "Nobody knows: the load was not the one that was asked for."},
	} {
		h := reporttest.Example(20)
		h.Run.Agents, h.Run.Outcome, h.Run.Reason = tt.agents, report.Saturated, "the clock says little"
		if a := answers.Of(h)[0]; a.Text != tt.text {
			t.Errorf("%q; want %q", a.Text, tt.text)
		}
	}
}
