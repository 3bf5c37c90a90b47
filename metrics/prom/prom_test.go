package prom

import (
	"bytes"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"

	"github.com/twinfleet/twinfleet/metrics"
)

const ms = time.Millisecond

var epoch = time.Unix(1_700_000_000, 0)

// observe gives a series one operation that was sent late by lag and answered after service.
func observe(s *metrics.Series, lag, service time.Duration, o metrics.Outcome) {
	s.Start(epoch, epoch.Add(lag)).End(epoch.Add(lag+service), o)
}

func exampleRecorder() *metrics.Recorder {
	r := metrics.NewRecorder(metrics.Options{})
	r.SetRun(metrics.RunLabels{Run: "20261124-120000", Scenario: "connectivity", Version: "1.0.0"})
	r.SetStage("hold")
	s := r.Series(metrics.OpTwinReport, "robots")
	observe(s, 0, 2*ms, metrics.OK)
	observe(s, 0, 40*ms, metrics.OK)
	observe(s, 0, 7*time.Second, metrics.Timeout)
	s.Drop(epoch, metrics.DropInFlight)
	r.DeviceGauge("robots", "connected").Add(3)
	r.QueryResult("redmond", 3000, 30)
	r.QueryResult("redmond", 2999, 30)
	r.Register(func() []metrics.Figure {
		enabled := metrics.Sample{Labels: []string{"enabled"}, Value: 7}
		return []metrics.Figure{{Name: "twinfleet_hub_devices", Help: "Identities.", Labels: []string{"status"}, Samples: []metrics.Sample{enabled}}}
	})
	return r
}

func TestPrometheusValues(t *testing.T) {
	want := `
# HELP twinfleet_devices Devices by state: waiting (not started), connecting, connected, backoff (lost or refused, will try again), offline (between sessions).
# TYPE twinfleet_devices gauge
twinfleet_devices{group="robots",state="connected"} 3
# HELP twinfleet_hub_devices Identities.
# TYPE twinfleet_hub_devices gauge
twinfleet_hub_devices{status="enabled"} 7
# HELP twinfleet_operations_dropped_total Operations that the schedule wanted and that never started, by reason.
# TYPE twinfleet_operations_dropped_total counter
twinfleet_operations_dropped_total{group="robots",operation="twin_report",reason="disconnected"} 0
twinfleet_operations_dropped_total{group="robots",operation="twin_report",reason="in_flight"} 1
twinfleet_operations_dropped_total{group="robots",operation="twin_report",reason="other"} 0
twinfleet_operations_dropped_total{group="robots",operation="twin_report",reason="paused"} 0
twinfleet_operations_dropped_total{group="robots",operation="twin_report",reason="stopped"} 0
# HELP twinfleet_operations_scheduled_total Operations that the schedule wanted: the sum of those that started on time, started late, or were dropped.
# TYPE twinfleet_operations_scheduled_total counter
twinfleet_operations_scheduled_total{group="robots",operation="twin_report"} 4
# HELP twinfleet_operations_total Operations that ended, by outcome: ok, throttled (429), timeout, refused (credentials or permissions), error, unanswered (nobody waited to the end).
# TYPE twinfleet_operations_total counter
twinfleet_operations_total{group="robots",operation="twin_report",outcome="error"} 0
twinfleet_operations_total{group="robots",operation="twin_report",outcome="ok"} 2
twinfleet_operations_total{group="robots",operation="twin_report",outcome="refused"} 0
twinfleet_operations_total{group="robots",operation="twin_report",outcome="throttled"} 0
twinfleet_operations_total{group="robots",operation="twin_report",outcome="timeout"} 1
twinfleet_operations_total{group="robots",operation="twin_report",outcome="unanswered"} 0
# HELP twinfleet_query_pages_total Pages read of the results of a query.
# TYPE twinfleet_query_pages_total counter
twinfleet_query_pages_total{query="redmond"} 60
# HELP twinfleet_query_results Items in the last whole result of a query.
# TYPE twinfleet_query_results gauge
twinfleet_query_results{query="redmond"} 2999
# HELP twinfleet_run_info The run as labels, with the stage it is in; always 1. Join other series to it on job and instance.
# TYPE twinfleet_run_info gauge
twinfleet_run_info{run="20261124-120000",scenario="connectivity",stage="hold"} 1
`
	names := []string{
		"twinfleet_devices", "twinfleet_hub_devices", "twinfleet_operations_dropped_total", "twinfleet_operations_scheduled_total", "twinfleet_operations_total",
		"twinfleet_query_pages_total", "twinfleet_query_results", "twinfleet_run_info",
	}
	if err := testutil.GatherAndCompare(Registry(exampleRecorder()), strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
}

// Histograms carry classic buckets and native ones, over the same observations.
func TestPrometheusHistograms(t *testing.T) {
	families, err := Registry(exampleRecorder()).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "twinfleet_operation_duration_seconds" {
			continue
		}
		for _, m := range f.Metric {
			h := m.Histogram
			if m.Label[2].GetValue() != "ok" {
				continue
			}
			if h.GetSampleCount() != 2 || h.GetSchema() != nativeSchema || len(h.PositiveSpan) == 0 {
				t.Errorf("count %d, schema %d, %d spans", h.GetSampleCount(), h.GetSchema(), len(h.PositiveSpan))
			}
			for _, b := range h.Bucket {
				want := uint64(0)
				if b.GetUpperBound() >= 0.0025 {
					want++
				}
				if b.GetUpperBound() >= 0.05 {
					want++
				}
				if b.GetCumulativeCount() != want {
					t.Errorf("up to %v s: %d; want %d", b.GetUpperBound(), b.GetCumulativeCount(), want)
				}
			}
			return
		}
	}
	t.Error("no histogram of the operation")
}

func exposition(t *testing.T) []byte {
	t.Helper()
	families, err := Registry(exampleRecorder()).Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "twinfleet_") {
			if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
				t.Fatal(err)
			}
		}
	}
	return b.Bytes()
}

func TestPrometheusLint(t *testing.T) {
	problems, err := promlint.New(bytes.NewReader(exposition(t))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		return // the integration suites need it and say so
	}
	cmd := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	cmd.Stdin = bytes.NewReader(exposition(t))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// Thresholds are often written on these times; a quantile from classic buckets is exact only at an edge.
func TestClassicBuckets(t *testing.T) {
	edges := classicBuckets()
	if !slices.IsSorted(edges) {
		t.Errorf("edges are not in order: %v", edges)
	}
	for _, seconds := range []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2, 3, 5, 10, 15, 20, 30, 45, 60, 120, 300, 900} {
		if !slices.Contains(edges, seconds) {
			t.Errorf("%v s is no edge", seconds)
		}
	}
	for i := 1; i < len(edges)-1; i++ {
		if reach := edges[i] / edges[i-1]; reach > 3 || edges[i] > 1 && edges[i] <= 60 && reach > 1.5 {
			t.Errorf("nothing between %v and %v s", edges[i-1], edges[i])
		}
	}
}
