package vain_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/verdict/vain"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
)

// A run in which no device was due is no pass when its stages have devices, unless somebody ended a stage by hand.
func TestNobodyDue(t *testing.T) {
	paused := metrics.NewRecorder(metrics.Options{})
	paused.Series(metrics.OpConnect, "robots").Drop(time.Now(), metrics.DropPaused)
	serving := metrics.NewRecorder(metrics.Options{})
	serving.Series(metrics.OpQuery, "all").Start(time.Now(), time.Now()).End(time.Now(), metrics.OK)
	for _, tt := range []struct {
		name   string
		rec    *metrics.Recorder
		stages []int // devices of each
		byHand bool
		want   string
	}{
		{"none due", metrics.NewRecorder(metrics.Options{}), []int{0, 3}, false, "no device was ever due to connect, although stage s1 has 3 devices"},
		{"dropped on purpose", paused, []int{1}, false, "no device was ever due to connect, although stage s0 has 1 device"},
		{"ended by hand", metrics.NewRecorder(metrics.Options{}), []int{3}, true, ""},
		{"nothing asked for", metrics.NewRecorder(metrics.Options{}), []int{0, -1}, false, "nothing was asked of the target: no stage has devices, and the service side has nothing to do"},
		{"the service side alone", serving, []int{0, -1}, false, ""},
	} {
		sc := &scenario.Scenario{}
		for i, n := range tt.stages {
			sc.Stages = append(sc.Stages, scenario.Stage{Name: fmt.Sprintf("s%d", i), Devices: n})
		}
		e := &vain.Evidence{Scenario: sc, Run: &report.Run{Totals: tt.rec.Snapshot()}}
		if tt.byHand {
			e.Run.Interventions = report.Interventions{{Stage: "s0", Act: report.ActEnded}}
		}
		if got := e.Nobody(); got != tt.want {
			t.Errorf("%s: %q; want %q", tt.name, got, tt.want)
		}
	}
}
