package otlp

import (
	"cmp"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	bridge "go.opentelemetry.io/contrib/bridges/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"
	collector "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/protobuf/proto"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/prom"
)

// What is sent is what OpenTelemetry's own exporter makes of the same metrics.
func TestMessageIsThatOfOpenTelemetry(t *testing.T) {
	rec := metrics.NewRecorder(metrics.Options{})
	s := rec.Series(metrics.OpTwinReport, "robots")
	s.Start(time.Now(), time.Now()).End(time.Now().Add(3*time.Millisecond), metrics.OK)
	s.Drop(time.Now(), metrics.DropInFlight)
	summary := prometheus.NewSummary(prometheus.SummaryOpts{Name: "a_summary", Objectives: map[float64]float64{0.5: 0.05, 0.99: 0.001}})
	summary.Observe(7)
	classic := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "a_histogram", Buckets: []float64{1, 2}, ConstLabels: prometheus.Labels{"a": "b"}})
	classic.Observe(1.5)
	prom.Registry(rec).MustRegister(summary, classic)

	var data metricdata.ResourceMetrics
	reader := metric.NewManualReader(metric.WithProducer(bridge.NewMetricProducer(bridge.WithGatherer(prom.Registry(rec)))))
	defer metric.NewMeterProvider(metric.WithReader(reader)).Shutdown(t.Context())
	if err := reader.Collect(t.Context(), &data); err != nil {
		t.Fatal(err)
	}
	data.Resource = resource.NewSchemaless(attribute.String("service.name", "x"), attribute.String("twinfleet.run", "r"))

	var got, want []byte
	keep := func(into *[]byte) string {
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			body := io.Reader(r.Body)
			if r.Header.Get("Content-Encoding") == "gzip" {
				body, _ = gzip.NewReader(r.Body)
			}
			*into, _ = io.ReadAll(body)
		}))
		t.Cleanup(server.Close)
		return server.URL + "/v1/metrics"
	}
	official, err := otlpmetrichttp.New(context.Background(), otlpmetrichttp.WithEndpointURL(keep(&want)))
	if err == nil {
		err = official.Export(t.Context(), &data)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := official.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	message, err := messageOf(&data)
	if err != nil {
		t.Fatal(err)
	}
	body, err := proto.Marshal(message)
	if err == nil {
		err = (&Sink{url: keep(&got), client: http.DefaultClient}).send(t.Context(), body)
	}
	if err != nil {
		t.Fatal(err)
	}
	var ours, theirs collector.ExportMetricsServiceRequest
	if err := proto.Unmarshal(got, &ours); err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(want, &theirs); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*collector.ExportMetricsServiceRequest{&ours, &theirs} {
		slices.SortFunc(r.ResourceMetrics[0].Resource.Attributes, func(a, b *common.KeyValue) int { return cmp.Compare(a.Key, b.Key) })
	}
	if n := len(theirs.ResourceMetrics[0].ScopeMetrics[0].Metrics); n < 20 || !proto.Equal(&ours, &theirs) {
		t.Errorf("of %d metrics:\n%v\nwant\n%v", n, &ours, &theirs)
	}
}

// A collector that takes a message and leaves points of it out says so; one that takes all of it need not answer.
func TestPointsThatACollectorLeavesOut(t *testing.T) {
	for name, tt := range map[string]struct {
		answer *collector.ExportMetricsServiceResponse
		want   string
	}{
		"all taken":       {&collector.ExportMetricsServiceResponse{}, ""},
		"all taken, told": {&collector.ExportMetricsServiceResponse{PartialSuccess: &collector.ExportMetricsPartialSuccess{ErrorMessage: "a warning"}}, ""},
		"some left out": {&collector.ExportMetricsServiceResponse{PartialSuccess: &collector.ExportMetricsPartialSuccess{
			RejectedDataPoints: 7,
			ErrorMessage:       "too old",
		}}, "left out 7 points: too old"},
		"without a word": {
			&collector.ExportMetricsServiceResponse{PartialSuccess: &collector.ExportMetricsPartialSuccess{RejectedDataPoints: 7}},
			"left out 7 points",
		},
	} {
		b, err := proto.Marshal(tt.answer)
		if err != nil {
			t.Fatal(err)
		}
		if err := rejected(b); (tt.want == "") != (err == nil) || err != nil && !strings.HasSuffix(err.Error(), tt.want) {
			t.Errorf("%s: %v; want %q", name, err, tt.want)
		}
	}
	for _, junk := range []string{"\x0a", "\x0a\xff", "\xff\xff\xff", "hello"} {
		if err := rejected([]byte(junk)); err != nil {
			t.Errorf("%q: %v", junk, err)
		}
	}
}
