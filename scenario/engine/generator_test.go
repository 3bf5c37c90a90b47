package engine_test

import (
	"bytes"
	"context"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/generator"
	"github.com/twinfleet/twinfleet/internal/generator/watch"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/prom"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/text"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

// fixed is a generator that measures the same every time.
type fixed generator.Sample

func (f fixed) Sample(int, time.Duration) (generator.Sample, error) { return generator.Sample(f), nil }

// calm is a generator that has all it needs, however busy the machine is that runs the tests.
func calm() watch.Sampler {
	return fixed{Elapsed: time.Second, CPU: 0.5, Cores: 2, MemoryLimit: 1e9, Memory: 1e8, MaxDescriptors: 1000, Descriptors: 10}
}

// punctual is a Recorder to which nothing is late, however busy the machine is that runs the tests.
func punctual() *metrics.Recorder {
	return metrics.NewRecorder(metrics.Options{LateAfter: time.Hour})
}

const brief = `
name: brief
fleet: {groups: [{name: robots, count: 2, reported: {connectivity: {type: wifi}, every: 200ms}}]}
stages: [{name: ramp, duration: 1200ms, devices: 2}]
`

// A generator that was the bottleneck fails the run, unless the scenario or the command line allows it; the
// record says so all the same. It weighs more than a missed threshold.
func TestSaturatedGenerator(t *testing.T) {
	t.Parallel()
	starved := fixed{Elapsed: 10 * time.Second, CPU: 2, Cores: 2, Late: time.Second, Lag: time.Second}
	for _, tt := range []struct {
		name    string
		sampler watch.Sampler
		allow   bool
		set     []string
		want    report.Outcome
	}{
		{"ok", calm(), false, nil, report.Passed},
		{"saturated", starved, false, nil, report.Saturated},
		{"saturated, and a threshold missed", starved, false, []string{"thresholds={connect: 'p(50) > 1h'}"}, report.Saturated},
		{"allowed by the command line", starved, true, nil, report.Passed},
		{"allowed by the scenario", starved, false, []string{"generator.saturated=warn"}, report.Passed},
		{"not allowed by the scenario", starved, false, []string{"generator.saturated=fail"}, report.Saturated},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				rec := punctual()
				run := engine.New(inMemory(engine.Options{Scenario: decode(t, brief, tt.set...), Recorder: rec, AllowSaturated: tt.allow}, tt.sampler)).Run(t.Context())
				if run.Outcome != tt.want {
					t.Errorf("%s (%s); want %s", run.Outcome, run.Reason, tt.want)
				}
				if h := run.Generator; h == nil || h.Saturated != (tt.name != "ok") {
					t.Errorf("health = %+v", h)
				}
				var b bytes.Buffer
				if err := text.Write(&b, run, color.Style{}); err != nil {
					t.Fatal(err)
				}
				want := "generator: ok (at most 0.5 of 2 processors, 100 MB, 10 of 1,000 descriptors"
				if tt.name != "ok" {
					want = "generator: saturated (stage ramp: this process used 2.0 of 2 processors for"
				}
				if !strings.Contains(b.String(), want) {
					t.Errorf("the summary lacks %q:\n%s", want, b.String())
				}
			})
		})
	}
}

// A run measures this process when it is given no other sampler, and shows it on /metrics.
func TestGeneratorIsMeasured(t *testing.T) {
	t.Parallel()
	rec := metrics.NewRecorder(metrics.Options{})
	run := engine.New(engine.Options{Scenario: decode(t, brief), Recorder: rec, AllowSaturated: true}).Run(context.WithoutCancel(t.Context()))
	h := run.Generator
	if run.Outcome != report.Passed || h == nil || h.Measured < time.Second || h.CPUPeak <= 0 || h.MemoryPeak == 0 || h.Descriptors < 4 || h.MaxPorts == 0 {
		t.Fatalf("%s (%s), health %+v", run.Outcome, run.Reason, h)
	}
	w := httptest.NewRecorder()
	prom.Handler(rec).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	for _, name := range []string{
		"cores", "cpu_seconds_total", "cpu_ratio", "gc_cpu_ratio", "gc_pause_seconds", "memory_bytes", "memory_limit_bytes", "descriptors", "descriptors_limit",
		"ports", "ports_limit", "timer_lateness_seconds", "schedule_lag_seconds", "saturated_seconds_total",
		"machine_cpu_ratio", "steal_ratio", "cpu_limited_ratio", "cpu_waiting_ratio", "stopped_seconds",
	} {
		if !strings.Contains(w.Body.String(), "\ntwinfleet_generator_"+name+" ") {
			t.Errorf("/metrics lacks twinfleet_generator_%s", name)
		}
	}
	if !strings.Contains(w.Body.String(), "\ntwinfleet_generator_not_as_asked{stage=\"ramp\"} ") {
		t.Error("/metrics does not say whether the stage was delivered as asked")
	}
	if strings.Contains(w.Body.String(), "\ntwinfleet_generator_memory_bytes 0\n") {
		t.Error("the memory of this process is 0 on /metrics")
	}
}

// stopped is a generator whose process was stopped for a while in one stage.
type stopped struct {
	in  string
	now atomic.Value // the stage that runs
}

func (s *stopped) event(e report.Event) {
	if e.Kind == report.KindStage {
		s.now.Store(e.Text)
	}
}

func (s *stopped) Sample(int, time.Duration) (generator.Sample, error) {
	x := generator.Sample{Elapsed: time.Second, CPU: 0.5, Cores: 2}
	if stage, _ := s.now.Load().(string); stage != "" && stage == s.in {
		x.Stopped = 9900 * time.Millisecond
	}
	return x, nil
}

const twoStages = `
name: two-stages
fleet: {groups: [{name: robots, count: 2, reported: {connectivity: {type: wifi}, every: 200ms}}]}
stages: [{name: ramp, duration: 600ms, devices: 2}, {name: hold, duration: 600ms}]
`

// Of what a stage was not delivered as asked nothing can be said, whether a threshold would have been met or missed. What was
// missed in another stage is sure.
func TestStageNotAsAsked(t *testing.T) {
	const (
		met        = "twin_report: 'p(50) < 1h'"
		missed     = "twin_report: 'p(50) > 1h'"
		metInRamp  = "twin_report: {threshold: 'p(50) < 1h', stage: ramp}"
		missInRamp = "twin_report: {threshold: 'p(50) > 1h', stage: ramp}"
		metInHold  = "twin_report: {threshold: 'p(50) < 1h', stage: hold}"
		missInHold = "twin_report: {threshold: 'p(50) > 1h', stage: hold}"
		abort      = "twin_report: {threshold: 'p(50) > 1h', stage: ramp, abort_on_fail: true}"
		abortWhole = "twin_report: {threshold: 'p(50) > 1h', abort_on_fail: true}"
	)
	for _, tt := range []struct {
		name      string
		threshold string
		bad       string
		late      bool // every start counts as late
		allow     bool
		want      report.Outcome
		cannotSay bool
		reason    string
	}{
		{"no threshold", "", "ramp", false, false, report.Saturated, false, "the generator was the bottleneck in stage ramp\nstage ramp: the process was stopped " +
			"for 9.9 s"},
		{"met", met, "ramp", false, false, report.Saturated, true, "; of 1 of 1 thresholds nothing can be said"},
		{"missed", missed, "ramp", false, false, report.Saturated, true, "stage ramp: the process was stopped"},
		{"met in the stage", metInRamp, "ramp", false, false, report.Saturated, true, ""},
		{"missed in the stage", missInRamp, "ramp", false, false, report.Saturated, true, ""},
		{"met in the other", metInHold, "ramp", false, false, report.Saturated, false, ""},
		{"missed in the other", missInHold, "ramp", false, false, report.Missed, false, "1 of 1 thresholds were missed"},
		{"does not abort", abort, "ramp", false, false, report.Saturated, true, ""},
		{"does not abort the whole", abortWhole, "ramp", false, false, report.Saturated, true, ""},
		{"aborts", abort, "", false, false, report.Missed, false, "ended early"},
		{"all well", met, "", false, false, report.Passed, false, ""},
		{"allowed, met", met, "ramp", false, true, report.Passed, false, ""},
		{"allowed, missed", missed, "ramp", false, true, report.Missed, false, ""},
		{"late starts", met, "", true, false, report.Saturated, true, "twin_report operations started late, by up to"},
		{"late starts, missed", missed, "", true, false, report.Saturated, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			run := func(t *testing.T) {
				set := []string{}
				if tt.threshold != "" {
					set = append(set, "thresholds={"+tt.threshold+"}")
				}
				if strings.Contains(tt.threshold, "abort") {
					set = append(set, "stages[0].duration=1300ms") // there is a figure a second
				}
				rec, sampler := punctual(), &stopped{in: tt.bad}
				if tt.late {
					rec = metrics.NewRecorder(metrics.Options{LateAfter: 1})
					set = append(set, "fleet.groups[0].count=12", "stages[0].devices=12")
				}
				run := engine.New(inMemory(engine.Options{
					Scenario: decode(t, twoStages, set...), Recorder: rec,
					Observers: []report.Observer{report.Funcs{OnEvent: sampler.event}}, AllowSaturated: tt.allow,
				}, sampler)).Run(t.Context())
				why := run.Reason
				if h := run.Generator; h != nil {
					why += "\n" + strings.Join(h.Reasons, "\n")
				}
				if run.Outcome != tt.want || !strings.Contains(why, tt.reason) {
					t.Errorf("%s (%s); want %s (%s)", run.Outcome, why, tt.want, tt.reason)
				}
				for _, v := range run.Thresholds {
					if v.CannotSay != tt.cannotSay || v.Observed == "" || (v.Why == "") == tt.cannotSay {
						t.Errorf("verdict %+v; want cannot say %t", v, tt.cannotSay)
					}
				}
				h := run.Generator
				if h == nil || h.Saturated != (tt.bad != "" || tt.late) || len(h.Stages) == 0 || h.Stages[0].Asked == 0 || h.Stages[0].AsAsked == h.Saturated {
					t.Errorf("health = %+v", h)
				}
			}
			if tt.late { // no start is late in virtual time
				run(t)
				return
			}
			synctest.Test(t, run)
		})
	}
}
