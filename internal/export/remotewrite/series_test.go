package remotewrite

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/util/fmtutil"
	"google.golang.org/protobuf/proto"

	"github.com/twinfleet/twinfleet/internal/export/writepb"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/prom"
)

// What is sent is, byte by byte as Prometheus reads it, what its own tool makes of the same metrics.
func TestSeriesAreThoseOfPrometheus(t *testing.T) {
	rec := metrics.NewRecorder(metrics.Options{})
	s := rec.Series(metrics.OpTwinReport, "robots")
	s.Start(time.Now(), time.Now()).End(time.Now().Add(3*time.Millisecond), metrics.OK)
	rec.SetRun(metrics.RunLabels{Run: "r", Scenario: "s", Version: "v"})
	summary := prometheus.NewSummary(prometheus.SummaryOpts{Name: "a_summary", Objectives: map[float64]float64{0.5: 0.05, 0.99: 0.001}})
	summary.Observe(7)
	own := prometheus.NewGauge(prometheus.GaugeOpts{Name: "with_job", ConstLabels: prometheus.Labels{"job": "mine", "a": "b"}})
	own.Set(math.Inf(-1))
	prom.Registry(rec).MustRegister(summary, own)
	families, err := prom.Registry(rec).Gather()
	if err != nil {
		t.Fatal(err)
	}
	at := int64(1_795_000_000_000)
	byName := make(map[string]*dto.MetricFamily)
	for _, f := range families {
		for _, m := range f.Metric {
			m.TimestampMs = &at
		}
		byName[f.GetName()] = f
	}
	want, err := fmtutil.MetricFamiliesToWriteRequest(byName, map[string]string{"job": "twinfleet", "instance": "r"})
	if err != nil {
		t.Fatal(err)
	}
	wire, err := proto.Marshal(&writepb.WriteRequest{Timeseries: seriesOf(families, &writepb.Label{Name: "job", Value: "twinfleet"},
		&writepb.Label{Name: "instance", Value: "r"})})
	if err != nil {
		t.Fatal(err)
	}
	var got prompb.WriteRequest
	if err := got.Unmarshal(wire); err != nil {
		t.Fatal(err)
	}
	lines := func(r *prompb.WriteRequest) (all []string) {
		for _, s := range r.Timeseries {
			all = append(all, s.String())
		}
		slices.Sort(all)
		return all
	}
	if a, b := lines(&got), lines(want); len(b) < 100 || !slices.Equal(a, b) {
		t.Errorf("%d series; want %d\n%q\n%q", len(a), len(b), a, b)
	}
	if staleNaN != value.StaleNaN {
		t.Errorf("a series ends with %x; want %x", uint64(staleNaN), value.StaleNaN)
	}
}
