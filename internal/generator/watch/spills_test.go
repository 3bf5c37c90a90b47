package watch

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/generator"
	"github.com/twinfleet/twinfleet/metrics"
)

// idle is a generator with nothing to do.
type idle struct{}

func (idle) Sample(int, time.Duration) (generator.Sample, error) {
	return generator.Sample{Elapsed: time.Second, Cores: 2}, nil
}

// What a stage did not deliver in time starts in the next one, of which nothing can be said then. The stage after that, and
// one that follows a stage which was delivered, have nothing to do with it.
func TestLateLoadSpillsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := metrics.NewRecorder(metrics.Options{})
		w, err := New(Options{Recorder: rec, Sampler: idle{}})
		if err != nil {
			t.Fatal(err)
		}
		connect := rec.Series(metrics.OpConnect, "g")
		stage := func(name string) time.Time {
			at := rec.SetStage(name)
			if err := w.Stage(name, rec.Snapshot(), 0); err != nil {
				t.Fatal(err)
			}
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
		for name, want := range map[string]string{
			"calm": "", "ramp": "100 of 100 connect operations started late",
			"hold": "100 operations of the stage before it started in it: stage ramp: ", "end": "",
		} {
			if got := w.Doubt(name); !strings.Contains(got, want) || (want == "") != (got == "") {
				t.Errorf("stage %s: %q; want %q", name, got, want)
			}
		}
	})
}
