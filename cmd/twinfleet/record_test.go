package main

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

// A run whose record was asked for and is gone has not passed; it says so at once and at the end, and names no file.
func TestRecordGone(t *testing.T) {
	for outcome, want := range map[report.Outcome]int{report.Passed: codeFailed, report.Missed: codeThreshold, report.Saturated: codeSaturated, report.Interrupted: codeInterrupted, report.Failed: codeFailed} {
		t.Run(string(outcome), func(t *testing.T) {
			var said bytes.Buffer
			root := t.TempDir()
			k := &keeper{root: root, scenario: []byte("name: x\n"), log: slog.New(slog.NewTextHandler(&said, nil))}
			run := &report.Run{Name: "x", Outcome: outcome, Totals: &metrics.Snapshot{}}
			if err := k.begin(run); err != nil {
				t.Fatal(err)
			}
			second := engine.Progress{Interval: &metrics.Snapshot{}}
			k.progress(second)
			if said.Len() != 0 {
				t.Errorf("said %s of a record that is there", &said)
			}
			if err := os.RemoveAll(root); err != nil {
				t.Fatal(err)
			}
			k.progress(second)
			k.progress(second)
			if got := said.String(); strings.Count(got, "the run goes on without its record") != 1 {
				t.Errorf("said %q; want it once, at once", got)
			}
			dir := k.end(run)
			if dir != "" || exitCodeOf(run.Outcome) != want || !strings.Contains(run.Reason+strings.Join(run.Notes, ""), "the record of the run is not whole") {
				t.Errorf("folder %q, %s (%d): %s %q", dir, run.Outcome, exitCodeOf(run.Outcome), run.Reason, run.Notes)
			}
		})
	}
}
