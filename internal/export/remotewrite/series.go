package remotewrite

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/twinfleet/twinfleet/internal/export/writepb"
)

// seriesOf is metric families as the series that a scrape makes of them, with labels of the target: what a family is called
// job by, as a scrape has it, gives way to exported_job.
func seriesOf(families []*dto.MetricFamily, target ...*writepb.Label) []*writepb.TimeSeries {
	var all []*writepb.TimeSeries
	now := time.Now().UnixMilli()
	for _, f := range families {
		for _, m := range f.Metric {
			labels := slices.Clone(target)
			for _, l := range m.Label {
				name := l.GetName()
				if name == "job" {
					name = "exported_job"
				}
				labels = append(labels, &writepb.Label{Name: name, Value: l.GetValue()})
			}
			at := cmp.Or(m.GetTimestampMs(), now)
			add := func(suffix string, value float64, more ...*writepb.Label) {
				all = append(all, series(f.GetName()+suffix, append(slices.Clone(labels), more...), value, at))
			}
			switch {
			case m.Counter != nil:
				add("", m.Counter.GetValue())
			case m.Gauge != nil:
				add("", m.Gauge.GetValue())
			case m.Untyped != nil:
				add("", m.Untyped.GetValue())
			case m.Summary != nil:
				for _, q := range m.Summary.Quantile {
					add("", q.GetValue(), &writepb.Label{Name: "quantile", Value: fmt.Sprint(q.GetQuantile())})
				}
				add("_sum", m.Summary.GetSampleSum())
				add("_count", float64(m.Summary.GetSampleCount()))
			case m.Histogram != nil:
				infinite := false
				for _, b := range m.Histogram.Bucket {
					infinite = infinite || math.IsInf(b.GetUpperBound(), 1)
					add("_bucket", float64(b.GetCumulativeCount()), &writepb.Label{Name: "le", Value: fmt.Sprint(b.GetUpperBound())})
				}
				if !infinite {
					add("_bucket", float64(m.Histogram.GetSampleCount()), &writepb.Label{Name: "le", Value: "+Inf"})
				}
				add("_sum", m.Histogram.GetSampleSum())
				add("_count", float64(m.Histogram.GetSampleCount()))
			}
		}
	}
	return all
}

// series is one of a name and a value. Its labels are in the order that the protocol wants.
func series(name string, labels []*writepb.Label, value float64, at int64) *writepb.TimeSeries {
	labels = append(labels, &writepb.Label{Name: "__name__", Value: name})
	slices.SortFunc(labels, func(a, b *writepb.Label) int { return cmp.Compare(a.Name, b.Name) })
	return &writepb.TimeSeries{Labels: labels, Samples: []*writepb.Sample{{Value: value, Timestamp: at}}}
}
