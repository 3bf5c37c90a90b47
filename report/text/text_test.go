package text_test

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/reporttest"
	"github.com/twinfleet/twinfleet/report/text"
)

var _ = flag.Bool("update", false, "rewrite the golden files")

func TestGolden(t *testing.T) {
	run := reporttest.Example(10).Run
	reporttest.Golden(t, "testdata/summary.txt.golden", func(w io.Writer) error { return text.Write(w, run, color.Style{}) })
}

func TestGoldenInColor(t *testing.T) {
	run := reporttest.Example(10).Run
	reporttest.Golden(t, "testdata/summary-color.txt.golden", func(w io.Writer) error { return text.Write(w, run, color.Style{Color: true}) })
}

// The summary fits one screen of 80 by 24 columns and lines, for a run with what most have; one in which much went wrong is
// not much longer, however many operations, stages and groups there are.
func TestSummaryFitsAScreen(t *testing.T) {
	lines := func(run *report.Run) []string {
		var b bytes.Buffer
		if err := text.Write(&b, run, color.Style{}); err != nil {
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
	if all := strings.Join(all, "\n"); !strings.Contains(all,
		"scheduled 1,410 = ok 1,410\n    all ok: stage ramp 705, stage hold 705, group robots 1,200, group vehicles 200\n") {
		t.Errorf("%s", all)
	}
}

// The agents of a run on many machines take a few lines, however many there are: those in trouble are seen first.
func TestGoldenWithAgents(t *testing.T) {
	for _, n := range []int{3, 100} {
		run := reporttest.Well(10)
		run.Agents = reporttest.Agents(n)
		reporttest.Golden(t, fmt.Sprintf("testdata/agents-%d.txt.golden", n), func(w io.Writer) error { return text.Write(w, run, color.Style{}) })
	}
}
