// Package prom shows the numbers of a Recorder to Prometheus. Nothing is kept here: every scrape derives all from what the
// Recorder has.
package prom

import (
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/twinfleet/twinfleet/metrics"
)

// collector shows a Recorder to Prometheus: it keeps nothing and derives all at scrape time.
type collector struct {
	rec   *metrics.Recorder
	descs descs
	made  time.Time // when the Recorder was
}

// Describe sends nothing: which series exist depends on the run.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect sends all numbers as they are now.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	s := c.rec.Snapshot()
	d := c.descs
	counter := func(desc *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(v), labels...)
	}
	value := func(desc *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, labels...)
	}
	for i := range s.Series {
		x := &s.Series[i]
		op, group := string(x.Operation), x.Group
		for _, o := range metrics.Outcomes() {
			// A counter that is there from the start shows its first increase to rate(); histograms are dear.
			counter(d.total, x.Count(o), op, group, o.String())
			if x.Response[o].Count > 0 || o == metrics.OK {
				out <- c.histogram(d.response, x.Response[o], op, group, o.String())
				out <- c.histogram(d.service, x.Service[o], op, group, o.String())
				value(d.responseMax, x.Response[o].Maximum().Seconds(), op, group, o.String())
				value(d.serviceMax, x.Service[o].Maximum().Seconds(), op, group, o.String())
			}
		}
		out <- c.histogram(d.lag, x.Lag, op, group)
		value(d.lagMax, x.Lag.Maximum().Seconds(), op, group)
		counter(d.scheduled, x.Scheduled(), op, group)
		counter(d.late, x.Late, op, group)
		for _, reason := range metrics.DropReasons() {
			counter(d.dropped, x.Dropped[reason], op, group, reason)
		}
		value(d.inFlight, float64(x.InFlight()), op, group)
	}
	if run := c.rec.Run().Run; run != "" {
		for _, o := range metrics.Outcomes() {
			var ended uint64
			for i := range s.Series {
				ended += s.Series[i].Count(o)
			}
			counter(d.runTotal, ended, run, o.String())
		}
	}
	c.stages(counter)
	for _, x := range s.Devices {
		value(d.devices, float64(x.Count), x.Group, x.State)
	}
	for _, q := range s.Queries {
		value(d.queryResults, float64(q.Results), q.Query)
		counter(d.queryPages, uint64(q.Pages), q.Query)
		counter(d.queryRuns, uint64(q.Runs), q.Query)
		counter(d.queryExpectations, uint64(q.Met), q.Query, "met")
		counter(d.queryExpectations, uint64(q.Unmet), q.Query, "unmet")
		for _, check := range metrics.RowChecks() {
			counter(d.queryRows, uint64(q.Rows.Of(check)), q.Query, check.String())
		}
	}
	labels := c.rec.Run()
	value(d.build, 1, labels.Version, runtime.Version())
	value(d.info, 1, labels.Run, labels.Scenario, s.Stage)
	for _, f := range c.rec.Figures() {
		send(f, out)
	}
}

func send(f metrics.Figure, out chan<- prometheus.Metric) {
	kind := prometheus.GaugeValue
	if strings.HasSuffix(f.Name, "_total") {
		kind = prometheus.CounterValue
	}
	desc := prometheus.NewDesc(f.Name, f.Help, f.Labels, nil)
	for _, x := range f.Samples {
		out <- prometheus.MustNewConstMetric(desc, kind, x.Value, x.Labels...)
	}
}

// maxStages bounds the stages that are told apart; further ones are shown as other.
const (
	maxStages = 100
	other     = "other"
)

// stages sends the account of every stage and operation, all groups together. Of what is nothing only ok and in_flight are sent: a
// counter that is there from the start shows its first increase to rate().
func (c *collector) stages(counter func(desc *prometheus.Desc, v uint64, labels ...string)) {
	var names []string
	byName := make(map[string]*metrics.Snapshot)
	for _, s := range c.rec.Stages() {
		name := s.Stage
		if byName[name] == nil && len(names) >= maxStages {
			name = other
		}
		if before := byName[name]; before != nil {
			s = before.Merge(s)
		} else {
			names = append(names, name)
		}
		byName[name] = s
	}
	for _, name := range names {
		for _, op := range metrics.Operations() {
			x := byName[name].Select(op, "")
			if x == nil {
				continue
			}
			counter(c.descs.stageScheduled, x.Scheduled(), name, string(op))
			for _, o := range metrics.Outcomes() {
				if n := x.Count(o); n > 0 || o == metrics.OK {
					counter(c.descs.stageTotal, n, name, string(op), o.String())
				}
			}
			for _, reason := range metrics.DropReasons() {
				if n := x.Dropped[reason]; n > 0 || reason == metrics.DropInFlight {
					counter(c.descs.stageDropped, n, name, string(op), reason)
				}
			}
		}
	}
}

// Registry makes a registry that holds the Recorder's numbers and those of the process and the Go runtime.
func Registry(r *metrics.Recorder) *prometheus.Registry {
	reg, now := prometheus.NewRegistry(), r.Snapshot()
	reg.MustRegister(
		&collector{r, newDescs(), now.At.Add(-now.Elapsed)},
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewGoCollector(),
	)
	return reg
}

// Handler serves the Registry to a Prometheus server: text, OpenMetrics or protobuf as it asks.
func Handler(r *metrics.Recorder) http.Handler {
	return promhttp.HandlerFor(Registry(r), promhttp.HandlerOpts{EnableOpenMetrics: true})
}
