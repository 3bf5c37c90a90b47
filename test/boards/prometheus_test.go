//go:build integration

package boards

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/test/loopback"
	"github.com/twinfleet/twinfleet/test/rig"
)

// kind is a way to keep histograms.
type kind string

// The kinds: what a Prometheus older than 3.8 does, what configs/prometheus.yml says, and what it says without the classic ones.
const (
	classic kind = "classic"
	shipped kind = "as it ships"
	native  kind = "native alone"
)

// server is a Prometheus.
type server struct {
	kind kind
	addr string
}

// startPrometheus starts a Prometheus with the file that ships, changed in the addresses that are scraped and, for the other kinds, in the settings
// of histograms.
func startPrometheus(t *testing.T, k kind, targets []string) server {
	t.Helper()
	dir := t.TempDir()
	rules, err := os.ReadFile(filepath.Join(rig.Root(), "configs", "prometheus-rules.yml"))
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(rig.Root(), "configs", "prometheus.yml"))
	if err != nil {
		t.Fatal(err)
	}
	quoted, err := json.Marshal(targets)
	if err != nil {
		t.Fatal(err)
	}
	text := changed(t, string(file), `["twinfleet:9464"]`, string(quoted))
	if k != shipped {
		text = changed(t, text, "always_scrape_classic_histograms: true", "always_scrape_classic_histograms: false")
	}
	if k == classic {
		text = changed(t, text, "scrape_native_histograms: true", "scrape_native_histograms: false")
	}
	for name, content := range map[string]string{"prometheus.yml": text, "prometheus-rules.yml": string(rules)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := server{k, loopback.Free(t)}
	rig.Start(t, dir, nil, rig.Prometheus(t, "prometheus"), "--config.file", filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", s.addr)
	rig.Listening(t, s.addr, 30*time.Second)
	return s
}

func changed(t *testing.T, text, from, to string) string {
	t.Helper()
	if strings.Count(text, from) != 1 {
		t.Fatalf("configs/prometheus.yml has %q %d times", from, strings.Count(text, from))
	}
	return strings.Replace(text, from, to, 1)
}

// get asks Prometheus and decodes the data of its answer.
func (s server) get(ctx context.Context, path string, data any) error {
	return rig.AskPrometheus(ctx, s.addr, path, data)
}

// found is what a query gave.
type found struct {
	Type   string            `json:"resultType"`
	Result []json.RawMessage `json:"result"`
}

// step is the time between two points, which Grafana makes of the width of a panel and the interval of scrapes.
const step = 5 * time.Second

// ask asks what a panel does of a range of time, or at its end.
func (s server) ask(t *testing.T, expr string, instant bool, from, to time.Time) found {
	t.Helper()
	path := "/api/v1/query?" + url.Values{"query": {expr}, "time": {stamp(to)}}.Encode()
	if !instant {
		path = "/api/v1/query_range?" + url.Values{"query": {expr}, "start": {stamp(from)}, "end": {stamp(to)}, "step": {stamp(time.Unix(int64(step.Seconds()), 0))}}.Encode()
	}
	var f found
	if err := s.get(t.Context(), path, &f); err != nil {
		t.Errorf("%s: %v", s.kind, err)
	}
	return f
}

func stamp(at time.Time) string { return fmt.Sprint(at.Unix()) }

// number is the value of a query that gives one; not ok when it gives none.
func (s server) number(t *testing.T, expr string, at time.Time) (value float64, ok bool) {
	t.Helper()
	f := s.ask(t, expr, true, at, at)
	if len(f.Result) != 1 {
		return 0, false
	}
	var sample struct{ Value [2]any }
	if err := json.Unmarshal(f.Result[0], &sample); err != nil {
		t.Fatal(err)
	}
	_, err := fmt.Sscan(fmt.Sprint(sample.Value[1]), &value)
	return value, err == nil
}

// times are when a run began and ended, with a moment for the last scrape.
func (s server) times(t *testing.T, run string, at time.Time) (from, to time.Time) {
	t.Helper()
	read := func(what string) time.Time {
		seconds, ok := s.number(t, fmt.Sprintf(`max(last_over_time(twinfleet_run_%s_timestamp_seconds{run=%q}[5m]))`, what, run), at)
		if !ok {
			t.Fatalf("run %s: not known when it %s", run, what)
		}
		return time.UnixMilli(int64(1000 * seconds))
	}
	return read("started"), read("ended").Add(2 * step)
}

// eventually waits until a query gives a value.
func (s server) eventually(t *testing.T, expr string, want float64) {
	t.Helper()
	deadline, tick := time.After(2*time.Minute), time.NewTicker(300*time.Millisecond)
	defer tick.Stop()
	for {
		got, ok := s.number(t, expr, time.Now())
		if ok && got == want {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: %s is %v (%v); want %v", s.kind, expr, got, ok, want)
		}
	}
}
