package export

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	collector "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	otlpmetrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/twinfleet/twinfleet/internal/export/endpoint"
	"github.com/twinfleet/twinfleet/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder has a run in which one report was answered after 40 ms.
func recorder() *metrics.Recorder {
	r := metrics.NewRecorder(metrics.Options{})
	r.SetRun(metrics.RunLabels{Run: "20261125-120000", Scenario: "connectivity", Version: "1.0.0"})
	r.SetStage("ramp")
	at := time.Unix(1_700_000_000, 0)
	r.Observe(metrics.Observation{Operation: metrics.OpTwinReport, Group: "robots", Intended: at, Sent: at, Done: at.Add(40 * time.Millisecond)})
	return r
}

// receiver keeps the requests that came.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex // protects the following fields
	status int        // that it answers with; 200 when 0
	got    []received
}

type received struct {
	method, path, auth, contentType string
	body                            []byte
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		var body io.Reader = q.Body
		if q.Header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(q.Body)
			if err != nil {
				t.Error(err)
				return
			}
			body = z
		}
		b, err := io.ReadAll(body)
		if err != nil {
			t.Error(err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got = append(r.got, received{q.Method, q.URL.Path, q.Header.Get("Authorization"), q.Header.Get("Content-Type"), b})
		if r.status == http.StatusTemporaryRedirect {
			w.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
		}
		if r.status != 0 {
			w.WriteHeader(r.status)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) requests() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// last is the latest request, and how many there were.
func (r *receiver) last(t *testing.T) (received, int) {
	t.Helper()
	all := r.requests()
	if len(all) == 0 {
		t.Fatal("nothing was pushed")
	}
	return all[len(all)-1], len(all)
}

func start(t *testing.T, o Options) *Exporter {
	t.Helper()
	e, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func auth(t *testing.T, text string) endpoint.Auth {
	t.Helper()
	a, err := endpoint.ParseAuth(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestPushgateway(t *testing.T) {
	r := newReceiver(t)
	e := start(t, Options{Recorder: recorder(), Every: time.Hour, Pushgateway: endpoint.Endpoint{URL: r.URL, Auth: auth(t, "me:open-sesame")}})
	e.Close(t.Context())
	got, n := r.last(t)
	if n != 1 || got.method != http.MethodPut || got.auth != "Basic bWU6b3Blbi1zZXNhbWU=" {
		t.Errorf("%d requests, the last %s with authorization %q; want one PUT", n, got.method, got.auth)
	}
	for _, want := range []string{"/metrics/job/twinfleet", "/scenario/connectivity", "/run/20261125-120000", "/instance/20261125-120000"} {
		if !strings.Contains(got.path, want) {
			t.Errorf("the group is %s; want %s in it", got.path, want)
		}
	}
	families := decode(t, got)
	for _, name := range []string{"twinfleet_operation_duration_seconds", "twinfleet_run_info", "twinfleet_operations_total"} {
		f := families[name]
		if f == nil {
			t.Errorf("%s was not pushed", name)
			continue
		}
		for _, l := range f.Metric[0].Label {
			if slices.Contains([]string{"run", "scenario", "instance", "job"}, l.GetName()) {
				t.Errorf("%s has the label %s, which is the group's", name, l.GetName())
			}
		}
	}
	if h := families["twinfleet_operation_duration_seconds"].GetMetric()[0].GetHistogram(); h.GetSampleCount() != 1 || len(h.Bucket) == 0 {
		t.Errorf("the histogram has %d observations and %d classic buckets", h.GetSampleCount(), len(h.Bucket))
	}
}

func decode(t *testing.T, got received) map[string]*dto.MetricFamily {
	t.Helper()
	all := make(map[string]*dto.MetricFamily)
	d := expfmt.NewDecoder(bytes.NewReader(got.body), expfmt.ResponseFormat(http.Header{"Content-Type": {got.contentType}}))
	for {
		var f dto.MetricFamily
		err := d.Decode(&f)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all[f.GetName()] = &f
	}
}

// Remote write sends each stage's series until the next stage, then marks it as ended, and at the end all.
func TestRemoteWrite(t *testing.T) {
	r, rec := newReceiver(t), recorder()
	e := start(t, Options{Recorder: rec, Every: time.Hour, RemoteWrite: endpoint.Endpoint{URL: r.URL, Auth: auth(t, "Bearer token-1")}})
	e.push(t.Context(), e.sinks[0])
	first, _ := r.last(t)
	if first.path != "/api/v1/write" || first.auth != "Bearer token-1" || first.contentType != "application/x-protobuf" {
		t.Errorf("a request to %s with authorization %q and type %s", first.path, first.auth, first.contentType)
	}
	rec.SetStage("hold")
	e.Close(t.Context())
	all := r.requests()
	if len(all) != 3 {
		t.Fatalf("%d requests; want a push, the last push and the end", len(all))
	}
	const stage = `twinfleet_run_info{instance="20261125-120000",job="twinfleet",run="20261125-120000",scenario="connectivity",stage="%s"}`
	const bucket = `twinfleet_operation_duration_seconds_bucket{group="robots",instance="20261125-120000",job="twinfleet",le="%s",` +
		`operation="twin_report",outcome="ok"}`
	ramp, hold := fmt.Sprintf(stage, "ramp"), fmt.Sprintf(stage, "hold")
	for i, want := range []map[string]float64{
		{ramp: 1, fmt.Sprintf(bucket, "0.025"): 0, fmt.Sprintf(bucket, "0.05"): 1, fmt.Sprintf(bucket, "+Inf"): 1},
		{ramp: math.NaN(), hold: 1},
		{hold: math.NaN(), fmt.Sprintf(bucket, "0.05"): math.NaN()},
	} {
		samples := remoteSamples(t, all[i])
		for series, v := range want {
			got, there := samples[series]
			if !there || (math.IsNaN(v) && !value.IsStaleNaN(got)) || (!math.IsNaN(v) && got != v) {
				t.Errorf("request %d: %s = %v (there: %v); want %v", i+1, series, got, there, v)
			}
		}
	}
}

func remoteSamples(t *testing.T, got received) map[string]float64 {
	t.Helper()
	raw, err := snappy.Decode(nil, got.body)
	if err != nil {
		t.Fatal(err)
	}
	var request prompb.WriteRequest
	if err := request.Unmarshal(raw); err != nil {
		t.Fatal(err)
	}
	all := make(map[string]float64)
	for _, s := range request.Timeseries {
		labels := make(map[string]string)
		for _, l := range s.Labels {
			labels[l.Name] = l.Value
		}
		name := labels["__name__"]
		delete(labels, "__name__")
		var parts []string
		for _, k := range slices.Sorted(maps.Keys(labels)) {
			parts = append(parts, fmt.Sprintf("%s=%q", k, labels[k]))
		}
		all[name+"{"+strings.Join(parts, ",")+"}"] = s.Samples[0].Value
	}
	return all
}

func TestOTLP(t *testing.T) {
	r := newReceiver(t)
	e := start(t, Options{Recorder: recorder(), Every: time.Hour, OTLP: endpoint.Endpoint{URL: r.URL, Auth: auth(t, "bearer t")}})
	e.Close(t.Context())
	got, n := r.last(t)
	if n != 1 || got.path != "/v1/metrics" || got.auth != "Bearer t" {
		t.Fatalf("%d requests, the last to %s with authorization %q", n, got.path, got.auth)
	}
	var request collector.ExportMetricsServiceRequest
	if err := proto.Unmarshal(got.body, &request); err != nil {
		t.Fatal(err)
	}
	resource := make(map[string]string)
	for _, a := range request.ResourceMetrics[0].Resource.Attributes {
		resource[a.Key] = a.Value.GetStringValue()
	}
	for k, want := range map[string]string{
		"service.name": "twinfleet", "service.version": "1.0.0", "twinfleet.run": "20261125-120000",
		"twinfleet.scenario": "connectivity",
	} {
		if resource[k] != want {
			t.Errorf("resource attribute %s = %q; want %q", k, resource[k], want)
		}
	}
	byName := make(map[string]*otlpmetrics.Metric)
	for _, m := range request.ResourceMetrics[0].ScopeMetrics[0].Metrics {
		byName[m.Name] = m
	}
	times, sum := uint64(0), 0.0
	for _, point := range byName["twinfleet_operation_duration_seconds"].GetExponentialHistogram().GetDataPoints() {
		times, sum = times+point.Count, sum+point.GetSum()
	}
	if times != 1 || math.Abs(sum-0.04) > 1e-4 {
		t.Errorf("the histogram is %v; want an exponential one of 40 ms", byName["twinfleet_operation_duration_seconds"])
	}
	counted := 0.0
	c := byName["twinfleet_operations_total"].GetSum()
	for _, point := range c.GetDataPoints() { // one an outcome
		counted += point.GetAsDouble()
	}
	if !c.GetIsMonotonic() || counted != 1 {
		t.Errorf("the counter is %v", c)
	}
}

// A failure is logged once, not at each push, without secrets, and never ends anything.
func TestFailures(t *testing.T) {
	for name, at := range map[string]func(*Options, endpoint.Endpoint){
		"pushgateway":             func(o *Options, e endpoint.Endpoint) { o.Pushgateway = e },
		"prometheus-remote-write": func(o *Options, e endpoint.Endpoint) { o.RemoteWrite = e },
		"otlp":                    func(o *Options, e endpoint.Endpoint) { o.OTLP = e },
	} {
		for _, status := range []int{http.StatusUnauthorized, http.StatusTemporaryRedirect, 0} {
			t.Run(fmt.Sprintf("%s %d", name, status), func(t *testing.T) {
				var log bytes.Buffer
				r := newReceiver(t)
				r.status = status
				if status == 0 {
					r.Close() // nobody listens there
				}
				o := Options{Recorder: recorder(), Every: time.Hour, Logger: slog.New(slog.NewTextHandler(&log, nil))}
				target := endpoint.Endpoint{URL: r.URL, Auth: auth(t, "me:open-sesame")}
				if name != "pushgateway" {
					target.URL += "/?key=in-the-query"
				}
				at(&o, target)
				e := start(t, o)
				for range 3 {
					e.push(t.Context(), e.sinks[0])
				}
				if n := strings.Count(log.String(), "could not be pushed"); n != 1 {
					t.Errorf("%d lines about the failure; want 1:\n%s", n, &log)
				}
				r.mu.Lock()
				r.status = http.StatusOK
				r.mu.Unlock()
				e.Close(t.Context())
				if status != 0 && !strings.Contains(log.String(), "pushed again") {
					t.Errorf("the log does not say that pushing works again:\n%s", &log)
				}
				if !strings.Contains(log.String(), "failed=") {
					t.Errorf("the log does not say how many pushes failed:\n%s", &log)
				}
				for _, secret := range []string{"open-sesame", "bWU6", "in-the-query"} {
					if strings.Contains(log.String(), secret) {
						t.Errorf("the log holds %q:\n%s", secret, &log)
					}
				}
			})
		}
	}
}

// Nothing is pushed of a run that has not begun, or after the hard stop.
func TestNothingToPush(t *testing.T) {
	r := newReceiver(t)
	e := start(t, Options{Recorder: metrics.NewRecorder(metrics.Options{}), Pushgateway: endpoint.Endpoint{URL: r.URL}})
	e.Close(t.Context())
	over, cancel := context.WithCancel(t.Context())
	cancel()
	start(t, Options{Recorder: recorder(), RemoteWrite: endpoint.Endpoint{URL: r.URL}}).Close(over)
	if got := r.requests(); len(got) > 0 {
		t.Errorf("%d requests; want none", len(got))
	}
	none, err := Start(Options{})
	if none != nil || err != nil {
		t.Errorf("without endpoints: %v, %v", none, err)
	}
	none.Close(t.Context())
}

func TestPushesAtIntervals(t *testing.T) {
	r := newReceiver(t)
	e := start(t, Options{Recorder: recorder(), Every: time.Millisecond, Pushgateway: endpoint.Endpoint{URL: r.URL}})
	defer e.Close(t.Context())
	deadline := time.Now().Add(30 * time.Second)
	for len(r.requests()) < 3 {
		if time.Now().After(deadline) {
			t.Fatalf("%d pushes", len(r.requests()))
		}
		time.Sleep(time.Millisecond)
	}
}

func TestEndpoints(t *testing.T) {
	for in, want := range map[string]string{
		"ftp://h":             `no http or https URL`,
		"localhost:9091":      `no http or https URL`,
		"http://":             `no http or https URL`,
		"http://h:1:2":        "cannot be read",
		"https://u:secret@h/": "holds credentials",
	} {
		_, err := Start(Options{Recorder: recorder(), OTLP: endpoint.Endpoint{URL: in}})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--otlp") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v; want %q", in, err, want)
		}
	}
}

func TestPushgatewayTakesNoQuery(t *testing.T) {
	if _, err := Start(Options{Recorder: recorder(), Pushgateway: endpoint.Endpoint{URL: "http://h:1/?a=b"}}); err == nil ||
		!strings.Contains(err.Error(), "has a query") {
		t.Errorf("error %v", err)
	}
}
