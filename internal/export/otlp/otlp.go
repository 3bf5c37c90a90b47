// Package otlp pushes metrics to an OpenTelemetry collector, by OTLP over HTTP.
package otlp

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	bridge "go.opentelemetry.io/contrib/bridges/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/twinfleet/twinfleet/internal/export/endpoint"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/prom"
)

// Sink sends by OTLP over HTTP with protobuf (opentelemetry.io/docs/specs/otlp). OpenTelemetry's bridge reads the one registry,
// native histograms as exponential ones. Its exporter is not used: it brings gRPC along, which nothing here speaks.
type Sink struct {
	url    string
	client *http.Client
	reader *metric.ManualReader
	source *metric.MeterProvider
}

// New makes the sink of a recorder.
func New(rec *metrics.Recorder, e endpoint.Endpoint) (*Sink, error) {
	u, err := url.Parse(e.URL)
	if err != nil {
		return nil, err
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/v1/metrics" // where the specification wants it
	}
	reader := metric.NewManualReader(metric.WithProducer(bridge.NewMetricProducer(bridge.WithGatherer(prom.Registry(rec)))))
	return &Sink{url: u.String(), client: e.Client(), reader: reader, source: metric.NewMeterProvider(metric.WithReader(reader))}, nil
}

// Push sends the figures of now.
func (s *Sink) Push(ctx context.Context, l metrics.RunLabels) error {
	var data metricdata.ResourceMetrics
	if err := s.reader.Collect(ctx, &data); err != nil {
		return fmt.Errorf("gathering metrics: %w", err)
	}
	data.Resource = resource.NewSchemaless(
		attribute.String("service.name", endpoint.Job), attribute.String("service.version", l.Version), attribute.String("service.instance.id", l.Run),
		attribute.String("twinfleet.run", l.Run), attribute.String("twinfleet.scenario", l.Scenario),
	)
	message, err := messageOf(&data)
	if err != nil {
		return err
	}
	body, err := proto.Marshal(message)
	if err != nil {
		return fmt.Errorf("making a request: %w", err)
	}
	return s.send(ctx, body)
}

// send posts a message. There are no retries: the next push brings newer figures.
func (s *Sink) send(ctx context.Context, body []byte) error {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(body); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, &packed)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	request.Header.Set("Content-Encoding", "gzip")
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	switch {
	case response.StatusCode < 200 || response.StatusCode > 299:
		return fmt.Errorf("the collector answered %s", response.Status)
	case err != nil:
		return fmt.Errorf("reading the collector's answer: %w", err)
	case response.Header.Get("Content-Type") != "application/x-protobuf":
		return nil
	default:
		return rejected(answer)
	}
}

// rejected is what a collector that took a message says that it did not take of it: partial_success, the first field of the
// answer, of which the first field is how many points, and the second why.
func rejected(answer []byte) error {
	partial, _ := fieldOf(answer, 1)
	_, points := fieldOf(partial, 1)
	why, _ := fieldOf(partial, 2)
	if points == 0 {
		return nil
	}
	return errors.New(strings.TrimSuffix(fmt.Sprintf("the collector left out %d points: %s", points, why), ": "))
}

// fieldOf is the bytes, or the number, of a field of a protobuf message; nothing when the message has none or cannot be read.
func fieldOf(message []byte, number protowire.Number) (content []byte, value uint64) {
	for len(message) > 0 {
		n, kind, size := protowire.ConsumeTag(message)
		if size < 0 {
			return nil, 0
		}
		message = message[size:]
		switch {
		case n == number && kind == protowire.BytesType:
			if content, size = protowire.ConsumeBytes(message); size < 0 {
				return nil, 0
			}
			return content, 0
		case n == number && kind == protowire.VarintType:
			if value, size = protowire.ConsumeVarint(message); size < 0 {
				return nil, 0
			}
			return nil, value
		}
		if size = protowire.ConsumeFieldValue(n, kind, message); size < 0 {
			return nil, 0
		}
		message = message[size:]
	}
	return nil, 0
}

// Close tells the place that no more will come.
func (s *Sink) Close(ctx context.Context, _ metrics.RunLabels) error {
	s.client.CloseIdleConnections()
	return s.source.Shutdown(ctx)
}
