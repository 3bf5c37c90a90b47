package judge_test

import (
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/judge"
	"github.com/twinfleet/twinfleet/metrics/threshold"
)

// A stage is judged by what was intended in it, whenever that ends.
func ExampleJudge() {
	errors, err := threshold.Parse("connect", "errors == 0")
	if err != nil {
		fmt.Println(err)
		return
	}
	errors.Scope.Stage = "hold"
	rec := metrics.NewRecorder(metrics.Options{})
	j := judge.New(rec, []threshold.Threshold{errors})
	connects := rec.Series(metrics.OpConnect, "robots")

	rec.SetStage("ramp")
	j.Stage("ramp", rec.Snapshot())
	now := time.Now()
	connects.Start(now, now).End(now.Add(time.Second), metrics.Refused)

	rec.SetStage("hold")
	j.Stage("hold", rec.Snapshot())
	now = time.Now()
	connects.Start(now, now).End(now.Add(time.Second), metrics.OK)
	for range 3 { // in a run: once a second
		for _, missed := range j.Sample(rec.Snapshot()) {
			fmt.Println("ends the run:", missed.Threshold)
		}
	}

	rec.SetStage("")
	j.Stage("", rec.Snapshot())
	for _, v := range j.End(rec.Snapshot()) {
		fmt.Println(v.Pass, v.Threshold, "|", v.Observed)
	}
	// Output: true connect: errors == 0 (stage hold) | errors = 0 of 1
}
