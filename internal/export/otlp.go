package export

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	bridge "go.opentelemetry.io/contrib/bridges/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"

	"github.com/twinfleet/twinfleet/metrics"
)

// otlp sends through OpenTelemetry's SDK over HTTP with protobuf. The bridge reads the one registry, native
// histograms as exponential ones. Nothing of the SDK's global state is used.
type otlp struct {
	exporter *otlpmetrichttp.Exporter
	reader   *metric.ManualReader
	provider *metric.MeterProvider
}

func newOTLP(o Options, e Endpoint) (sink, error) {
	u, err := url.Parse(e.URL)
	if err != nil {
		return nil, err
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/v1/metrics" // where the specification wants it
	}
	exporter, err := otlpmetrichttp.New(context.Background(),
		otlpmetrichttp.WithEndpointURL(u.String()), otlpmetrichttp.WithHTTPClient(e.client()),
		otlpmetrichttp.WithRetry(otlpmetrichttp.RetryConfig{Enabled: false}), otlpmetrichttp.WithCompression(otlpmetrichttp.GzipCompression))
	if err != nil {
		return nil, err
	}
	reader := metric.NewManualReader(metric.WithProducer(bridge.NewMetricProducer(bridge.WithGatherer(o.Recorder.Registry()))))
	return &otlp{exporter: exporter, reader: reader, provider: metric.NewMeterProvider(metric.WithReader(reader))}, nil
}

func (s *otlp) push(ctx context.Context, l metrics.RunLabels) error {
	var data metricdata.ResourceMetrics
	if err := s.reader.Collect(ctx, &data); err != nil {
		return fmt.Errorf("gathering metrics: %w", err)
	}
	data.Resource = resource.NewSchemaless(
		attribute.String("service.name", job), attribute.String("service.version", l.Version), attribute.String("service.instance.id", l.Run),
		attribute.String("twinfleet.run", l.Run), attribute.String("twinfleet.scenario", l.Scenario),
	)
	return s.exporter.Export(ctx, &data)
}

func (s *otlp) close(ctx context.Context, _ metrics.RunLabels) error {
	err := s.provider.Shutdown(ctx)
	if e := s.exporter.Shutdown(ctx); err == nil {
		err = e
	}
	return err
}
