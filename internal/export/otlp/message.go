package otlp

import (
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	wire "go.opentelemetry.io/proto/otlp/metrics/v1"
	resources "go.opentelemetry.io/proto/otlp/resource/v1"
)

// messageOf is what the bridge reads of a registry as a message: ExportMetricsServiceRequest has the form of MetricsData
// (opentelemetry-proto, collector/metrics/v1). The bridge gives numbers with fractions alone, and no exemplars of ours.
func messageOf(data *metricdata.ResourceMetrics) (*wire.MetricsData, error) {
	all := &wire.ResourceMetrics{Resource: &resources.Resource{Attributes: pairs(data.Resource.Set())}, SchemaUrl: data.Resource.SchemaURL()}
	for _, scope := range data.ScopeMetrics {
		group := &wire.ScopeMetrics{
			Scope:     &common.InstrumentationScope{Name: scope.Scope.Name, Version: scope.Scope.Version, Attributes: pairs(&scope.Scope.Attributes)},
			SchemaUrl: scope.Scope.SchemaURL,
		}
		for i := range scope.Metrics {
			m, err := oneMetric(&scope.Metrics[i])
			if err != nil {
				return nil, err
			}
			group.Metrics = append(group.Metrics, m)
		}
		all.ScopeMetrics = append(all.ScopeMetrics, group)
	}
	return &wire.MetricsData{ResourceMetrics: []*wire.ResourceMetrics{all}}, nil
}

// cumulative is how all that Prometheus counts is counted.
const cumulative = wire.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE

func oneMetric(from *metricdata.Metrics) (*wire.Metric, error) {
	m := &wire.Metric{Name: from.Name, Description: from.Description, Unit: from.Unit}
	switch d := from.Data.(type) {
	case metricdata.Gauge[float64]:
		m.Data = &wire.Metric_Gauge{Gauge: &wire.Gauge{DataPoints: numbers(d.DataPoints)}}
	case metricdata.Sum[float64]:
		m.Data = &wire.Metric_Sum{Sum: &wire.Sum{DataPoints: numbers(d.DataPoints), IsMonotonic: d.IsMonotonic, AggregationTemporality: cumulative}}
	case metricdata.Histogram[float64]:
		h := &wire.Histogram{AggregationTemporality: cumulative}
		for i := range d.DataPoints {
			p := &d.DataPoints[i]
			h.DataPoints = append(h.DataPoints, &wire.HistogramDataPoint{
				Attributes: pairs(&p.Attributes), StartTimeUnixNano: nanos(p.StartTime), TimeUnixNano: nanos(p.Time),
				Count: p.Count, Sum: &p.Sum, BucketCounts: p.BucketCounts, ExplicitBounds: p.Bounds,
			})
		}
		m.Data = &wire.Metric_Histogram{Histogram: h}
	case metricdata.ExponentialHistogram[float64]:
		h := &wire.ExponentialHistogram{AggregationTemporality: cumulative}
		for i := range d.DataPoints {
			p := &d.DataPoints[i]
			h.DataPoints = append(h.DataPoints, &wire.ExponentialHistogramDataPoint{
				Attributes: pairs(&p.Attributes), StartTimeUnixNano: nanos(p.StartTime), TimeUnixNano: nanos(p.Time),
				Count: p.Count, Sum: &p.Sum, Scale: p.Scale, ZeroCount: p.ZeroCount, ZeroThreshold: p.ZeroThreshold,
				Positive: buckets(p.PositiveBucket), Negative: buckets(p.NegativeBucket),
			})
		}
		m.Data = &wire.Metric_ExponentialHistogram{ExponentialHistogram: h}
	case metricdata.Summary:
		s := &wire.Summary{}
		for i := range d.DataPoints {
			p := &d.DataPoints[i]
			point := &wire.SummaryDataPoint{
				Attributes: pairs(&p.Attributes), StartTimeUnixNano: nanos(p.StartTime), TimeUnixNano: nanos(p.Time), Count: p.Count,
				Sum: p.Sum,
			}
			for _, q := range p.QuantileValues {
				point.QuantileValues = append(point.QuantileValues, &wire.SummaryDataPoint_ValueAtQuantile{Quantile: q.Quantile, Value: q.Value})
			}
			s.DataPoints = append(s.DataPoints, point)
		}
		m.Data = &wire.Metric_Summary{Summary: s}
	default:
		return nil, fmt.Errorf("%s cannot be sent by OTLP: it is a %T", from.Name, d)
	}
	return m, nil
}

func numbers(points []metricdata.DataPoint[float64]) []*wire.NumberDataPoint {
	all := make([]*wire.NumberDataPoint, len(points))
	for i := range points {
		p := &points[i]
		all[i] = &wire.NumberDataPoint{
			Attributes: pairs(&p.Attributes), StartTimeUnixNano: nanos(p.StartTime), TimeUnixNano: nanos(p.Time),
			Value: &wire.NumberDataPoint_AsDouble{AsDouble: p.Value},
		}
	}
	return all
}

func buckets(b metricdata.ExponentialBucket) *wire.ExponentialHistogramDataPoint_Buckets {
	return &wire.ExponentialHistogramDataPoint_Buckets{Offset: b.Offset, BucketCounts: b.Counts}
}

// nanos is a time in nanoseconds since 1970; 0 for the zero time.
func nanos(t time.Time) uint64 { return uint64(max(0, t.UnixNano())) }

// pairs is attributes, all of which are texts.
func pairs(set *attribute.Set) []*common.KeyValue {
	var all []*common.KeyValue
	for _, a := range set.ToSlice() {
		all = append(all, &common.KeyValue{Key: string(a.Key), Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: a.Value.String()}}})
	}
	return all
}
