package main

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
)

// A record that is gone is told of at once, once, and at the end, and no file of it is named.
func TestRecordGone(t *testing.T) {
	var said bytes.Buffer
	root := t.TempDir()
	k := &keeper{root: root, scenario: []byte("name: x\n"), log: slog.New(slog.NewTextHandler(&said, nil))}
	run := &report.Run{Name: "x", Outcome: report.Passed, Totals: &metrics.Snapshot{}}
	if err := k.Begin(run); err != nil {
		t.Fatal(err)
	}
	second := report.Sample{Window: &metrics.Snapshot{}}
	k.Sample(second)
	if said.Len() != 0 {
		t.Errorf("said %s of a record that is there", &said)
	}
	if err := os.RemoveAll(root); err != nil {
		t.Fatal(err)
	}
	k.Sample(second)
	k.Sample(second)
	if got := said.String(); strings.Count(got, "the run goes on without its record") != 1 {
		t.Errorf("said %q; want it once, at once", got)
	}
	if err := k.End(run); err == nil || !strings.Contains(err.Error(), "the record of the run is not whole") {
		t.Errorf("the end: %v", err)
	}
	if dir := k.folder(); dir != "" {
		t.Errorf("folder %q", dir)
	}
}
