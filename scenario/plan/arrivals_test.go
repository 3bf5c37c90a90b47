package plan_test

import (
	"slices"
	"testing"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/plan"
)

// What arrives at random is planned as what the run will draw, not as its mean.
func TestRandomArrivalsAreCounted(t *testing.T) {
	const text = "name: x\nseed: 3\nfleet: {groups: [{name: a, count: 10, reported: {connectivity: {type: wifi}}, telemetry: {}}]}\n" +
		"stages: [{name: ramp, duration: 1s, devices: 10}, {name: load, duration: 50s, report_rate: 0/s..40/s, telemetry_rate: 10/s, arrivals: poisson}]\n"
	sc, err := scenario.Decode("test.yaml", []byte(text), options())
	if err != nil {
		t.Fatal(err)
	}
	p := planOf(t, text, plan.Options{})
	reports, messages := len(slices.Collect(sc.Reports(1))), len(slices.Collect(sc.Messages(1)))
	if got := p.Find(metrics.OpTwinReport).Total; int(got) != reports+10 || reports == 1000 {
		t.Errorf("%v reports planned; the run draws %d, and 10 at connecting", got, reports)
	}
	if got := p.Find(metrics.OpTelemetry).Total; int(got) != messages || messages == 500 {
		t.Errorf("%v messages planned; the run draws %d", got, messages)
	}
	// A day is not drawn.
	if got := p.Find(metrics.OpTelemetry).Steady; got != 10 && got != 0 {
		t.Errorf("%v messages a second go on; want 10", got)
	}
}
