package files_test

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/junit"
	"github.com/twinfleet/twinfleet/report/markdown"
	"github.com/twinfleet/twinfleet/report/reporttest"
	"github.com/twinfleet/twinfleet/report/summary"
	"github.com/twinfleet/twinfleet/report/text"
)

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
		func(w io.Writer, r *report.Run) error { return text.Write(w, r, color.Style{}) }, summary.Write, junit.Write, markdown.Write,
	} {
		if err := write(&b, run); err != nil {
			t.Fatal(err)
		}
	}
	text := b.String()
	for _, want := range []string{
		"3,000 devices", "✗ 2 error: the target closed the connection  · telemetry\n", "scheduled 1,234 = ok 1,208",
		"| 2 | telemetry | error: the target closed the connection | – | – |",
	} {
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
