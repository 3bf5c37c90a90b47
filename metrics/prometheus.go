package metrics

import (
	"math"
	"net/http"
	"runtime"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"github.com/twinfleet/twinfleet/metrics/histogram"
)

// classicBuckets are the upper edges, in seconds, of the classic buckets. A quantile taken from them is
// exact where it meets an edge, so the edges are what thresholds name (100 ms, 250 ms, 1 s, 5 s) and are
// densest where twin operations of a hub answer; freshness takes seconds, clients give up after a minute,
// and methods and jobs may take five.
func classicBuckets() []float64 {
	return []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .15, .25, .5, 1, 2, 3, 5, 10, 30, 60, 300}
}

// nativeSchema gives native histograms eight buckets for every doubling.
const nativeSchema = 3

// collector shows a Recorder to Prometheus: it keeps nothing and derives all at scrape time.
type collector struct {
	rec   *Recorder
	descs descs
}

type descs struct {
	response, service, lag                                    *prometheus.Desc
	total, scheduled, late, dropped, inFlight                 *prometheus.Desc
	devices, queryResults, queryPages, queryRuns, build, info *prometheus.Desc
	queryExpectations, queryRows                              *prometheus.Desc
	stageScheduled, stageTotal, stageDropped                  *prometheus.Desc
}

func newDescs() descs {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("twinfleet_"+name, help, labels, nil)
	}
	return descs{
		response:          desc("operation_duration_seconds", "Time of operations that ended, from when the schedule wanted them to start, so that a stalled target cannot hide behind a generator that waited for it.", "operation", "group", "outcome"),
		service:           desc("operation_service_duration_seconds", "Time of operations that ended, from when they were really sent: what the target alone took.", "operation", "group", "outcome"),
		lag:               desc("schedule_lag_seconds", "Time from when the schedule wanted operations to start to when they were sent: how far behind the generator is.", "operation", "group"),
		total:             desc("operations_total", "Operations that ended, by outcome: ok, throttled (429), timeout, refused (credentials or permissions), error, unanswered (nobody waited to the end).", "operation", "group", "outcome"),
		scheduled:         desc("operations_scheduled_total", "Operations that the schedule wanted: the sum of those that started on time, started late, or were dropped.", "operation", "group"),
		late:              desc("operations_late_total", "Operations that started more than ten milliseconds after the schedule wanted them to.", "operation", "group"),
		dropped:           desc("operations_dropped_total", "Operations that the schedule wanted and that never started, by reason.", "operation", "group", "reason"),
		inFlight:          desc("operations_in_flight", "Operations that started and have not ended.", "operation", "group"),
		devices:           desc("devices", "Devices by state: waiting (not started), connecting, connected, backoff (lost or refused, will try again), offline (between sessions).", "group", "state"),
		queryResults:      desc("query_results", "Items in the last whole result of a query.", "query"),
		queryPages:        desc("query_pages_total", "Pages read of the results of a query.", "query"),
		queryRuns:         desc("query_runs_total", "Runs of a query that were read to the end.", "query"),
		queryExpectations: desc("query_expectations_total", "Results of a query by whether they had the expected size: met or unmet.", "query", "result"),
		stageScheduled:    desc("stage_operations_scheduled_total", "Operations that the schedule wanted in a stage; those outside of all stages have none. The sum of all outcomes, the dropped ones, and those under way.", "stage", "operation"),
		stageTotal:        desc("stage_operations_total", "Operations that were wanted in a stage and ended, whenever that was, by outcome.", "stage", "operation", "outcome"),
		stageDropped:      desc("stage_operations_dropped_total", "Operations that were wanted in a stage and never started, by reason.", "stage", "operation", "reason"),
		queryRows:         desc("query_rows_total", "Sampled devices in the results of a query by what the freshness audit found: ok, missing, extra, stale, unjudged.", "query", "check"),

		build: desc("build_info", "The version of this program as labels; always 1.", "version", "goversion"),
		info:  desc("run_info", "The run as labels, with the stage it is in; always 1. Join other series to it on job and instance.", "run", "scenario", "stage"),
	}
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
		for _, o := range Outcomes() {
			// A counter that is there from the start shows its first increase to rate(); histograms are dear.
			counter(d.total, x.Count(o), op, group, o.String())
			if x.Response[o].Count > 0 || o == OK {
				out <- c.histogram(d.response, x.Response[o], op, group, o.String())
				out <- c.histogram(d.service, x.Service[o], op, group, o.String())
			}
		}
		out <- c.histogram(d.lag, x.Lag, op, group)
		counter(d.scheduled, x.Scheduled(), op, group)
		counter(d.late, x.Late, op, group)
		for _, reason := range DropReasons() {
			counter(d.dropped, x.Dropped[reason], op, group, reason)
		}
		value(d.inFlight, float64(x.InFlight()), op, group)
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
		for check := range rowChecks {
			counter(d.queryRows, uint64(q.Rows.Of(check)), q.Query, check.String())
		}
	}
	c.rec.mu.Lock()
	labels, figures := c.rec.labels, c.rec.figures
	c.rec.mu.Unlock()
	value(d.build, 1, labels.Version, runtime.Version())
	value(d.info, 1, labels.Run, labels.Scenario, s.Stage)
	for _, read := range figures {
		for _, f := range read() {
			f.send(out)
		}
	}
}

func (f *Figure) send(out chan<- prometheus.Metric) {
	kind := prometheus.GaugeValue
	if strings.HasSuffix(f.Name, "_total") {
		kind = prometheus.CounterValue
	}
	desc := prometheus.NewDesc(f.Name, f.Help, f.Labels, nil)
	for _, x := range f.Samples {
		out <- prometheus.MustNewConstMetric(desc, kind, x.Value, x.Labels...)
	}
}

// maxStages bounds the stages that are told apart; further ones are shown as "other".
const maxStages = 100

// stages sends the account of every stage and operation, all groups together. Of what is nothing only ok and in_flight are sent: a
// counter that is there from the start shows its first increase to rate().
func (c *collector) stages(counter func(desc *prometheus.Desc, v uint64, labels ...string)) {
	var names []string
	byName := make(map[string]*Snapshot)
	for _, s := range c.rec.Stages() {
		name := s.Stage
		if byName[name] == nil && len(names) >= maxStages {
			name = otherGroup
		}
		if before := byName[name]; before != nil {
			s = before.Merge(s)
		} else {
			names = append(names, name)
		}
		byName[name] = s
	}
	for _, name := range names {
		for _, op := range Operations() {
			x := byName[name].Select(op, "")
			if x == nil {
				continue
			}
			counter(c.descs.stageScheduled, x.Scheduled(), name, string(op))
			for _, o := range Outcomes() {
				if n := x.Count(o); n > 0 || o == OK {
					counter(c.descs.stageTotal, n, name, string(op), o.String())
				}
			}
			for _, reason := range DropReasons() {
				if n := x.Dropped[reason]; n > 0 || reason == DropInFlight {
					counter(c.descs.stageDropped, n, name, string(op), reason)
				}
			}
		}
	}
}

// bothForms is a histogram with classic buckets beside native ones: a scraper takes what it knows.
type bothForms struct{ classic, native prometheus.Metric }

func (b bothForms) Desc() *prometheus.Desc { return b.classic.Desc() }

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
	for _, b := range h.Buckets {
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
		prometheus.MustNewConstNativeHistogram(desc, h.Count, sum, native, nil, zero, nativeSchema, 1e-6, c.rec.start, labels...),
	}
}

// Registry holds the Recorder's numbers and those of the process and the Go runtime.
func (r *Recorder) Registry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(
		&collector{r, newDescs()},
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewGoCollector(),
	)
	return reg
}

// Handler serves the Registry to a Prometheus server: text, OpenMetrics or protobuf as it asks.
func (r *Recorder) Handler() http.Handler {
	return promhttp.HandlerFor(r.Registry(), promhttp.HandlerOpts{EnableOpenMetrics: true})
}
