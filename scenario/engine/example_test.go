package engine_test

import (
	"context"
	"fmt"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

// A program runs a scenario against the hub in its own process, is told of what happens, and reads the verdict.
func Example() {
	s, err := scenario.Decode("example.yaml", []byte(`
fleet: {groups: [{name: robots, count: 3, reported: {connectivity: {type: wifi}}}]}
stages: [{name: up, devices: 100%, steps: [{await: {connected: 100%, reported: 100%}}]}]
thresholds: {twin_report: "count == 3"}
`), scenario.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	told := report.Funcs{OnEvent: func(e report.Event) {
		if e.Kind == report.KindTarget {
			fmt.Println("the target is open:", e.OK)
		}
	}}
	run := engine.New(engine.Options{
		Scenario: s, Recorder: metrics.NewRecorder(metrics.Options{}), Observers: []report.Observer{told}, AllowSaturated: true,
	}).Run(context.Background())
	fmt.Println(run.Outcome, run.Devices, run.Totals.Find(metrics.OpTwinReport, "robots").Count(metrics.OK))
	// Output:
	// the target is open: true
	// passed 3 3
}
