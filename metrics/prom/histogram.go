package prom

import (
	"math"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/twinfleet/twinfleet/metrics/histogram"
)

// classicBuckets are the upper edges, in seconds, of the classic buckets. A quantile taken from them is
// exact where it meets an edge, so the edges are what thresholds name (100 ms, 250 ms, 1 s, 5 s) and are
// densest where twin operations of a hub answer. Between a second and a minute, where freshness, connects of a storm and
// throttled operations are, none reaches further than half as far again as it begins at; what a quantile is still above the longest
// operation, boards cut off by the maximum. Clients give up after a minute, methods and jobs may take five, and registrations at a
// provisioning service that throttles a quarter of an hour.
func classicBuckets() []float64 {
	return []float64{
		.0005, .001, .0025, .005, .01, .025, .05, .1, .15, .25, .5, .75, 1, 1.5, 2, 3, 4, 5, 7.5, 10, 15, 20, 30, 45, 60, 120, 300, 900,
	}
}

// nativeSchema gives native histograms eight buckets for every doubling.
const nativeSchema = 3

// bothForms is a histogram with classic buckets beside native ones: a scraper takes what it knows.
type bothForms struct{ classic, native prometheus.Metric }

// Desc implements prometheus.Metric.
func (b bothForms) Desc() *prometheus.Desc { return b.classic.Desc() }

// Write implements prometheus.Metric.
func (b bothForms) Write(out *dto.Metric) error {
	if err := b.native.Write(out); err != nil {
		return err
	}
	var classic dto.Metric
	if err := b.classic.Write(&classic); err != nil {
		return err
	}
	out.Histogram.Bucket = classic.Histogram.Bucket
	return nil
}

// histogram converts exactly where the edges allow it: an HDR bucket is narrower than a thousandth
// of its value, and is counted where its upper edge lies.
func (c *collector) histogram(desc *prometheus.Desc, h histogram.Histogram, labels ...string) prometheus.Metric {
	edges := classicBuckets()
	cumulative := make(map[float64]uint64, len(edges))
	native := make(map[int]int64)
	var zero, seen uint64
	next := 0
	for b := range h.Buckets() {
		seconds := float64(b.Highest()) / 1e6
		for ; next < len(edges) && seconds > edges[next]; next++ {
			cumulative[edges[next]] = seen
		}
		seen += b.Count
		if seconds == 0 {
			zero += b.Count
		} else {
			native[int(math.Ceil(math.Log2(seconds)*(1<<nativeSchema)))] += int64(b.Count)
		}
	}
	for ; next < len(edges); next++ {
		cumulative[edges[next]] = seen
	}
	sum := float64(h.Sum) / 1e6
	return bothForms{
		prometheus.MustNewConstHistogram(desc, h.Count, sum, cumulative, labels...),
		prometheus.MustNewConstNativeHistogram(desc, h.Count, sum, native, nil, zero, nativeSchema, 1e-6, c.made, labels...),
	}
}
