package engine_test

import (
	"bytes"
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/generator"
	"github.com/twinfleet/twinfleet/internal/report"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

// fixed is a generator that measures the same every time.
type fixed generator.Sample

func (f fixed) Sample(int, time.Duration) (generator.Sample, error) { return generator.Sample(f), nil }

// calm is a generator that has all it needs, however busy the machine is that runs the tests.
func calm() engine.Sampler {
	return fixed{Elapsed: time.Second, CPU: 0.5, Cores: 2, MemoryLimit: 1e9, Memory: 1e8, MaxDescriptors: 1000, Descriptors: 10}
}

const brief = `
name: brief
fleet: {groups: [{name: robots, count: 2, reported: {connectivity: {type: wifi}, every: 200ms}}]}
stages: [{name: ramp, duration: 1200ms, devices: 2}]
`

// A generator that was the bottleneck fails the run, unless the scenario or the command line allows it; the
// record says so all the same. It weighs more than a missed threshold.
func TestSaturatedGenerator(t *testing.T) {
	starved := fixed{Elapsed: 10 * time.Second, CPU: 2, Cores: 2, Late: time.Second, Lag: time.Second}
	for _, tt := range []struct {
		name    string
		sampler engine.Sampler
		allow   bool
		set     []string
		want    report.Outcome
	}{
		{"ok", calm(), false, nil, report.Passed},
		{"saturated", starved, false, nil, report.Saturated},
		{"saturated, and a threshold missed", starved, false, []string{"thresholds={connect: 'p(50) < 1us'}"}, report.Saturated},
		{"allowed by the command line", starved, true, nil, report.Passed},
		{"allowed by the scenario", starved, false, []string{"generator.saturated=warn"}, report.Passed},
		{"not allowed by the scenario", starved, false, []string{"generator.saturated=fail"}, report.Saturated},
	} {
		rec := metrics.NewRecorder(metrics.Options{})
		run := engine.New(engine.Options{Scenario: decode(t, brief, tt.set...), Recorder: rec, Sampler: tt.sampler, AllowSaturated: tt.allow}).Run(t.Context())
		if run.Outcome != tt.want {
			t.Errorf("%s: %s (%s); want %s", tt.name, run.Outcome, run.Reason, tt.want)
		}
		if h := run.Generator; h == nil || h.Saturated != (tt.name != "ok") {
			t.Errorf("%s: health = %+v", tt.name, h)
		}
		var b bytes.Buffer
		if err := report.WriteSummary(&b, run, report.Style{}); err != nil {
			t.Fatal(err)
		}
		want := "generator: ok (at most 0.5 of 2 processors, 100 MB, 10 of 1,000 descriptors"
		if tt.name != "ok" {
			want = "generator: saturated (2.0 of 2 processors were in use for"
		}
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s: the summary lacks %q:\n%s", tt.name, want, b.String())
		}
	}
}

// A run measures this process when it is given no other sampler, and shows it on /metrics.
func TestGeneratorIsMeasured(t *testing.T) {
	rec := metrics.NewRecorder(metrics.Options{})
	run := engine.New(engine.Options{Scenario: decode(t, brief), Recorder: rec, AllowSaturated: true}).Run(context.WithoutCancel(t.Context()))
	h := run.Generator
	if run.Outcome != report.Passed || h == nil || h.Measured < time.Second || h.CPUPeak <= 0 || h.MemoryPeak == 0 || h.Descriptors < 4 || h.MaxPorts == 0 {
		t.Fatalf("%s (%s), health %+v", run.Outcome, run.Reason, h)
	}
	w := httptest.NewRecorder()
	rec.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	for _, name := range []string{
		"cores", "cpu_seconds_total", "cpu_ratio", "gc_cpu_ratio", "gc_pause_seconds", "memory_bytes", "memory_limit_bytes", "descriptors", "descriptors_limit",
		"ports", "ports_limit", "timer_lateness_seconds", "schedule_lag_seconds", "saturated_seconds_total",
	} {
		if !strings.Contains(w.Body.String(), "\ntwinfleet_generator_"+name+" ") {
			t.Errorf("/metrics lacks twinfleet_generator_%s", name)
		}
	}
	if strings.Contains(w.Body.String(), "\ntwinfleet_generator_memory_bytes 0\n") {
		t.Error("the memory of this process is 0 on /metrics")
	}
}
