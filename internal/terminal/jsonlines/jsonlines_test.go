package jsonlines_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/terminal/jsonlines"
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
