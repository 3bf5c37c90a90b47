package report_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Every form of a report of one run.
func TestGolden(t *testing.T) {
	run := reporttest.Example(10).Run
	for name, write := range map[string]func(io.Writer) error{
		"summary.txt":       func(w io.Writer) error { return report.WriteSummary(w, run, color.Style{}) },
		"summary-color.txt": func(w io.Writer) error { return report.WriteSummary(w, run, color.Style{Color: true}) },
		"summary.json":      func(w io.Writer) error { return report.WriteJSON(w, run) },
		"junit.xml":         func(w io.Writer) error { return report.WriteJUnit(w, run) },
		"report.md":         func(w io.Writer) error { return report.WriteMarkdown(w, run) },
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", name+".golden")
		if *update {
			if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(b.Bytes(), want) {
			t.Errorf("%s (%v): %s", name, err, b.Bytes())
		}
	}
}

// The summary fits one screen of 80 by 24 columns and lines, for a run with what most have; one in which much went wrong is
// not much longer, however many operations, stages and groups there are.
func TestSummaryFitsAScreen(t *testing.T) {
	lines := func(run *report.Run) []string {
		var b bytes.Buffer
		if err := report.WriteSummary(&b, run, color.Style{}); err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.Trim(b.String(), "\n"), "\n")
	}
	run := reporttest.Example(10).Run
	run.Steps, run.Notes, run.Waves, run.Jobs, run.ServiceErrors, run.Freshness = nil, nil, nil, nil, nil, nil
	for i := range run.Totals.Queries {
		run.Totals.Queries[i].Unmet = 0
		run.Totals.Queries[i].Met = 0
	}
	for range 50 {
		run.Stages = append(run.Stages, run.Stages[1])
		run.Totals.Devices = append(run.Totals.Devices, metrics.DeviceCount{Group: fmt.Sprintf("group-%d", len(run.Stages)), State: "connected"})
	}
	if all := lines(run); len(all) > 36 {
		t.Errorf("%d lines:\n%s", len(all), strings.Join(all, "\n"))
	}
	run = reporttest.Well(10)
	all := lines(run)
	if len(all) > 24 {
		t.Errorf("%d lines:\n%s", len(all), strings.Join(all, "\n"))
	}
	if text := strings.Join(all, "\n"); !strings.Contains(text, "scheduled 1,410 = ok 1,410\n    all ok: stage ramp 705, stage hold 705, group robots 1,200, group vehicles 200\n") {
		t.Errorf("%s", text)
	}
}

// Programs can read what is written for them.
func TestMachineReadable(t *testing.T) {
	run := reporttest.Example(5).Run
	var text bytes.Buffer
	if err := report.WriteJSON(&text, run); err != nil {
		t.Fatal(err)
	}
	var back report.Summary
	dec := json.NewDecoder(&text)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&back); err != nil {
		t.Fatal(err)
	}
	if want := report.Summarize(run); !reflect.DeepEqual(back, want) {
		t.Errorf("%+v; want %+v", back, want)
	}
	text.Reset()
	if err := report.WriteJUnit(&text, run); err != nil {
		t.Fatal(err)
	}
	var suite struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Cases    []struct {
			Failure *struct{} `xml:"failure"`
		} `xml:"testcase"`
	}
	if err := xml.Unmarshal(text.Bytes(), &suite); err != nil {
		t.Fatal(err)
	}
	if suite.Tests != len(suite.Cases) || suite.Tests != 4 || suite.Failures != 1 {
		t.Errorf("%+v", suite)
	}
}

// Samples put together lose nothing.
func TestMergedSamplesAreTheWhole(t *testing.T) {
	h := reporttest.Example(31)
	for _, n := range []int{1, 2, 7, 30, 31, 100} {
		merged := h.Merged(n)
		if len(merged) > max(n, 1) {
			t.Errorf("%d samples; want at most %d", len(merged), n)
		}
		var reports uint64
		var elapsed time.Duration
		for _, s := range merged {
			reports += s.Window.Select(metrics.OpTwinReport, "").Ended()
			elapsed += s.Window.Elapsed
		}
		last := merged[len(merged)-1]
		if reports != 31*20 || elapsed != 31*time.Second || last.At != 31*time.Second || last.Window.DevicesIn("connected") != 31 {
			t.Errorf("merged to %d: %d reports in %v, the last at %v with %d devices", n, reports, elapsed, last.At, last.Window.DevicesIn("connected"))
		}
	}
}

// Records of before runs were split by stage make all reports, with what they have.
func TestOldRecords(t *testing.T) {
	run := reporttest.Example(10).Run
	run.Ran = nil
	for i := range run.Stages {
		run.Stages[i].Totals = nil
	}
	for i := range run.Totals.Series {
		run.Totals.Series[i].Reasons = nil
	}
	var b bytes.Buffer
	for _, write := range []func(io.Writer, *report.Run) error{
		func(w io.Writer, r *report.Run) error { return report.WriteSummary(w, r, color.Style{}) }, report.WriteJSON, report.WriteJUnit, report.WriteMarkdown,
	} {
		if err := write(&b, run); err != nil {
			t.Fatal(err)
		}
	}
	text := b.String()
	for _, want := range []string{"3,000 devices", "✗ 2 error: the target closed the connection  · telemetry\n", "scheduled 1,234 = ok 1,208", "| 2 | telemetry | error: the target closed the connection | – | – |"} {
		if !strings.Contains(text, want) {
			t.Errorf("the reports lack %q", want)
		}
	}
	for _, unwanted := range []string{"stage ramp", "By stage", `"ran"`} {
		if strings.Contains(text, unwanted) {
			t.Errorf("the reports have %q", unwanted)
		}
	}
}
