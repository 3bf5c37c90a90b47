package jsonlines_test

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/terminal/jsonlines"
	"github.com/twinfleet/twinfleet/internal/terminal/runstate"
	"github.com/twinfleet/twinfleet/internal/terminal/terminaltest"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/reporttest"
	"github.com/twinfleet/twinfleet/report/summary"
)

// Every line for programs is an object that says what it is; the last one is summary.json.
func TestJSON(t *testing.T) {
	var b bytes.Buffer
	j := jsonlines.New(&b, terminaltest.Plan())
	terminaltest.Play(terminaltest.Plan(), 2, j.Event, j.Sample)
	run := reporttest.Example(5).Run
	if err := j.Summary(run, "runs/one"); err != nil {
		t.Fatal(err)
	}
	terminaltest.Golden(t, "lines.json", b.String())
	var kinds []string
	for line := range strings.Lines(b.String()) {
		var x struct {
			Type    string
			Summary *summary.Summary
		}
		if err := json.Unmarshal([]byte(line), &x); err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, x.Type)
		if x.Type == "summary" && (x.Summary == nil || x.Summary.Outcome != report.Missed || len(x.Summary.Operations) != len(run.Totals.Series)) {
			t.Errorf("%+v", x.Summary)
		}
	}
	if kinds[0] != "start" || kinds[len(kinds)-1] != "summary" || !slices.Contains(kinds, "progress") || !slices.Contains(kinds, "event") {
		t.Errorf("%v", kinds)
	}
}

// How a run stands is in each line of progress, in every condition, with the names that docs/terminal.md has.
func TestStanding(t *testing.T) {
	var b bytes.Buffer
	worlds := terminaltest.Worlds()
	for _, name := range []string{"holding", "missing", "failing", "cannot-say", "rollouts", "agents"} {
		var line bytes.Buffer
		p := worlds[name]().LastSample()
		never := math.Inf(1)
		p.Standing.Thresholds[2].Value = &never // JSON has no word for it
		jsonlines.New(&line, runstate.Plan{}).Sample(p)
		var x struct {
			Standing json.RawMessage `json:"standing"`
		}
		_, second, _ := strings.Cut(line.String(), "\n")
		if err := json.Unmarshal([]byte(second), &x); err != nil {
			t.Fatal(name, err)
		}
		if err := json.Indent(&b, x.Standing, "", "  "); err != nil {
			t.Fatal(name, err)
		}
		b.WriteByte('\n')
	}
	terminaltest.Golden(t, "standing.json", b.String())
}
