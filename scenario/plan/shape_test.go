package plan_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/plan"
)

func planned(t interface {
	Helper()
	Fatal(...any)
}, text string,
) (*scenario.Scenario, *plan.Plan) {
	t.Helper()
	sc, err := scenario.Decode("shape.yaml", []byte(text), scenario.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.Make(sc, plan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return sc, p
}

// shapes of a rate up to 100/s over a minute.
func rateShapes(unit string) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		if rapid.Bool().Draw(t, "wave") {
			mean := rapid.IntRange(1, 50).Draw(t, "mean")
			return fmt.Sprintf("{sine: {mean: %d%s, amplitude: %d%s, period: %ds, phase: %d%%}}", mean, unit, rapid.IntRange(0, mean).Draw(t, "amplitude"), unit,
				rapid.IntRange(2, 90).Draw(t, "period"), rapid.IntRange(0, 100).Draw(t, "phase"))
		}
		var points []string
		at := 0
		for range rapid.IntRange(1, 6).Draw(t, "points") {
			points = append(points, fmt.Sprintf("[%ds, %d%s]", at, rapid.IntRange(0, 100).Draw(t, "value"), unit))
			at = min(60, at+rapid.IntRange(0, 30).Draw(t, "gap"))
		}
		return "{points: [" + strings.Join(points, ", ") + "]}"
	})
}

// The peak of a rate is found wherever in the stage it is, and no second of the run has more; the total is what becomes due.
func TestPeaksOfShapes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sc, p := planned(t, "fleet: {groups: [{name: robots, reported: {connectivity: {type: wifi}}}]}\nstages: [{name: s, duration: 60s, devices: 1, report_rate: "+
			rateShapes("/s").Draw(t, "shape")+"}]\n")
		var seconds [60]float64
		total := 0.0
		for at := range sc.Reports(0) {
			seconds[at/time.Second]++
			total++
		}
		busiest, most := 0.0, 0.0
		for _, n := range seconds {
			busiest = max(busiest, n)
		}
		c := sc.Stages[0].ReportRate.Over(time.Minute)
		for at := time.Duration(0); at < time.Minute; at += 10 * time.Millisecond {
			most = max(most, c.At(at))
		}
		l := p.Find(metrics.OpTwinReport)
		const arriving = 1 // that every device reports when it connects
		if most == 0 {
			return
		}
		if l.Peak < busiest-1 || math.Abs(l.Peak-arriving-most) > 1+0.05*most {
			t.Errorf("a peak of %v/s; the busiest second has %v, and the rate goes up to %v", l.Peak, busiest, most)
		}
		if math.Abs(l.Total-total-arriving) > 1e-9 {
			t.Errorf("%v in all; %v are due", l.Total, total+arriving)
		}
	})
}

// Devices that come and go by a shape: how many there are at the most, how many connects that are, and how many in the busiest second, as one
// counts them step by step.
func TestDevicesOfShapes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sc, p := planned(t, "fleet: {groups: [{name: robots, count: 100}]}\nstages: [{name: s, duration: 60s, devices: "+rateShapes("").Draw(t, "shape")+"}]\n")
		count, most, ups := 0, 0, []time.Duration{}
		for step := range sc.Stages[0].DeviceCurve(0).Steps(0) {
			if step.Count > count {
				ups = append(ups, step.At)
			}
			count = step.Count
			most = max(most, count)
		}
		busiest, first := 0, 0
		for i, at := range ups {
			for ups[first] <= at-time.Second {
				first++
			}
			busiest = max(busiest, i-first+1)
		}
		stage := p.Stages[0]
		if max(stage.Most, stage.From, stage.To) != most || stage.To != count || p.Peak != most || sc.Stages[0].Devices != count {
			t.Errorf("up to %d devices, and %d at the end; counted are %d and %d", max(stage.Most, stage.To), stage.To, most, count)
		}
		l := p.Find(metrics.OpConnect)
		if l == nil {
			if len(ups) > 0 {
				t.Errorf("no device connects; counted are %d", len(ups))
			}
			return
		}
		if l.Total != float64(len(ups)) {
			t.Errorf("%v connects; counted are %d", l.Total, len(ups))
		}
		if l.Peak < float64(busiest)-2 || l.Peak > float64(busiest)+2+0.1*float64(busiest) {
			t.Errorf("%v connects in the busiest second; counted are %d", l.Peak, busiest)
		}
	})
}

// What a purchase must carry: no window of a shaped rate has more than its bursts say.
func TestBurstsCoverShapes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sc, p := planned(t, "fleet: {groups: [{name: robots, telemetry: {}}]}\nstages: [{name: s, duration: 60s, devices: 1, telemetry_rate: "+rateShapes("/s").Draw(t, "shape")+"}]\n")
		c := sc.Stages[0].TelemetryRate.Over(time.Minute)
		for _, class := range p.Need.Classes {
			if class.Class != plan.ClassTelemetry {
				continue
			}
			b := class.Stages[0].Bursts[0]
			if b.Rises {
				t.Error("a shape is taken for a ramp")
			}
			for w := 1; w <= 60; w++ {
				most := 0.0
				for at := 0; at+w <= 60; at++ {
					most = max(most, c.Integral(time.Duration(at+w)*time.Second)-c.Integral(time.Duration(at)*time.Second))
				}
				covered := b.Peak*min(b.Seconds, float64(w)) + b.Mean*max(0, float64(w)-b.Seconds)
				if most > covered+1.5+0.01*covered {
					t.Errorf("%v come within %ds; the burst is %v/s for %vs over %v/s, which are %v", most, w, b.Peak, b.Seconds, b.Mean, covered)
				}
			}
		}
	})
}

// A plateau is as long as it is, a state in which a run could stay is not one that only passes by, and a fleet that is gone in the end was there.
func TestStateOfShapes(t *testing.T) {
	_, p := planned(t, "fleet: {groups: [{name: robots, count: 100, telemetry: {every: 10s}}]}\nstages:\n"+
		"  - {name: day, duration: 10m, devices: {points: [[1m, 100%], [9m, 100%], [10m, 0%]]}}\n")
	if got := p.Steady.String(); got != "with the 100 devices that stage day has at the most" || p.Find(metrics.OpTelemetry).Steady != 10 {
		t.Errorf("a day %s, with %v/s", got, p.Find(metrics.OpTelemetry).Steady)
	}
	_, p = planned(t, "fleet: {groups: [{name: robots, count: 100, telemetry: {}}]}\nstages:\n"+
		"  - {name: up, duration: 1m, devices: 100%}\n  - {name: load, duration: 10m, telemetry_rate: {points: [[0s, 10/s], [4m, 10/s], [4m, 100/s], [5m, 100/s], [5m, 10/s]]}}\n")
	for _, c := range p.Need.Classes {
		if c.Class == plan.ClassTelemetry {
			if b := c.Stages[len(c.Stages)-1].Bursts[0]; b.Peak != 100 || math.Abs(b.Seconds-60) > 1 {
				t.Errorf("a burst of %v/s for %vs; want 100/s for a minute", b.Peak, b.Seconds)
			}
		}
	}
	if p.Find(metrics.OpTelemetry).Steady != 10 {
		t.Errorf("%v/s all day; want what the stage ends with", p.Find(metrics.OpTelemetry).Steady)
	}
}
