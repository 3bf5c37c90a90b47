package answer_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity/agents"
	"github.com/twinfleet/twinfleet/internal/capacity/answer"
	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/internal/fit"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// record is a trial of a target that serves so much a second, and takes the longer the nearer it comes.
func record(n int, phase search.Phase, load, serves float64) trial.Record {
	r := trial.Record{
		Number: n, Phase: phase, Load: load, Verdict: search.Held, Seconds: 70, Devices: 200, Offered: load, Done: min(load, serves), Settled: true,
		P50: 0.004 / max(0.02, 1-load/serves/1.02), P99: 0.02 / max(0.02, 1-load/serves/1.02), Dir: "20261127-120000-plant",
	}
	if load > serves {
		r.Verdict, r.Limit, r.Class, r.Why = search.Missed, trial.ByThrottle, "twin updates", "twin_report: p(99) < 500ms (stage hold): p(99) = 3.01s"
		r.Shed, r.P50, r.P99, r.Drained = 0.02, 2.4, 3.01, true
	}
	return r
}

func example(end search.End) *answer.Answer {
	a := &answer.Answer{
		Scenario: "plant", Target: "embedded hub", Tier: "S1, 1 unit", Vary: trial.ReportRate, Seed: 7, Version: "v1.2.3", Started: time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC),
		Own: 20, Thresholds: []string{"twin_report: p(99) < 500ms (stage hold)"}, Notes: []string{"beside the scenario's thresholds a load is held only with twin_report: throttled_rate < 0.1%"},
		Dir: "runs/capacity-plant-20261127-120000",
	}
	const serves = 50
	loads := []float64{20, 40, 80, 56.57, 47.57, 51.88, 49.68, 51.88, 49.68}
	for i, load := range loads {
		phase := search.Narrow
		switch {
		case i < 3:
			phase = search.Step
		case i > 6:
			phase = search.Confirm
		}
		a.Trials = append(a.Trials, record(i+1, phase, load, serves))
	}
	a.Answer = search.Answer{End: end, Held: 49.68, Missed: 51.88, Confidence: 0.94, Confirmed: true}
	a.Bound, a.Day = 50, &answer.Day{Quota: 400_000, Uses: 4_292_352, Load: 4.63, RunsOut: 8051, Decides: true}
	switch end {
	case search.Generator:
		a.Trials = a.Trials[:2]
		a.Answer = search.Answer{End: end, Held: 40, Over: 80}
		a.Why, a.Day = "stage hold was not delivered as asked: 812 of 2400 twin_report operations started late, by up to 1.2 s: this process used all of its processors", nil
		a.Need = agents.Of(agents.Question{
			Load: 80, Devices: 200, Operations: 80, Cores: 2, Here: true, Hub: true,
			Uses:  []trial.Use{{Processors: 1.9, Cores: 2, Short: []report.CauseKind{report.CauseProcess}}},
			Cost:  agents.Cost{Load: 40, Delivered: true, Operations: 40, Processors: 1.8, HubShare: 0.25},
			Alone: fit.Room{Devices: 19_000, By: "20,000 descriptors"}, Room: func(int) fit.Room { return fit.Room{Devices: 19_000, By: "20,000 descriptors"} },
		})
	case search.Exhausted:
		a.Trials = a.Trials[:2]
		a.Answer = search.Answer{End: end, Held: 40, Over: 80}
	case search.AtLeast:
		a.Trials = a.Trials[:2]
		a.Answer, a.Day = search.Answer{End: end, Held: 40, Confirmed: true}, nil
	case search.Below:
		a.Trials = a.Trials[2:3]
		a.Answer, a.Day = search.Answer{End: end, Missed: 80}, nil
	case search.Stopped:
		a.Trials = a.Trials[:5]
		a.Answer, a.Why, a.Day = search.Answer{End: end, Held: 47.57, Missed: 56.57, Confidence: 0.8}, "its time was up", nil
	case search.Unstable:
		a.Trials[8].Verdict = search.Missed
	case answer.Changed:
		a.Why, a.Day = "the target is not what it was: 20 reports/s took longer and longer, 4 ms at first and 31 ms in the end", nil
	case answer.Unreachable:
		a.Trials, a.Answer, a.Day = nil, search.Answer{End: end}, nil
		a.Why = "the target cannot be loaded: no device ever connected: nothing listens at the target (1,036 of 1,036)"
	}
	a.Complete()
	return a
}

// Every end of a search is told in a way that a person can act on.
func TestForms(t *testing.T) {
	for _, end := range []search.End{search.Found, search.AtLeast, search.Below, search.Generator, search.Exhausted, search.Unstable, search.Stopped, answer.Changed, answer.Unreachable} {
		a := example(end)
		for ext, write := range map[string]func(io.Writer) error{
			"txt": func(w io.Writer) error { return a.Text(w, color.Style{}) }, "md": a.Markdown,
		} {
			golden(t, string(end)+"."+ext, write)
		}
	}
	golden(t, "found.json", example(search.Found).Write)
	golden(t, "found.html", func(w io.Writer) error { return example(search.Found).HTML(w, "") })
}

func golden(t *testing.T, name string, write func(io.Writer) error) {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("%s is not as kept (-update rewrites it):\n%s", name, b.String())
	}
}

// JSON has no infinity, and what is read back is what was written.
func TestJSON(t *testing.T) {
	a := example(search.Found)
	var b bytes.Buffer
	if err := a.Write(&b); err != nil {
		t.Fatal(err)
	}
	var back answer.Answer
	if err := json.Unmarshal(b.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	if err := back.Write(&again); err != nil || again.String() != b.String() {
		t.Errorf("%v; read back:\n%s", err, again.String())
	}
}

// A page is one file that needs nothing else; nothing in a scenario's name is markup. A live one loads itself anew.
func TestPage(t *testing.T) {
	a := example(search.Found)
	a.Scenario = "<script>x</script>"
	var b bytes.Buffer
	if err := a.HTML(&b, "trial 3"); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, no := range []string{"<script", "src=\"http", "NaN", "Inf"} {
		if strings.Contains(page, no) {
			t.Errorf("the page has %q", no)
		}
	}
	for _, yes := range []string{`http-equiv="refresh"`, "trial 3", "<svg", "49.68 reports/s hold"} {
		if !strings.Contains(page, yes) {
			t.Errorf("the page lacks %q", yes)
		}
	}
}

// A curve of a known law gives its maximum; one that a hard limit cuts gives none that is far from the limit.
func TestPrediction(t *testing.T) {
	law := func(n float64) float64 { return n / (1 + 0.001*(n-1) + 0.00001*n*(n-1)) }
	a := &answer.Answer{Vary: trial.Devices}
	for i, n := range []float64{10, 20, 40, 80, 160, 320, 500} {
		a.Trials = append(a.Trials, trial.Record{Number: i + 1, Load: n, Verdict: search.Held, Done: law(n), P50: 0.01, P99: 0.02})
	}
	a.Complete()
	p := a.Prediction
	if p == nil || p.AtLoad.Estimate < 300 || p.AtLoad.Estimate > 332 || p.Maximum.Low > law(316) || p.Maximum.High < law(316) {
		t.Errorf("%+v %s; the peak is at 316", p, a.NoFit)
	}
}

// Of the scenario's own load nothing is said that no trial tells.
func TestOwnLoad(t *testing.T) {
	for _, x := range []struct {
		own, held, missed float64
		says              string
	}{
		{20, 50, 52, "2.5 times as much holds"},
		{20, 50, 0, "at least 2.5 times as much holds"},
		{20, 20, 0, "that holds"},
		{20, 5, 0, "that was not tried"},
		{20, 5, 40, "that was not tried"},
		{20, 5, 20, "that does not hold, 25 % of it does"},
		{20, 5, 6, "that does not hold, 25 % of it does"},
	} {
		a := &answer.Answer{Vary: trial.ReportRate, Own: x.own, Answer: search.Answer{End: search.Stopped, Held: x.held, Missed: x.missed}}
		if lines := strings.Join(a.Lines(), "\n"); !strings.Contains(lines, "asks for 20/s: "+x.says) {
			t.Errorf("own %g, held %g, missed %g:\n%s\nwant %q", x.own, x.held, x.missed, lines, x.says)
		}
	}
}

// What a target says of why it cannot be loaded is text in a comment.
func TestHostileTarget(t *testing.T) {
	a := example(answer.Unreachable)
	a.Trials = append(a.Trials, record(1, search.Step, 10, 5))
	a.Why = "it says"
	reporttest.Hostile(a)
	var b strings.Builder
	if err := a.Markdown(&b); err != nil {
		t.Fatal(err)
	}
	reporttest.PlainMarkdown(t, b.String())
}
