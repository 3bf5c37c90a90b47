package scenario_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/scenario"
)

const shaped = `
fleet:
  groups:
    - {name: robots, count: 80, reported: {connectivity: {type: wifi}}, telemetry: {}}
    - {name: points, count: 20, telemetry: {}}
stages:
  - {name: day, duration: 2m, devices: {points: [[30s, 50%], [1m, 100%], [1m, 80], [110s, 20%]]}, report_rate: {points: [[0s, 10/s], [30s, 100/s], [2m, 20/s]]}}
  - {name: tide, duration: 2m, devices: {sine: {mean: 50%, amplitude: 30%, period: 1m, phase: 75%}}, telemetry_rate: {sine: {mean: 100/s, amplitude: 50/s, period: 40s}}}
  - {name: come, duration: 1m, devices: 100%, connect_rate: {points: [[0s, 0/s], [30s, 5/s], [1m, 0/s]]}}
  - {name: some, duration: 1m, devices: {points: 5}}
`

func TestShapes(t *testing.T) {
	sc := decode(t, shaped, scenario.Options{})
	day, tide, come, some := &sc.Stages[0], &sc.Stages[1], &sc.Stages[2], &sc.Stages[3]
	for _, x := range []struct {
		what      string
		got, want float64
	}{
		{"devices of day at 0s, from those before", day.DeviceCurve(4).At(0), 4},
		{"at 15s, on the way to the first point", day.DeviceCurve(0).At(15 * time.Second), 25},
		{"at 1m, after the jump", day.DeviceCurve(0).At(time.Minute), 80},
		{"at the end", day.DeviceCurve(0).At(2 * time.Minute), 20},
		{"that it ends with", float64(day.Devices), 20},
		{"at the most", float64(day.MostDevices(0)), 100},
		{"reports at 15s", day.ReportRate.Over(day.Duration).At(15 * time.Second), 55},
		{"at the peak", day.ReportRate.Peak(), 100},
		{"at the end", day.ReportRate.To, 20},
		{"devices of tide at 0s", tide.DeviceCurve(20).At(0), 20},
		{"at the most", float64(tide.MostDevices(20)), 80},
		{"that it ends with", float64(tide.Devices), 20},
		{"telemetry at the peak", tide.TelemetryRate.Peak(), 150},
		{"devices that come at the peak", come.ConnectRate.Peak(), 5},
		{"devices of a group called points", float64(some.ByGroup[1]), 5},
	} {
		if math.Abs(x.got-x.want) > 1e-6 {
			t.Errorf("%s: %v; want %v", x.what, x.got, x.want)
		}
	}
	for _, x := range []struct{ got, want string }{
		{day.ReportRate.String(), "{points: [[0s, 10/s], [30s, 100/s], [2m, 20/s]]}"},
		{tide.TelemetryRate.String(), "{sine: {mean: 100/s, amplitude: 50/s, period: 40s, phase: 0%}}"},
		{day.ReportRate.Words(func(x float64) string { return fmt.Sprint(x, "/s") }), "10/s, then 100/s, then 20/s"},
		{tide.TelemetryRate.Words(func(x float64) string { return fmt.Sprint(x, "/s") }), "100/s ± 50/s in waves of 40s"},
		{day.CourseWords(), "50, then 100, then 80, then 20"},
		{tide.CourseWords(), "50 ± 30 in waves of 1m"},
	} {
		if got := strings.ReplaceAll(x.got, " /s", "/s"); got != x.want {
			t.Errorf("%s; want %s", got, x.want)
		}
	}
}

// A scenario of another size keeps its shapes: at the same share of a stage there is the same share of the fleet, and the record of such a
// run, decoded without another size, is the same.
func TestShapesOfAnotherSize(t *testing.T) {
	scaled := strings.Join(decode(t, shaped, scenario.Options{Devices: 50}).Scaled, "\n")
	if !strings.Contains(scaled, "rates of the whole fleet stay as they are: report_rate of day, telemetry_rate of tide") {
		t.Errorf("what was scaled:\n%s", scaled)
	}
	rapid.Check(t, func(rt *rapid.T) {
		before := decode(t, shaped, scenario.Options{})
		o := scenario.Options{Devices: rapid.IntRange(2, 5000).Draw(rt, "devices"), Duration: time.Duration(rapid.IntRange(60, 10_000).Draw(rt, "seconds")) * time.Second}
		sc := decode(t, shaped, o)
		again := decode(t, string(sc.Source), scenario.Options{})
		at, devices, second := 0, 0, 0
		for i := range sc.Stages {
			x, y, z := &before.Stages[i], &sc.Stages[i], &again.Stages[i]
			for _, share := range []float64{0, 0.1, 0.3, 0.45, 0.8, 0.99} {
				when := func(t *scenario.Stage) time.Duration { return time.Duration(share * float64(t.Duration)) }
				if c := x.DeviceCurve(at); c != nil {
					want := c.At(when(x)) / 100 * float64(o.Devices)
					if got := y.DeviceCurve(devices).At(when(y)); math.Abs(got-want) > 2+0.01*want {
						rt.Errorf("stage %s has %v devices of %d after %v of it; want %v", x.Name, got, o.Devices, share, want)
					}
					if got, want := z.DeviceCurve(second).At(when(z)), y.DeviceCurve(devices).At(when(y)); math.Abs(got-want) > 1e-6 {
						rt.Errorf("stage %s of the record has %v devices after %v of it; want %v", x.Name, got, share, want)
					}
				}
				if x.ReportRate != nil {
					if got, want := y.ReportRate.Over(y.Duration).At(when(y)), x.ReportRate.Over(x.Duration).At(when(x)); math.Abs(got-want) > 0.5 {
						rt.Errorf("stage %s asks for %v/s after %v of it; want %v/s", x.Name, got, share, want)
					}
				}
			}
			at, devices, second = x.Devices, y.Devices, z.Devices
			if devices != second || y.Duration != z.Duration {
				rt.Errorf("stage %s of the record has %d devices and lasts %s; want %d and %s", x.Name, second, z.Duration, devices, y.Duration)
			}
		}
	})
}

// Whatever a shape says, a scenario with it is refused or has a rate that never goes below 0 and a fleet that has the devices.
func FuzzShapes(f *testing.F) {
	for _, text := range []string{
		"{points: [[0s, 1/s], [5s, 2/s]]}", "{sine: {mean: 5/s, amplitude: 5/s, period: 1s, phase: 25%}}", "{points: [[0s, 1/s]], sine: {}}", "0/s..5/s", "{points: [[10s, 50%]]}",
		"{sine: {mean: 50%, amplitude: 50%, period: 7s}}", "{points: [[0s, 1], [0s, 9], [9s, 0%]]}", "{points: 3}",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, key := range []string{"devices", "report_rate", "connect_rate"} {
			more := ""
			if key == "connect_rate" {
				more = ", devices: 7"
			}
			sc, err := scenario.Decode("fuzz.yaml", []byte("fleet: {groups: [{name: robots, count: 9, reported: {connectivity: {type: wifi}}}]}\nstages: [{name: s, duration: 10s, "+key+": "+text+more+"}]\n"),
				scenario.Options{Lookup: func(string) (string, bool) { return "", false }})
			if err != nil {
				continue
			}
			for i := range sc.Stages {
				s := &sc.Stages[i]
				for k := range 101 {
					at := s.Duration * time.Duration(k) / 100
					if c := s.DeviceCurve(0); c != nil && (c.At(at) < -1e-9 || c.At(at) > 9+1e-9) {
						t.Fatalf("%s: %v devices at %v", text, c.At(at), at)
					}
					if r := s.ReportRate; r != nil && (r.Over(s.Duration).At(at) < -1e-9 || r.Over(s.Duration).At(at) > r.Peak()+1e-9) {
						t.Fatalf("%s: %v/s at %v, at most %v/s", text, r.Over(s.Duration).At(at), at, r.Peak())
					}
				}
			}
		}
	})
}
