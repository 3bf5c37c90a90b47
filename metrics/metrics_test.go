package metrics

import (
	"bytes"
	"math/rand/v2"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
)

const ms = time.Millisecond

var epoch = time.Unix(1_700_000_000, 0)

// observe gives a series one operation that was sent late by lag and answered after service.
func observe(s *Series, lag, service time.Duration, o Outcome) {
	s.Start(epoch, epoch.Add(lag)).End(epoch.Add(lag+service), o)
}

func TestResponseRunsFromTheIntendedTime(t *testing.T) {
	r := NewRecorder(Options{})
	s := r.Series(OpTwinReport, "robots")
	observe(s, 900*ms, 100*ms, OK)
	x := r.Snapshot().Find(OpTwinReport, "robots")
	near := func(got, want time.Duration) bool { return got >= want && got <= want+want/500 }
	if got := x.Latency(false).Maximum(); !near(got, 1000*ms) {
		t.Errorf("response = %v; want about 1s", got)
	}
	if got := x.Latency(true).Maximum(); !near(got, 100*ms) {
		t.Errorf("service = %v; want about 100ms", got)
	}
	if x.Late != 1 || x.OnTime != 0 {
		t.Errorf("on time %d, late %d; want one late", x.OnTime, x.Late)
	}
}

// scheduled = on time + late + dropped, and what started has ended, one way or another, or is in flight.
func TestAccounting(t *testing.T) {
	r := NewRecorder(Options{})
	s := r.Series(OpTelemetry, "g")
	for range 5 {
		observe(s, 0, ms, OK)
	}
	observe(s, 20*ms, ms, Throttled)
	observe(s, 0, ms, Timeout)
	observe(s, 0, ms, Refused)
	observe(s, 0, ms, Outcome(99))
	s.Start(epoch, epoch)
	s.Start(epoch, epoch).Unanswered(epoch.Add(time.Minute), "the run ended first")
	s.Drop(epoch, DropInFlight)
	s.Drop(epoch, "something new")
	x := r.Snapshot().Find(OpTelemetry, "g")
	for name, pair := range map[string][2]uint64{
		"scheduled": {x.Scheduled(), 13}, "started": {x.Started(), 11}, "late": {x.Late, 1}, "dropped": {x.DroppedTotal(), 2}, "ended": {x.Ended(), 10},
		"in flight": {x.InFlight(), 1}, "errors": {x.Errors(), 4}, "unanswered": {x.Count(Unanswered), 1}, "throttled": {x.Count(Throttled), 1}, "other drops": {x.Dropped[DropOther], 1},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s = %d; want %d", name, pair[0], pair[1])
		}
	}
}

func TestSnapshotWindow(t *testing.T) {
	r := NewRecorder(Options{})
	s := r.Series(OpConnect, "g")
	observe(s, 0, 5*ms, OK)
	before := r.Snapshot()
	observe(s, 0, 50*ms, OK)
	observe(r.Series(OpConnect, "late"), 0, ms, OK)
	window := r.Snapshot().Sub(before)
	if x := window.Find(OpConnect, "g"); x.Ended() != 1 || x.Latency(false).Quantile(0.5) < 49*ms {
		t.Errorf("window = %+v; want the second observation alone", x)
	}
	if x := window.Select(OpConnect, ""); x.Ended() != 2 {
		t.Errorf("all groups: %d; want 2", x.Ended())
	}
	if whole := before.Merge(window).Select(OpConnect, ""); whole.Ended() != 3 {
		t.Errorf("merged: %d; want 3", whole.Ended())
	}
}

func TestLabelsAreBounded(t *testing.T) {
	r := NewRecorder(Options{MaxGroups: 3})
	for _, g := range []string{"a", "b", "c", "d", "e"} {
		observe(r.Series(OpConnect, g), 0, ms, OK)
	}
	observe(r.Series("invented", "x"), 0, ms, OK)
	s := r.Snapshot()
	if x := s.Find(OpConnect, "other"); x == nil || x.Ended() != 2 {
		t.Errorf("what is over the bound = %+v; want two", x)
	}
	if s.Find(OpOther, "x") == nil {
		t.Error("an unknown operation was not counted as other")
	}
}

func TestConcurrentUse(t *testing.T) {
	r := NewRecorder(Options{})
	const goroutines, each = 8, 5000
	var wg sync.WaitGroup
	for i := range goroutines {
		wg.Go(func() {
			s := r.Series(OpTwinReport, []string{"a", "b"}[i%2])
			for range each {
				observe(s, 0, time.Duration(rand.IntN(1e6))*time.Microsecond, OK)
			}
		})
	}
	for range 20 {
		r.Snapshot()
	}
	wg.Wait()
	if n := r.Snapshot().Select(OpTwinReport, "").Ended(); n != goroutines*each {
		t.Errorf("%d observations; want %d", n, goroutines*each)
	}
}

func TestObserveDoesNotAllocate(t *testing.T) {
	s := NewRecorder(Options{}).Series(OpTwinReport, "g")
	observe(s, 0, ms, OK)
	if n := testing.AllocsPerRun(1000, func() { observe(s, 0, ms, OK) }); n > 0 {
		t.Errorf("%v allocations an observation", n)
	}
}

func exampleRecorder() *Recorder {
	r := NewRecorder(Options{})
	r.SetRun(RunLabels{"20261124-120000", "connectivity", "1.0.0"})
	r.SetStage("hold")
	s := r.Series(OpTwinReport, "robots")
	observe(s, 0, 2*ms, OK)
	observe(s, 0, 40*ms, OK)
	observe(s, 0, 7*time.Second, Timeout)
	s.Drop(epoch, DropInFlight)
	r.DeviceGauge("robots", "connected").Add(3)
	r.QueryResult("redmond", 3000, 30)
	r.QueryResult("redmond", 2999, 30)
	r.Register(func() []Figure {
		return []Figure{{"twinfleet_hub_devices", "Identities.", []string{"status"}, []Sample{{[]string{"enabled"}, 7}}}}
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
	if err := testutil.GatherAndCompare(exampleRecorder().Registry(), strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
}

// Histograms carry classic buckets and native ones, over the same observations.
func TestPrometheusHistograms(t *testing.T) {
	families, err := exampleRecorder().Registry().Gather()
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
	families, err := exampleRecorder().Registry().Gather()
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

func BenchmarkObserve(b *testing.B) {
	s := NewRecorder(Options{}).Series(OpTwinReport, "g")
	b.ReportAllocs()
	for b.Loop() {
		s.Start(epoch, epoch).End(epoch.Add(3*ms), OK)
	}
}

// Many devices give to few series, from all processors.
func BenchmarkObserveContended(b *testing.B) {
	r := NewRecorder(Options{})
	series := []*Series{r.Series(OpTwinReport, "a"), r.Series(OpTelemetry, "a"), r.Series(OpTwinReport, "b")}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		n := rand.IntN(1000)
		for pb.Next() {
			n++
			s := series[n%len(series)]
			s.Start(epoch, epoch).End(epoch.Add(time.Duration(n%5000)*time.Microsecond), OK)
		}
	})
}

func BenchmarkSnapshot(b *testing.B) {
	r := NewRecorder(Options{})
	for _, op := range Operations() {
		for _, g := range []string{"a", "b", "c"} {
			s := r.Series(op, g)
			for i := range 2000 {
				observe(s, 0, time.Duration(i*i)*time.Microsecond, OK)
			}
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		r.Snapshot()
	}
}
