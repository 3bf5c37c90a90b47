package judge

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold"
)

// The share of devices is what it was when the scope ended, and with a window the least of all seconds: the devices that
// stop after the last stage are not lost.
func TestDevicesAreJudgedBeforeTheyStop(t *testing.T) {
	for _, tt := range []struct {
		scope    threshold.Scope
		pass     bool
		observed string
	}{
		{threshold.Scope{}, true, "connected_rate = 100% (10 of 10)"},
		{threshold.Scope{Stage: "hold"}, false, "connected_rate = 40% (4 of 10)"},
		{threshold.Scope{Window: 2 * time.Second}, false, "worst connected_rate = 40% (4 of 10)"},
		{threshold.Scope{Window: 2 * time.Second, For: 4 * time.Second}, true, "worst connected_rate = 40% (4 of 10)"},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := metrics.NewRecorder(metrics.Options{})
			x, err := threshold.Parse("devices", "connected_rate > 99%")
			if err != nil {
				t.Fatal(err)
			}
			x.Scope = tt.scope
			j := New(r, []threshold.Threshold{x})
			up, lost, waiting := r.DeviceGauge("g", "connected"), r.DeviceGauge("g", "backoff"), r.DeviceGauge("g", "waiting")
			up.Add(10)
			begin := func(name string) {
				r.SetStage(name)
				j.Stage(name, r.Snapshot())
			}
			pass := func(seconds int) {
				for range seconds {
					time.Sleep(time.Second)
					j.Sample(r.Snapshot())
				}
			}
			begin("hold")
			pass(5)
			up.Add(-6)
			lost.Add(6)
			pass(3)
			begin("back")
			up.Add(6)
			lost.Add(-6)
			pass(5)
			begin("")
			up.Add(-10)
			waiting.Add(10)
			if v := j.End(r.Snapshot())[0]; v.Pass != tt.pass || v.Observed != tt.observed {
				t.Errorf("%+v; want %v, %s", v, tt.pass, tt.observed)
			}
		})
	}
}
