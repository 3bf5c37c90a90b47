package tables_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/dashboard/tables"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/judge"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

// now is what is known of the example in the middle of its run.
func now(n int) *tables.Evidence {
	h := reporttest.Example(20)
	s := reporttest.Live(h)[n-1]
	return &tables.Evidence{
		Run: &report.Run{Started: h.Run.Started, Totals: s.Total, Stages: []report.Stage{{Name: "ramp", To: s.At, Totals: s.Total}}}, Now: s.At, Window: s.Window,
		Standing: s.Standing, Rules: reporttest.Rules(), Devices: s.Total.Devices,
	}
}

// inTheEnd is what is known of the example when it is over.
func inTheEnd() *tables.Evidence {
	h := reporttest.Example(20)
	s := reporttest.Live(h)
	last := s[len(s)-1]
	return &tables.Evidence{Run: h.Run, Over: true, Now: last.At, Standing: last.Standing, Rules: reporttest.Rules(), Devices: last.Total.Devices}
}

// The five questions have an answer while the run goes on: did it hold, since when not, what failed and why, in which group, can the
// generator be believed.
func TestTheFiveQuestions(t *testing.T) {
	e := now(10)
	e.Standing.Doubt = "stage ramp: 900 of 1,000 twin_report started late"
	got := tables.Of(e)
	a := got.Answer
	if a.Verdict != "missing" || !strings.HasPrefix(a.Reason, "connect: error_rate < 0.1%: ") {
		t.Errorf("did it hold: %q, %q", a.Verdict, a.Reason)
	}
	if w := got.Thresholds[a.Worst]; w.Text != "connect: error_rate < 0.1%" || w.State != "missed" || w.Since == nil || *w.Since != 4 {
		t.Errorf("since when: %+v", w)
	}
	if r := got.Reasons[0]; r.Text != "throttled" && !strings.HasPrefix(r.Text, "error: ") || r.Count == 0 || r.Last <= 0 || a.Why == "" || a.Counts.Failed == 0 {
		t.Errorf("what failed and why: %+v; %q, %+v", r, a.Why, a.Counts)
	}
	var vehicles tables.Group
	for _, g := range got.Groups {
		if g.Name == "vehicles" {
			vehicles = g
		}
	}
	if vehicles.Failed == 0 || !strings.HasPrefix(vehicles.Reason, "telemetry ") {
		t.Errorf("which group: %+v", vehicles)
	}
	if a.Doubt != e.Standing.Doubt {
		t.Errorf("can it be believed: %q", a.Doubt)
	}
	if a.Devices != "10 of 20 devices, 3,000 in all" || a.Share != 0.5 || a.Left != 10 || a.Done != 0.5 {
		t.Errorf("devices and time: %+v", a)
	}
}

// In the end there is the verdict of the record, with what its thresholds came to; what was seen at the very end has no time.
func TestInTheEnd(t *testing.T) {
	got := tables.Of(inTheEnd())
	if a := got.Answer; a.Verdict != "missed" || a.Reason != "1 of 2 thresholds were missed" || a.Left != 0 || a.Worst != 1 || a.Doubt != "" {
		t.Errorf("%+v", a)
	}
	if x := got.Thresholds[1]; x.State != "missed" || x.Since != nil || x.Value != nil || x.Past != nil || x.Observed != "no data" {
		t.Errorf("%+v", x)
	}
	if x := got.Thresholds[0]; x.State != "met" || x.Op != "<" || x.Bound != 0.25 || x.Unit != "seconds" || x.Past == nil || *x.Past >= 0 {
		t.Errorf("%+v", x)
	}
	if len(got.Waves) != 2 || got.Waves[0].State != "done" || got.Waves[1].State != "stopped" {
		t.Errorf("%+v", got.Waves)
	}
	if !strings.HasPrefix(got.Generator.Lines[0], "ok (at most 0.7 of 2 processors") || len(got.Generator.Rows) < 8 {
		t.Errorf("%+v", got.Generator)
	}
	for _, x := range got.Operations {
		if x.Rate != nil {
			t.Errorf("%s has a rate now", x.Name)
		}
	}
	// A generator that was the bottleneck is in doubt.
	e := inTheEnd()
	e.Run.Generator.Saturated, e.Run.Generator.Reasons = true, []string{"stage hold: late"}
	if a := tables.Of(e).Answer; a.Doubt != "stage hold: late" {
		t.Errorf("%+v", a)
	}
}

// Nothing that was due vanishes: each row adds up, and the rows of operations and stages add up to the whole.
func TestRowsAddUp(t *testing.T) {
	for name, e := range map[string]*tables.Evidence{"now": now(10), "in the end": inTheEnd()} {
		got := tables.Of(e)
		whole := got.Answer.Counts
		var operations, stages uint64
		check := func(what string, c tables.Counts) uint64 {
			if sum := c.OK + c.Failed + c.Throttled + c.Dropped + c.Open; sum != c.Scheduled {
				t.Errorf("%s: %s: %d of %d", name, what, sum, c.Scheduled)
			}
			return c.Scheduled
		}
		check("all", whole)
		for _, x := range got.Operations {
			operations += check(x.Name, x.Counts)
		}
		for _, x := range got.Stages {
			stages += check(x.Name, x.Counts)
		}
		if operations != whole.Scheduled || stages != whole.Scheduled {
			t.Errorf("%s: operations have %d, stages %d of %d", name, operations, stages, whole.Scheduled)
		}
	}
}

// Before anything happens there is nothing, and nothing breaks.
func TestBeforeTheStart(t *testing.T) {
	got := tables.Of(&tables.Evidence{Run: &report.Run{Totals: &metrics.Snapshot{}}})
	if a := got.Answer; a.Verdict != "starting" || a.Worst != -1 || a.Done != -1 {
		t.Errorf("%+v", a)
	}
	b, err := json.Marshal(got)
	if err != nil || strings.Contains(string(b), `"operations":null`) {
		t.Errorf("%s %v", b, err)
	}
}

// What was meant before the stages is a row of its own, so that the stages add up; a wave of a configuration outlives the run.
func TestOutsideAndConfigurations(t *testing.T) {
	e := now(5)
	rec := metrics.NewRecorder(metrics.Options{})
	rec.Series(metrics.OpProvision, "").DropMany(3, time.Now(), metrics.DropInFlight)
	e.Outside = rec.Snapshot()
	rows := tables.Of(e).Stages
	if last := rows[len(rows)-1]; len(rows) != 2 || last.Name != "outside the stages" || last.Dropped != 3 || last.Why == "" {
		t.Errorf("%+v", rows)
	}
	e = inTheEnd()
	e.Standing.Rollouts = append(e.Standing.Rollouts, report.Wave{Rollout: "by-configuration", Number: 1, Of: 1, Running: true})
	waves := tables.Of(e).Waves
	if last := waves[len(waves)-1]; len(waves) != 3 || last.Rollout != "by-configuration" || last.State != "done" {
		t.Errorf("%+v", waves)
	}
}

// The worst threshold is the one that has been missed for the longest time; of those that hold, the one that is nearest to its bound.
func TestWorst(t *testing.T) {
	at := func(n int) time.Time { return time.Unix(int64(n), 0) }
	value := func(v float64) *float64 { return &v }
	rule := func(selector, expr string) threshold.Threshold {
		r, err := threshold.Parse(selector, expr)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	rules := []threshold.Threshold{rule("connect", "p(95) < 100ms"), rule("telemetry", "rate > 10/s"), rule("twin_report", "error_rate < 1%")}
	met := func(v float64) judge.State {
		return judge.State{Verdict: threshold.Verdict{Pass: true}, Value: value(v)}
	}
	missed := func(since int) judge.State { return judge.State{Verdict: threshold.Verdict{Since: at(since)}} }
	for _, tt := range []struct {
		name   string
		states []judge.State
		want   int
	}{
		{"none", nil, -1},
		{"nearest to a bound from above", []judge.State{met(0.09), met(20), met(0.001)}, 0},
		{"nearest to a bound from below", []judge.State{met(0.01), met(10.5), met(0.001)}, 1},
		{"missed", []judge.State{met(0.0999), met(10.5), missed(9)}, 2},
		{"missed for longer", []judge.State{missed(7), met(10.5), missed(9)}, 0},
		{"missed before unsure", []judge.State{{Verdict: threshold.Verdict{CannotSay: true}}, met(10.5), missed(9)}, 2},
		{"unsure before met", []judge.State{met(0.0999), met(10.1), {Verdict: threshold.Verdict{CannotSay: true}}}, 2},
		{"not yet comes last", []judge.State{{Pending: true}, met(100), {Pending: true}}, 1},
	} {
		e := &tables.Evidence{Run: &report.Run{Totals: &metrics.Snapshot{}}, Rules: rules, Standing: &report.Standing{Thresholds: tt.states}}
		if got := tables.Of(e).Answer.Worst; got != tt.want {
			t.Errorf("%s: %d; want %d", tt.name, got, tt.want)
		}
	}
}

// What the generator uses is told with the most so far, and its limit.
func TestGeneratorNow(t *testing.T) {
	e := now(5)
	e.Generator = []metrics.Figure{
		metrics.One("twinfleet_generator_memory_bytes", "", 80e6), metrics.One("twinfleet_generator_memory_limit_bytes", "", 8e9),
		metrics.One("twinfleet_generator_cpu_ratio", "", 0.5), metrics.One("twinfleet_hub_something", "", 1),
		{Name: "twinfleet_generator_not_as_asked", Labels: []string{"stage"}, Samples: []metrics.Sample{{Labels: []string{"ramp"}, Value: 1}}},
	}
	e.Standing.Doubt = "stage ramp: late"
	e.Peaks = make(map[string]float64)
	tables.Peaks(e.Peaks, []metrics.Figure{metrics.One("twinfleet_generator_cpu_ratio", "", 0.9)})
	tables.Peaks(e.Peaks, e.Generator)
	got := tables.Of(e).Generator
	want := []tables.Measure{{Name: "processors, of this program", Now: "50 %", Most: "90 %"}, {Name: "memory", Now: "80 MB", Most: "80 MB", Limit: "8,000 MB"}}
	if fmt.Sprint(got.Rows) != fmt.Sprint(want) {
		t.Errorf("%+v; want %+v", got.Rows, want)
	}
	if len(got.Stages) != 1 || got.Stages[0].AsAsked || got.Stages[0].Asked == 0 || got.Stages[0].Why != "late" || got.Lines[0] != "stage ramp: late" {
		t.Errorf("%+v", got.Stages)
	}
}

// However many groups and reasons there are, what the page is sent every second stays small.
func TestBounded(t *testing.T) {
	rec := metrics.NewRecorder(metrics.Options{MaxGroups: 300})
	at := time.Now()
	for i := range 250 {
		group := fmt.Sprint("group-", i)
		rec.DeviceGauge(group, "connected").Add(1)
		for _, op := range []metrics.Operation{metrics.OpConnect, metrics.OpTelemetry} {
			rec.Series(op, group).Start(at, at).EndBecause(at.Add(time.Millisecond), metrics.Failed, fmt.Sprint("reason ", i))
		}
	}
	total := rec.Snapshot()
	got := tables.Of(&tables.Evidence{Run: &report.Run{Totals: total, Started: at}, Window: total, Devices: total.Devices})
	b, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Groups) > 200 || len(got.Operations) != 2 || len(b) > 200_000 {
		t.Errorf("%d groups, %d operations, %d bytes", len(got.Groups), len(got.Operations), len(b))
	}
	if got.Operations[0].Scheduled != 250 {
		t.Errorf("all groups together: %+v", got.Operations[0])
	}
}
