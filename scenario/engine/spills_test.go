package engine

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario"
)

// What a stage did not deliver in time starts in the next one, of which nothing can be said then. The stage after that, and
// one that follows a stage which was delivered, have nothing to do with it.
func TestLateLoadSpillsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc, err := scenario.Decode("s.yaml", []byte("fleet: {groups: [{name: g, count: 1, telemetry: {every: 1s}}]}\nstages: [{name: ramp, duration: 1s, devices: 1}]\n"), scenario.Options{})
		if err != nil {
			t.Fatal(err)
		}
		rec := metrics.NewRecorder(metrics.Options{})
		e := New(Options{Scenario: sc, Recorder: rec, Sampler: idle{}})
		if e.self, err = newSelf(e.opts.Sampler, sc); err != nil {
			t.Fatal(err)
		}
		connect := rec.Series(metrics.OpConnect, "g")
		stage := func(name string) time.Time {
			at := rec.SetStage(name)
			e.spills.begin(rec, name)
			e.self.judge.Stage(name)
			time.Sleep(time.Second)
			return at
		}
		calm := stage("calm")
		for range 100 {
			connect.Start(calm, calm).End(calm, metrics.OK)
		}
		ramp := stage("ramp")
		hold := stage("hold")
		for range 100 {
			connect.Start(ramp, time.Now()).End(time.Now(), metrics.OK) // a second late
			connect.Start(hold, hold).End(hold, metrics.OK)
		}
		end := stage("end")
		connect.Start(end, end).End(end, metrics.OK)
		for name, want := range map[string]string{"calm": "", "ramp": "100 of 100 connect operations started late", "hold": "100 operations of the stage before it started in it: stage ramp: ", "end": ""} {
			if got := e.doubt(name); !strings.Contains(got, want) || (want == "") != (got == "") {
				t.Errorf("stage %s: %q; want %q", name, got, want)
			}
		}
	})
}
