package outside

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/files"
	"github.com/twinfleet/twinfleet/report/record"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

const smoke = `
name: outside
fleet:
  groups: [{name: robots, count: 20, reported: {connectivity: {type: {cellular: 1, wifi: 1}}}, telemetry: {every: 200ms}}]
stages:
  - {name: ramp, duration: 500ms, devices: 100%}
  - {name: hold, duration: 1s}
thresholds: {connect: "count == 20", twin_report: "success_rate > 99%"}
generator: {saturated: warn}
`

// recorder keeps a run on disk: a report.Observer of the program's own.
type recorder struct {
	root string
	into *record.Writer
}

func (r *recorder) Begin(run *report.Run) (err error) {
	r.into, err = record.Create(r.root, run, []byte(smoke))
	return err
}

func (r *recorder) Event(e report.Event)      { r.into.Event(e) }
func (r *recorder) Sample(s report.Sample)    { r.into.Sample(s) }
func (r *recorder) End(run *report.Run) error { return r.into.End(run) }

// A program runs a scenario, reads its verdict and writes its reports.
func TestRunAScenarioAndReport(t *testing.T) {
	s, err := scenario.Decode("outside.yaml", []byte(smoke), scenario.Options{Set: []string{"seed=7"}})
	if err != nil {
		t.Fatal(err)
	}
	keep := &recorder{root: t.TempDir()}
	run := engine.New(engine.Options{
		Scenario: s, Recorder: metrics.NewRecorder(metrics.Options{}), Observers: []report.Observer{keep}, AllowSaturated: true,
	}).Run(t.Context())
	if run.Outcome != report.Passed || run.Devices != 20 || len(run.Stages) != 2 || run.Seed != 7 {
		t.Fatalf("%s: %s; %d devices, %d stages", run.Outcome, run.Reason, run.Devices, len(run.Stages))
	}
	if x := run.Totals.Find(metrics.OpTwinReport, "robots"); x.Count(metrics.OK) != 20 {
		t.Errorf("%d reports were acknowledged; want one of each device", x.Count(metrics.OK))
	}
	history, err := files.Write(keep.into.Dir())
	if err != nil || history.Run.Outcome != report.Passed {
		t.Fatalf("writing reports: %v", err)
	}
	page, err := os.ReadFile(filepath.Join(keep.into.Dir(), files.HTML))
	if err != nil || !strings.Contains(string(page), "outside") {
		t.Errorf("the page of the run: %v", err)
	}
}
